"""A login costs one comparison of hashes, whoever it is for and whatever is wrong with it."""

import asyncio
from typing import Any

import msgspec
import pytest
from sanic import Request, Sanic
from sanic.compat import Header

from api import passwords
from api.accounts import create_user
from api.addresses import Addresses
from api.auth import Tokens
from api.counts import Windows
from api.limits import Limits
from api.login import Logins
from api.passwords import Passwords
from api.problems import Refusal
from api.sessions import Sessions
from sql.audit import AuditTable
from sql.reader import Reader
from sql.sessions import SessionTable
from sql.users import UserTable
from tests.integration.http.conftest import PASSWORD
from tocsin.settings import Settings


def login(**body: str) -> Request:
    app = Sanic("logins") if "logins" not in Sanic._app_registry else Sanic.get_app("logins")
    headers = Header({"content-type": "application/json"})
    request = Request(b"/auth/login", headers, "1.1", "POST", None, app)  # type: ignore[arg-type]
    request.body = msgspec.json.encode(body)
    return request


def test_every_refused_login_compares_one_hash_of_the_same_cost(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=database_url, jwt_secret="x" * 32)
    create_user(settings, "a@example.org", PASSWORD, "viewer")
    compared: list[str] = []
    real = passwords._matches

    def counted(password: str, known: str) -> bool:
        compared.append(known[:7])
        return real(password, known)

    monkeypatch.setattr(passwords, "_matches", counted)

    async def work() -> None:
        reader = Reader(database_url)
        await reader.open()
        addresses = Addresses(settings)
        logins = Logins(
            UserTable(reader),
            AuditTable(reader),
            Sessions(settings, SessionTable(reader), Tokens(settings), addresses),
            Passwords(),
            Limits(settings, addresses, Windows()),
        )
        told: list[Any] = []
        for email, password in (
            ("a@example.org", "wrong"),
            ("a@example.org", PASSWORD + "x" * 100),
            ("nobody@example.org", PASSWORD),
            ("nul\0@example.org", PASSWORD),
            ("", ""),
        ):
            with pytest.raises(Refusal) as refusal:
                await logins.login(login(email=email, password=password))
            told.append((refusal.value.status, refusal.value.detail))
        assert len(set(told)) == 1
        await reader.close()

    asyncio.run(work())
    assert compared == ["$2b$12$"] * 5
