"""What an access token must be to be believed, and what it is good for."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import jwt
import pytest

from api.auth import AUDIENCE, ISSUER
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_ingest import assert_problem, record


@pytest.fixture(scope="module")
def session(api: Api) -> dict[str, str]:
    """What the token of a viewer who is logged in says."""
    api.headers("viewer")
    token = api.headers("viewer")["authorization"].removeprefix("Bearer ")
    return dict(jwt.decode(token, options={"verify_signature": False}))


def claims(session: dict[str, str], **changes: object) -> dict[str, Any]:
    now = datetime.now(timezone.utc)
    good: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": session["sub"],
        "sid": session["sid"],
        "jti": "1",
        "iat": now,
        "exp": now + timedelta(minutes=5),
        **changes,
    }
    return {name: value for name, value in good.items() if value is not None}


def status_of(api: Api, token: str) -> int:
    answer = api.client.get("/incidents", headers={"authorization": f"Bearer {token}"})
    if answer.status_code != 200:
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert token not in answer.text
    return answer.status_code


def test_token_signed_with_our_secret_is_believed(api: Api, session: dict[str, str]) -> None:
    assert status_of(api, jwt.encode(claims(session), api.settings.jwt_secret, "HS256")) == 200


def test_token_of_a_login_says_no_more_than_who(session: dict[str, str]) -> None:
    assert session.keys() == {"iss", "aud", "sub", "sid", "jti", "iat", "exp"}


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": datetime(2020, 1, 1, tzinfo=timezone.utc)},
        {"exp": None},
        {"exp": "soon"},
        {"aud": "another-api"},
        {"aud": None},
        {"iss": "somebody"},
        {"iss": None},
        {"jti": None},
        {"jti": 7},
        {"sub": None},
        {"sid": None},
        {"sid": "' OR true --"},
        {"sid": 7},
        {"sid": ["7c6d6de0-0000-4000-8000-000000000000"]},
        {"sid": str(uuid4())},
        {"iat": None},
        {"iat": datetime(2100, 1, 1, tzinfo=timezone.utc)},
    ],
)
def test_token_with_a_wrong_claim_is_refused(
    api: Api, session: dict[str, str], changes: dict[str, object]
) -> None:
    token = jwt.encode(claims(session, **changes), api.settings.jwt_secret, "HS256")
    assert status_of(api, token) == 401


def test_role_in_a_token_is_not_believed(api: Api, session: dict[str, str]) -> None:
    token = jwt.encode(claims(session, role="admin"), api.settings.jwt_secret, "HS256")
    answer = api.client.get("/users", headers={"authorization": f"Bearer {token}"})
    assert_problem(answer, 403)


def test_token_signed_otherwise_is_refused(api: Api, session: dict[str, str]) -> None:
    secret = api.settings.jwt_secret
    good = claims(session)
    assert status_of(api, jwt.encode(good, None, "none")) == 401
    assert status_of(api, jwt.encode(good, secret + "x", "HS256")) == 401
    assert status_of(api, jwt.encode(good, "x" * 48, "HS256")) == 401
    assert status_of(api, jwt.encode(good, secret * 2, "HS512")) == 401
    assert status_of(api, "a.b.c") == 401
    assert status_of(api, jwt.encode(good, secret, "HS256") + "x") == 401
    head, body, _ = jwt.encode(good, secret, "HS256").split(".")
    assert status_of(api, f"{head}.{body}.") == 401


def test_secret_is_replaced_without_logging_anybody_out(make_api: Callable[..., Api]) -> None:
    api = make_api()
    api.start()
    person = api.person("viewer")
    assert api.process is not None
    api.process.stop()
    old = api.environ["TOCSIN_JWT_SECRET"]
    api.environ |= {"TOCSIN_JWT_SECRET": "n" * 40, "TOCSIN_JWT_SECRET_PREVIOUS": old}
    api.start()
    assert status_of(api, person.access_token) == 200
    answer = api.client.post("/auth/refresh", json={"refresh_token": person.refresh_token})
    newer = answer.json()["access_token"]
    jwt.decode(newer, "n" * 40, ["HS256"], audience=AUDIENCE)
    api.process.stop()
    del api.environ["TOCSIN_JWT_SECRET_PREVIOUS"]
    api.start()
    assert status_of(api, person.access_token) == 401
    assert status_of(api, newer) == 200


def test_ingest_key_does_not_read(api: Api) -> None:
    assert status_of(api, api.key) == 401
    for path in ("/users", "/keys", "/audit", "/users/me"):
        assert_problem(api.client.get(path, headers={"x-api-key": api.key}), 401)


def test_token_does_not_ingest(api: Api, service: str) -> None:
    admin = api.person("admin")
    for token in (admin.access_token, admin.refresh_token):
        answer = api.ingest(record(service), authorization=f"Bearer {token}")
        assert token not in str(assert_problem(answer, 401))


def test_refresh_token_does_not_read(api: Api) -> None:
    assert status_of(api, api.person().refresh_token) == 401
