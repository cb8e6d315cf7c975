"""Roles, passwords and keys, without a server."""

import asyncio
import time
from datetime import datetime, timedelta, timezone, tzinfo
from uuid import uuid4

import bcrypt
import pytest
from rich.pretty import pretty_repr

from api.auth import Role, Tokens
from api.ingest_keys import MadeIngestKey
from api.keys import new_key
from api.login import Login, Refresh
from api.passwords import BYTES_MAX, Passwords, password_fault
from api.problems import Refusal
from api.sessions import Grant
from api.users import NewUser, UserUpdate
from sql.keys import GoodKeyRow
from sql.users import CredentialsRow, UserChange
from tocsin.errors import SettingsError
from tocsin.settings import Settings


@pytest.mark.parametrize("role", Role)
def test_role_covers_itself_and_those_below(role: Role) -> None:
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    assert [other for other in order if role.covers(other)] == order[: order.index(role) + 1]


def test_tokens_need_a_secret_of_32_bytes() -> None:
    with pytest.raises(SettingsError, match="TOCSIN_JWT_SECRET"):
        Tokens(Settings(jwt_secret="x" * 31))
    Tokens(Settings(jwt_secret="ü" * 16))
    with pytest.raises(SettingsError, match="TOCSIN_JWT_SECRET_PREVIOUS"):
        Tokens(Settings(jwt_secret="x" * 32, jwt_secret_previous="x"))


class InTwoHours(datetime):
    """The clock of a library that asks for none to be given."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "InTwoHours":
        return super().now(tz) + timedelta(hours=2)


def test_token_that_was_good_is_refused_once_it_has_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens, session_id = Tokens(Settings(jwt_secret="x" * 32)), uuid4()
    end = datetime.now(timezone.utc) + timedelta(hours=1)
    token, _ = tokens.issue(uuid4(), session_id, end)
    assert tokens.session_of(token) == tokens.session_of(token) == session_id
    monkeypatch.setattr(time, "time", lambda: InTwoHours.now().timestamp())
    monkeypatch.setattr("jwt.api_jwt.datetime", InTwoHours)
    with pytest.raises(Refusal) as refused:
        tokens.session_of(token)
    assert (refused.value.status, "expired" in refused.value.detail) == (401, True)


def test_token_beside_one_that_was_good_is_read() -> None:
    tokens = Tokens(Settings(jwt_secret="x" * 32))
    end = datetime.now(timezone.utc) + timedelta(hours=1)
    first, second = uuid4(), uuid4()
    good, other = (tokens.issue(uuid4(), session, end)[0] for session in (first, second))
    assert [tokens.session_of(token) for token in (good, other, good)] == [first, second, first]
    forged = other.rpartition(".")[0] + "." + good.rpartition(".")[2]
    with pytest.raises(Refusal):
        tokens.session_of(forged)


@pytest.mark.parametrize("password", ["1234567", "x" * 73, "ü" * 37, "nul \0 inside"])
def test_password_out_of_bounds_is_refused(password: str) -> None:
    assert password_fault(password)
    with pytest.raises(Refusal):
        asyncio.run(Passwords(rounds=4).hash(password))


@pytest.mark.parametrize("password", ["12345678", "x" * 72, "ü" * 36])
def test_password_matches_its_own_hash_alone(password: str) -> None:
    async def work() -> None:
        passwords = Passwords(rounds=4)
        known = await passwords.hash(password)
        assert await passwords.matches(password, known)
        assert not await passwords.matches(password[:-1], known)
        assert not await passwords.matches(password + "x" * BYTES_MAX, known)
        assert not await passwords.matches(password, None)
        passwords.close()

    asyncio.run(work())


def test_password_that_goes_on_with_itself_after_a_nul_is_another() -> None:
    async def work() -> None:
        passwords = Passwords(rounds=4)
        known = await passwords.hash("12345678")
        assert bcrypt.checkpw(b"12345678\x0012345678", known.encode())  # so it is to bcrypt
        assert not await passwords.matches("12345678\x0012345678", known)
        passwords.close()

    asyncio.run(work())


def test_password_that_is_cut_in_a_character_is_still_compared() -> None:
    async def work() -> None:
        passwords = Passwords(rounds=4)
        known = await passwords.hash("x" * 71 + "y")
        assert not await passwords.matches("x" * 71 + "üü", known)
        passwords.close()

    asyncio.run(work())


def test_flood_of_logins_is_refused_instead_of_queued() -> None:
    async def work() -> None:
        passwords = Passwords(rounds=10)
        known = await passwords.hash("12345678")
        results = await asyncio.gather(
            *(passwords.matches("12345678", known) for _ in range(60)), return_exceptions=True
        )
        refusals = [result for result in results if isinstance(result, Refusal)]
        assert len(refusals) == 10
        assert {refusal.status for refusal in refusals} == {503}
        assert all(refusal.headers["Retry-After"] for refusal in refusals)
        passwords.close()

    asyncio.run(work())


def test_new_keys_differ_and_hide_their_secret() -> None:
    keys = [new_key() for _ in range(100)]
    assert len({key.id for key in keys}) == len({key.hash for key in keys}) == 100
    for key in keys:
        prefix, key_id, secret = key.text.split("_", 2)
        assert (prefix, key_id) == ("tcs", key.id)
        assert len(secret) >= 43
        assert secret.encode() not in key.hash


def test_nothing_that_holds_a_secret_shows_it() -> None:
    key = new_key()
    secret = "correct horse battery"
    holders = [
        key,
        NewUser("a@example.org", secret),
        Login("a@example.org", secret),
        UserUpdate(password=secret, old_password=secret),
        UserChange(password_hash=secret),
        Refresh(secret),
        Grant(
            access_token=secret,
            token_type="Bearer",
            expires_in=1,
            refresh_token=secret,
            refresh_expires_in=1,
        ),
        MadeIngestKey(id="1", name="shipper", services=None, key=secret),
        GoodKeyRow(id="1", name="shipper", hash=key.hash, services=None),
        CredentialsRow(id=uuid4(), email="a@b.cc", role="admin", password_hash=secret),
    ]
    for text in (*map(repr, holders), *map(str, holders), *map(pretty_repr, holders)):
        assert secret not in text
        assert key.text.split("_", 2)[2] not in text
        assert repr(key.hash) not in text
    assert key.id in repr(key)
    assert "a@example.org" in repr(holders[1])
