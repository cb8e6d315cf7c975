"""Users and ingest keys as the command line sees them: checked as over HTTP, straight to SQL."""

import re
from collections.abc import Sequence
from uuid import UUID

from api.ingest_keys import name_fault
from api.keys import new_key
from api.passwords import hash_password, password_fault
from api.scopes import check_services
from api.users import EMAIL, EMAIL_CHARACTERS_MAX
from sql.audit import command_line
from sql.keys import KeyRow, KeyTable
from sql.reader import Reader, with_reader
from sql.users import UserChange, UserRow, UserTable
from tocsin.errors import NotFound, SettingsError
from tocsin.settings import Settings

_ALL = 2**31 - 1


def create_user(settings: Settings, email: str, password: str, role: str) -> UserRow:
    """Add a user.

    Raises SettingsError for an address or password that can't be, AlreadyExists, StorageError.
    """
    require_email(email, "--email")
    password_hash = _hashed(password)
    return with_reader(
        settings.database_url,
        lambda reader: UserTable(reader).insert(email, password_hash, role, by=command_line()),
    )


def list_users(settings: Settings) -> list[UserRow]:
    """Return all users, oldest first. Raises StorageError."""
    return with_reader(
        settings.database_url, lambda reader: UserTable(reader).page(limit=_ALL, offset=0)
    )


def update_user(
    settings: Settings, who: str, *, email: str | None, role: str | None, password: str | None
) -> UserRow:
    """Change what is given of the user with this address; a new password ends their sessions.

    Raises SettingsError, NotFound, AlreadyExists, LastAdmin, StorageError.
    """
    if email is None and role is None and password is None:
        raise SettingsError("nothing to change: give --role, --new-email or --new-password")
    if email is not None:
        require_email(email, "--new-email")
    change = UserChange(
        email=email, role=role, password_hash=None if password is None else _hashed(password)
    )

    async def work(reader: Reader) -> UserRow:
        users = UserTable(reader)
        return await users.change(await _id_of(users, who), change, by=command_line())

    return with_reader(settings.database_url, work)


def delete_user(settings: Settings, who: str) -> UserRow:
    """Delete the user with this address. Raises NotFound, LastAdmin, StorageError."""

    async def work(reader: Reader) -> UserRow:
        users = UserTable(reader)
        return await users.delete(await _id_of(users, who), by=command_line())

    return with_reader(settings.database_url, work)


def create_key(settings: Settings, name: str, services: Sequence[str] | None = None) -> str:
    """Make an ingest key and return it.

    services: whose records it may send; None: everybody's. Raises SettingsError, AlreadyExists,
    StorageError.
    """
    if fault := name_fault(name):
        raise SettingsError(f"--name: {fault}")
    scope = None if services is None else check_services(services)
    key = new_key()
    with_reader(
        settings.database_url,
        lambda reader: KeyTable(reader).insert(key.id, name, key.hash, scope, by=command_line()),
    )
    return key.text


def list_keys(settings: Settings) -> list[KeyRow]:
    """Return all keys, oldest first. Raises StorageError."""
    return with_reader(
        settings.database_url, lambda reader: KeyTable(reader).page(limit=_ALL, offset=0)
    )


def revoke_key(settings: Settings, which: str) -> tuple[KeyRow, bool]:
    """Revoke the key of this id or name; return it, and whether it was revoked already.

    Raises NotFound, StorageError.
    """

    async def work(reader: Reader) -> tuple[KeyRow, bool]:
        keys = KeyTable(reader)
        found = None if "\0" in which else await keys.find(which)
        if found is None:
            raise NotFound(f"no ingest key goes by {which[:80]!r}: `tocsin keys list` shows them")
        revoked = await keys.revoke(found.id, by=command_line())
        return revoked, found.revoked_at is not None

    return with_reader(settings.database_url, work)


async def _id_of(users: UserTable, email: str) -> UUID:
    known = await users.credentials(email)
    if known is None:
        raise NotFound(f"no user has the address {email}: `tocsin users list` shows them")
    return known.id


def require_email(email: str, option: str) -> None:
    """Raise SettingsError, which names the option, unless a user may have this address."""
    if not re.search(EMAIL, email) or len(email) > EMAIL_CHARACTERS_MAX:
        raise SettingsError(f"{option}: {email!r} is no e-mail address")


def _hashed(password: str) -> str:
    if fault := password_fault(password):
        raise SettingsError(f"TOCSIN_PASSWORD: {fault}")
    return hash_password(password)
