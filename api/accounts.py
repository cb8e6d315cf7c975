"""Users and ingest keys as the command line makes them: checked as over HTTP, straight to SQL."""

import re

from api.keys import new_key
from api.passwords import hash_password, password_fault
from api.users import EMAIL, EMAIL_CHARACTERS_MAX
from sql.reader import UserRow, with_reader
from tocsin.errors import SettingsError
from tocsin.settings import Settings

_NAME_CHARACTERS_MAX = 128


def create_user(settings: Settings, email: str, password: str, role: str) -> UserRow:
    """Add a user.

    Raises SettingsError for an address or password that can't be, AlreadyExists, StorageError.
    """
    if not re.search(EMAIL, email) or len(email) > EMAIL_CHARACTERS_MAX:
        raise SettingsError(f"--email: {email!r} is no e-mail address")
    if fault := password_fault(password):
        raise SettingsError(f"TOCSIN_PASSWORD: {fault}")
    password_hash = hash_password(password)
    return with_reader(
        settings.database_url, lambda reader: reader.insert_user(email, password_hash, role)
    )


def create_key(settings: Settings, name: str) -> str:
    """Make an ingest key and return it. Raises SettingsError, AlreadyExists, StorageError."""
    if not 1 <= len(name) <= _NAME_CHARACTERS_MAX or not name.isprintable():
        raise SettingsError(f"--name: give 1 to {_NAME_CHARACTERS_MAX} printable characters")
    key = new_key()
    with_reader(settings.database_url, lambda reader: reader.insert_key(key.id, name, key.hash))
    return key.text
