"""Users over HTTP: who may see and change whom, and that somebody is left to administer."""

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.integration.http.conftest import PASSWORD, Api
from tests.integration.http.test_api_ingest import assert_problem

NEW_PASSWORD = "staple battery horse"


def test_admin_lists_users_in_pages_oldest_first(api: Api) -> None:
    admin = api.headers("admin")
    made = [api.person().email for _ in range(3)]
    first = api.client.get("/users", params={"limit": 1}, headers=admin).json()
    assert len(first["data"]) == 1
    total = first["meta"]["total"]
    assert first["meta"]["totalPages"] == total
    found = []
    for page in range(1, -(-total // 100) + 1):
        answer = api.client.get("/users", params={"limit": 100, "page": page}, headers=admin)
        found += [user["email"] for user in answer.json()["data"]]
    assert found[-3:] == made
    assert set(first["data"][0]) == {"id", "email", "role", "created_at", "updated_at"}


@pytest.mark.parametrize("role", ["viewer", "operator"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/users", None),
        ("GET", "/users/OTHER", None),
        ("PATCH", "/users/OTHER", {"password": PASSWORD}),
        ("PATCH", "/users/OTHER", {"role": "viewer"}),
        ("PATCH", "/users/me", {"role": "admin"}),
        ("PATCH", "/users/me", {"email": "me@example.org"}),
        ("DELETE", "/users/OTHER", None),
        ("DELETE", "/users/me", None),
        ("GET", "/keys", None),
        ("POST", "/keys", {"name": "mine"}),
        ("DELETE", "/keys/0123456789abcdef", None),
        ("GET", "/audit", None),
    ],
)
def test_what_is_an_admins_is_refused_to_others(
    api: Api, role: str, method: str, path: str, body: object
) -> None:
    other = api.client.get("/users/me", headers=api.headers("admin")).json()["id"]
    where = path.replace("OTHER", other)
    answer = api.client.request(method, where, json=body, headers=api.headers(role))
    assert_problem(answer, 403)
    assert_problem(api.client.request(method, where, json=body), 401)


def test_viewer_does_not_act_as_an_operator(api: Api) -> None:
    body = {"status": "RESOLVED"}
    answer = api.client.patch(f"/incidents/{'0' * 32}", json=body, headers=api.headers("viewer"))
    assert_problem(answer, 403)


def test_whether_there_is_such_a_user_is_told_to_admins_alone(api: Api) -> None:
    nobody = f"/users/{uuid4()}"
    assert_problem(api.client.get(nobody, headers=api.headers("viewer")), 403)
    assert_problem(api.client.get(nobody, headers=api.headers("admin")), 404)


@pytest.mark.parametrize(
    "user_id",
    ["1", "%00", "..%2f..%2fetc%2fpasswd", "'%20OR%20true%20--", "x" * 5000, "%ff", "me%00", "ME"],
)
def test_odd_id_is_nobodys(api: Api, user_id: str) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        body = {"role": "viewer"} if method == "PATCH" else None
        answer = api.client.request(
            method, f"/users/{user_id}", json=body, headers=api.headers("admin")
        )
        assert answer.status_code in {400, 404}, answer.text
        assert_problem(answer, answer.status_code)


def test_everybody_sees_themselves(api: Api) -> None:
    person = api.person("viewer")
    me = api.client.get("/users/me", headers=person.headers).json()
    assert (me["id"], me["email"], me["role"]) == (person.id, person.email, "viewer")
    assert api.client.get(f"/users/{person.id}", headers=person.headers).json() == me


def test_own_password_changes_with_the_old_one_and_ends_all_sessions(api: Api) -> None:
    person = api.person("viewer")
    other = api.log_in(person.email)

    def change(**body: str) -> int:
        return api.client.patch("/users/me", json=body, headers=person.headers).status_code

    assert change(password=NEW_PASSWORD) == 400
    assert change(password=NEW_PASSWORD, old_password="not the old one") == 403
    assert change(password="x" * 73, old_password=PASSWORD) == 400
    assert change(password="ü" * 37, old_password=PASSWORD) == 400
    assert change(password=NEW_PASSWORD, old_password=PASSWORD) == 200
    for session in (person, other):
        assert api.client.get("/users/me", headers=session.headers).status_code == 401
    api.log_in(person.email, NEW_PASSWORD)
    login = {"email": person.email, "password": PASSWORD}
    assert_problem(api.client.post("/auth/login", json=login), 401)


def test_admin_needs_the_old_password_for_their_own_alone(api: Api) -> None:
    admin, other = api.person("admin"), api.person("viewer")
    body = {"password": NEW_PASSWORD}
    own = api.client.patch(f"/users/{admin.id}", json=body, headers=admin.headers)
    assert_problem(own, 400)
    answer = api.client.patch(f"/users/{other.id}", json=body, headers=admin.headers)
    assert answer.status_code == 200
    assert "password" not in answer.text
    api.log_in(other.email, NEW_PASSWORD)


def test_admin_changes_role_and_address(api: Api) -> None:
    admin, other = api.headers("admin"), api.person("viewer")
    address = f"new-{secrets.token_hex(4)}@example.org"
    changed = {"role": "operator", "email": address}
    answer = api.client.patch(f"/users/{other.id}", json=changed, headers=admin)
    assert answer.json().items() >= changed.items()
    me = api.client.get("/users/me", headers=other.headers).json()
    assert me["role"] == "operator"
    api.log_in(address)
    taken = api.client.patch(
        f"/users/{other.id}", json={"email": api.person().email.upper()}, headers=admin
    )
    assert_problem(taken, 409)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"old_password": PASSWORD},
        {"role": "root"},
        {"role": None},
        {"email": "nobody"},
        {"email": "nul\0@example.org"},
        {"email": "x@example.org'; DROP TABLE users; --"},
        {"password": "short"},
        {"password": None},
        {"id": "1"},
        {"password_hash": "x"},
        {"role": "viewer", "admin": True},
        [],
        "viewer",
    ],
)
def test_change_that_cannot_be_is_refused(api: Api, body: object) -> None:
    person = api.person()
    answer = api.client.patch(f"/users/{person.id}", json=body, headers=api.headers("admin"))
    assert_problem(answer, 400)


def test_deleted_user_is_gone(api: Api) -> None:
    admin, person = api.headers("admin"), api.person("operator")
    answer = api.client.delete(f"/users/{person.id}", headers=admin)
    assert answer.json()["email"] == person.email
    assert_problem(api.client.delete(f"/users/{person.id}", headers=admin), 404)
    assert_problem(api.client.get(f"/users/{person.id}", headers=admin), 404)
    assert_problem(api.client.get("/users/me", headers=person.headers), 401)
    login = {"email": person.email, "password": PASSWORD}
    assert_problem(api.client.post("/auth/login", json=login), 401)


def test_last_admin_is_neither_deleted_nor_demoted(make_api: Callable[..., Api]) -> None:
    api = make_api()
    api.start()
    admin = api.person("admin")
    where = f"/users/{admin.id}"
    assert_problem(api.client.delete(where, headers=admin.headers), 409)
    demoted = api.client.patch(where, json={"role": "operator"}, headers=admin.headers)
    assert_problem(demoted, 409)
    assert api.client.patch(where, json={"role": "admin"}, headers=admin.headers).is_success
    others = [api.person("admin") for _ in range(3)]

    def demote_the_next(place: int) -> int:
        people = [admin, *others]
        who, whom = people[place], people[(place + 1) % 4]
        return api.client.delete(f"/users/{whom.id}", headers=who.headers).status_code

    with ThreadPoolExecutor(4) as at_once:
        answers = list(at_once.map(demote_the_next, range(4)))
    assert 500 not in answers
    left = [
        who
        for who in (admin, *others)
        if api.client.get("/users", headers=who.headers).status_code == 200
    ]
    assert left
