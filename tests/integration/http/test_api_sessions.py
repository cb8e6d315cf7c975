"""Sessions: how long a login holds, and how soon its end is noticed on every worker."""

import asyncio
from collections.abc import Callable, Iterator
from uuid import UUID

import httpx
import psycopg
import pytest
from sanic import Request, Sanic
from sanic.compat import Header

from api.accounts import create_user, delete_user, update_user
from api.addresses import Addresses
from api.auth import Role, Tokens
from api.problems import Refusal
from api.sessions import FRESH_S, Grant, Sessions
from sql.reader import Reader
from sql.sessions import SessionTable
from sql.users import UserTable
from stack.waiting import wait_until
from tests.integration.http.conftest import PASSWORD, WAIT_S, Api, Person
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.http.test_api_keys import Clock
from tests.integration.http.test_api_outages import database_away
from tocsin.errors import StorageError
from tocsin.settings import Settings

NEW_PASSWORD = "staple battery horse"


def refresh(api: Api, token: str) -> httpx.Response:
    return api.client.post("/auth/refresh", json={"refresh_token": token})


def status(api: Api, headers: dict[str, str]) -> int:
    return api.client.get("/users/me", headers=headers).status_code


def test_login_tells_how_long_each_token_is_good(api: Api) -> None:
    person = api.person()
    body = {"email": person.email, "password": PASSWORD}
    answer = api.client.post("/auth/login", json=body).json()
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == api.settings.jwt_ttl_s
    assert answer["refresh_expires_in"] == pytest.approx(api.settings.session_ttl_s, abs=60)


def test_refresh_answers_new_tokens_that_work(api: Api) -> None:
    person = api.person()
    answer = refresh(api, person.refresh_token).json()
    assert answer["refresh_token"] != person.refresh_token
    assert answer["access_token"] != person.access_token
    assert status(api, {"authorization": f"Bearer {answer['access_token']}"}) == 200
    assert refresh(api, answer["refresh_token"]).status_code == 200


def test_refresh_token_that_is_used_again_ends_its_session(api: Api) -> None:
    person, other = api.person(), None
    other = api.log_in(person.email)
    newest = refresh(api, person.refresh_token).json()
    assert_problem(refresh(api, person.refresh_token), 401)
    assert_problem(refresh(api, newest["refresh_token"]), 401)
    assert status(api, {"authorization": f"Bearer {newest['access_token']}"}) == 401
    assert status(api, other.headers) == 200
    entries = api.client.get("/audit?action=session.revoked", headers=api.headers("admin")).json()
    assert entries["data"][0]["subject"] == person.id


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "tcr_",
        "tcr_752d6a22bafe4c7b9c0f93e978e77889_secret",
        "tcr_156a0d2e-8524-40b4-85cd-67821da2a8b5_secret",
        "tcr_' OR true --_secret",
        "tcr_" + "0" * 32 + "_\0",
        "x" * 100_000,
        7,
        None,
        ["tcr_"],
    ],
)
def test_refresh_token_that_is_none_is_refused(api: Api, token: object) -> None:
    answer = api.client.post("/auth/refresh", json={"refresh_token": token})
    assert_problem(answer, 401 if isinstance(token, str) else 400)


def test_logout_ends_one_session(api: Api) -> None:
    person = api.person()
    other = api.log_in(person.email)
    assert status(api, person.headers) == 200
    answer = api.client.post("/auth/logout", headers=person.headers)
    assert answer.json() == {"status": "logged out"}
    assert status(api, person.headers) == 401
    assert_problem(api.client.post("/auth/logout", headers=person.headers), 401)
    assert_problem(refresh(api, person.refresh_token), 401)
    assert status(api, other.headers) == 200


def test_session_ends_with_its_time_however_often_it_is_refreshed(
    make_api: Callable[..., Api],
) -> None:
    api = make_api()
    api.start()
    person = api.person()
    with psycopg.connect(api.settings.database_url, autocommit=True) as conn:
        conn.execute("update sessions set expires_at = now() + interval '100 seconds'")
        answer = refresh(api, person.refresh_token).json()
        assert answer["expires_in"] <= answer["refresh_expires_in"] <= 100
        conn.execute("update sessions set expires_at = now() - interval '1 second'")
        assert_problem(refresh(api, answer["refresh_token"]), 401)
        api.log_in(person.email)
        assert conn.execute("select count(*) from sessions").fetchone() == (1,)


@pytest.fixture(scope="module")
def workers(
    api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, Callable[[dict[str, str]], set[int]]]]:
    """An API of two workers, and what both answer to somebody."""
    own = Api(
        {
            **{name: value for name, value in api.environ.items() if "PORT" not in name},
            "TOCSIN_API_WORKERS": "2",
        },
        tmp_path_factory.mktemp("workers") / "api.log",
    )
    own.start()
    wait_until(lambda: own.log.read_text().count("Worker ready") == 2, "both run", deadline_s=30)

    def both(headers: dict[str, str]) -> set[int]:
        # Each on a connection of its own, which either may accept.
        asked = [
            httpx.get(f"{own.url}/incidents", headers=headers, timeout=WAIT_S, trust_env=False)
            for _ in range(20)
        ]
        return {answer.status_code for answer in asked}

    yield own, both
    own.stop()


def log_out(api: Api, person: Person) -> None:
    api.client.post("/auth/logout", headers=person.headers).raise_for_status()


def delete(api: Api, person: Person) -> None:
    delete_user(api.settings, person.email)


def change_password(api: Api, person: Person) -> None:
    update_user(api.settings, person.email, email=None, role=None, password=NEW_PASSWORD)


@pytest.mark.parametrize("end", [log_out, delete, change_password])
def test_end_of_a_session_is_noticed_by_every_worker(
    workers: tuple[Api, Callable[[dict[str, str]], set[int]]],
    end: Callable[[Api, Person], None],
) -> None:
    api, both = workers
    person = api.person()
    assert both(person.headers) == {200}
    end(api, person)
    wait_until(lambda: both(person.headers) == {401}, "both refuse", deadline_s=FRESH_S + 10)
    assert_problem(refresh(api, person.refresh_token), 401)


def test_demotion_counts_at_once_for_what_changes_something(api: Api) -> None:
    api.person("admin")  # the last one could not be demoted
    person = api.person("admin")
    assert api.client.get("/users", headers=person.headers).status_code == 200
    update_user(api.settings, person.email, email=None, role="viewer", password=None)
    for path in ("/users", "/keys", "/audit"):
        assert_problem(api.client.get(path, headers=person.headers), 403)
    body = {"name": "mine"}
    assert_problem(api.client.post("/keys", json=body, headers=person.headers), 403)
    assert status(api, person.headers) == 200
    update_user(api.settings, person.email, email=None, role="admin", password=None)
    assert api.client.get("/users", headers=person.headers).status_code == 200


def carrying(token: str) -> Request:
    """A request with this token, for an application that nobody serves."""
    app = Sanic("people") if "people" not in Sanic._app_registry else Sanic.get_app("people")
    headers = Header({"authorization": f"Bearer {token}"})
    return Request(b"/incidents", headers, "1.1", "GET", None, app)  # type: ignore[arg-type]


def test_session_is_believed_for_five_seconds_and_not_longer_without_the_database(
    database_url: str,
) -> None:
    settings = Settings(database_url=database_url, jwt_secret="x" * 32)
    clock = Clock()
    create_user(settings, "a@example.org", PASSWORD, "operator")

    async def log_in(reader: Reader, sessions: Sessions) -> Grant:
        known = await UserTable(reader).credentials("a@example.org")
        assert known is not None
        grant = await sessions.begin(carrying(""), known)
        assert grant is not None
        return grant

    async def work() -> None:
        reader = Reader(database_url)
        await reader.open()
        table = SessionTable(reader)
        sessions = Sessions(settings, table, Tokens(settings), Addresses(settings), clock=clock)
        grant = await log_in(reader, sessions)
        request = carrying(grant.access_token)
        assert (await sessions.require(request)).email == "a@example.org"
        with database_away(database_url):
            clock.now = FRESH_S - 0.001
            assert (await sessions.require(request)).role is Role.OPERATOR
            with pytest.raises(StorageError):
                await sessions.require(request, Role.OPERATOR)
            clock.now = FRESH_S
            with pytest.raises(StorageError):
                await sessions.require(request)
        await asyncio.to_thread(delete_user, settings, "a@example.org")
        with pytest.raises(Refusal) as refusal:
            await sessions.require(request)
        assert refusal.value.status == 401
        await reader.close()

    asyncio.run(work())


def test_login_that_a_new_password_overtakes_is_none(database_url: str) -> None:
    settings = Settings(database_url=database_url)
    create_user(settings, "a@example.org", PASSWORD, "operator")

    async def work() -> None:
        reader = Reader(database_url)
        await reader.open()
        known = await UserTable(reader).credentials("a@example.org")
        assert known is not None
        await asyncio.to_thread(
            update_user, settings, known.email, email=None, role=None, password=NEW_PASSWORD
        )
        sessions = Sessions(
            Settings(jwt_secret="x" * 32),
            SessionTable(reader),
            Tokens(Settings(jwt_secret="x" * 32)),
            Addresses(settings),
        )
        assert await sessions.begin(carrying(""), known) is None
        await reader.close()

    asyncio.run(work())


def test_refresh_token_is_stored_as_a_hash_alone(api: Api) -> None:
    person = api.person()
    _, session_id, secret = person.refresh_token.split("_", 2)
    with psycopg.connect(api.settings.database_url) as conn:
        query = "select sessions::text from sessions where id = %s"
        row = conn.execute(query, [UUID(session_id)]).fetchone()
    assert row is not None
    assert secret not in row[0]
