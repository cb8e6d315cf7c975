"""People: registration and login."""

from collections.abc import Callable

import psycopg
import pytest

from api.accounts import create_user
from tests.integration.http.conftest import PASSWORD, Api
from tests.integration.http.test_api_ingest import assert_problem
from tocsin.errors import AlreadyExists, SettingsError


@pytest.fixture
def email(unique_name: Callable[[str], str]) -> str:
    return f"{unique_name('someone')}@example.org"


def test_registered_user_logs_in_and_reads(api: Api, email: str) -> None:
    made = api.client.post("/users", json={"email": email, "password": PASSWORD})
    assert made.status_code == 201
    assert made.json().keys() == {"id", "email", "role", "created_at", "updated_at"}
    assert made.json()["role"] == "viewer"
    login = api.client.post("/auth/login", json={"email": email, "password": PASSWORD})
    assert login.status_code == 200
    answer = login.json()
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == api.settings.jwt_ttl_s
    headers = {"authorization": f"bearer {answer['access_token']}"}
    assert api.client.get("/incidents", headers=headers).status_code == 200


def test_second_user_of_an_address_conflicts_in_any_case(api: Api, email: str) -> None:
    body = {"email": email, "password": PASSWORD}
    assert api.client.post("/users", json=body).status_code == 201
    assert_problem(api.client.post("/users", json={**body, "email": email.upper()}), 409)


def test_address_logs_in_in_any_case(api: Api, email: str) -> None:
    api.client.post("/users", json={"email": email, "password": PASSWORD})
    login = api.client.post("/auth/login", json={"email": email.upper(), "password": PASSWORD})
    assert login.status_code == 200


def test_no_answer_and_no_log_line_holds_a_hash_or_a_password(api: Api, email: str) -> None:
    made = api.client.post("/users", json={"email": email, "password": PASSWORD})
    login = api.client.post("/auth/login", json={"email": email, "password": PASSWORD})
    for text in (made.text, login.text, api.log.read_text()):
        assert "$2b$" not in text
        assert PASSWORD not in text
        assert "hash" not in text


def test_unknown_user_and_wrong_password_get_one_answer(api: Api, email: str) -> None:
    api.client.post("/users", json={"email": email, "password": PASSWORD})
    found = []
    for address, password in (
        (email, "not the password"),
        ("nobody@example.org", PASSWORD),
        ("nul\0@example.org", PASSWORD),
        (email, PASSWORD + "x" * 100),
        (email, ""),
    ):
        body = {"email": address, "password": password}
        problem = assert_problem(api.client.post("/auth/login", json=body), 401)
        del problem["request_id"]
        found.append(problem)
    assert all(problem == found[0] for problem in found)


@pytest.mark.parametrize(
    "change",
    [
        {"email": ""},
        {"email": "no-at-sign"},
        {"email": "a@b"},
        {"email": "a b@example.org"},
        {"email": "a\0@example.org"},
        {"email": "x" * 250 + "@example.org"},
        {"email": "a@example.org\n"},
        {"email": "a\n@example.org"},
        {"email": "a@example.org\r\n"},
        {"email": "a\x7f@example.org"},
        {"email": "a\x1b@example.org"},
        {"email": "a\u200b@example.org"},
        {"email": "a\ufeff@example.org"},
        {"email": "\u202ea@example.org"},
        {"email": "a\xa0@example.org"},
        {"email": "jos\u00e9@example.org"},
        {"email": "jose\u0301@example.org"},
        {"email": "\u0430@example.org"},
        {"email": "a@ex\u00e4mple.org"},
        {"email": "a@example..org"},
        {"email": "a@-example.org"},
        {"email": "a@example.org."},
        {"email": 7},
        {"email": None},
        {"email": ["a@example.org"]},
        {"password": "short"},
        {"password": "x" * 73},
        {"password": "ü" * 37},
        {"password": 12345678},
        {"password": None},
        {"role": "root"},
        {"admin": True},
    ],
)
def test_user_that_cannot_be_is_refused(api: Api, email: str, change: dict[str, object]) -> None:
    body = {"email": email, "password": PASSWORD, **change}
    assert_problem(api.client.post("/users", json=body), 400)


@pytest.mark.parametrize("path", ["/users", "/auth/login"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b"{}", b"\xff", b'{"email":"a@b.cc"}', b"[" * 100_000]
)
def test_body_that_is_no_person_is_refused(api: Api, path: str, body: bytes) -> None:
    answer = api.client.post(path, content=body, headers={"content-type": "application/json"})
    assert_problem(answer, 400)


@pytest.mark.parametrize("local", ["a.b+tag", "o'neil", "x_y-z", "{a}|b~", "1"])
def test_address_of_any_usual_kind_is_taken(api: Api, service: str, local: str) -> None:
    address = f"{local}@{service}.example.xn--p1ai"
    body = {"email": address, "password": PASSWORD}
    assert api.client.post("/users", json=body).json()["email"] == address
    assert api.client.post("/auth/login", json=body).is_success


@pytest.mark.parametrize("email", ["' OR '1'='1", "a@b.cc'; DROP TABLE users; --", "a\0@b.cc"])
def test_sql_in_an_address_finds_nobody(api: Api, email: str) -> None:
    login = api.client.post("/auth/login", json={"email": email, "password": PASSWORD})
    assert_problem(login, 401)


def test_only_an_admin_gives_a_role(api: Api, email: str) -> None:
    body = {"email": email, "password": PASSWORD, "role": "admin"}
    assert_problem(api.client.post("/users", json=body), 401)
    assert_problem(api.client.post("/users", json=body, headers=api.headers("operator")), 403)
    made = api.client.post("/users", json=body, headers=api.headers("admin"))
    assert made.json()["role"] == "admin"


def test_closed_registration_takes_an_admin(make_api: Callable[..., Api], email: str) -> None:
    api = make_api(TOCSIN_REGISTRATION="closed")
    api.start()
    body = {"email": email, "password": PASSWORD}
    assert_problem(api.client.post("/users", json=body), 401)
    assert_problem(api.client.post("/users", json=body, headers=api.headers("operator")), 403)
    assert api.client.post("/users", json=body, headers=api.headers("admin")).status_code == 201


def test_command_line_refuses_what_the_api_refuses(api: Api, email: str) -> None:
    with pytest.raises(SettingsError, match="TOCSIN_PASSWORD"):
        create_user(api.settings, email, "short", "viewer")
    with pytest.raises(SettingsError, match="--email"):
        create_user(api.settings, "nobody", PASSWORD, "viewer")
    for odd in (f"{email}\n", f"\u200b{email}", f"jos\u00e9{email}", f"\x7f{email}"):
        with pytest.raises(SettingsError, match="--email"):
            create_user(api.settings, odd, PASSWORD, "viewer")
    create_user(api.settings, email, PASSWORD, "viewer")
    with pytest.raises(AlreadyExists):
        create_user(api.settings, email.upper(), PASSWORD, "viewer")


def test_password_is_stored_as_a_slow_hash(api: Api, email: str) -> None:
    create_user(api.settings, email, PASSWORD, "viewer")
    with psycopg.connect(api.settings.database_url) as conn:
        row = conn.execute("select password_hash from users where email = %s", [email]).fetchone()
    assert row is not None
    assert row[0].startswith("$2b$12$")
