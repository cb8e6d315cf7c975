"""What a stack remembers between two starts: its name and the secrets that it made once."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from stack.errors import StackError

MADE_HERE = "made-by-make-up-"
"""How the passwords begin that a stack makes for its database: known also when it is gone."""


def _password() -> str:
    return MADE_HERE + secrets.token_urlsafe(24)


class State(msgspec.Struct):
    """Made once, kept in a file that only its owner may read.

    flow_password, api_password, analyst_password: of the database's roles.
    ingest_key: None until the API's database has made one.
    api_url, kafka_bootstrap, database_url, analyst_url: those of the last start that came to be
        ready; None before the first. analyst_url is that of our own database, else None.
    has_own_broker: whether kafka_bootstrap is that of our own broker.
    """

    name: str
    database_password: str
    jwt_secret: str
    admin_email: str
    admin_password: str
    flow_password: str = msgspec.field(default_factory=_password)
    api_password: str = msgspec.field(default_factory=_password)
    analyst_password: str = msgspec.field(default_factory=_password)
    admin_created: bool = False
    ingest_key: str | None = None
    api_url: str | None = None
    kafka_bootstrap: str | None = None
    has_own_broker: bool = True
    database_url: str | None = None
    analyst_url: str | None = None

    @property
    def database_passwords(self) -> set[str]:
        """The passwords of the database's owner and roles."""
        roles = {self.flow_password, self.api_password, self.analyst_password}
        return {self.database_password, *roles}

    @property
    def exports(self) -> dict[str, str]:
        """What the commands of `tocsin` and of the documentation take from the environment."""
        places = {
            "TOCSIN_URL": self.api_url,
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "INGEST_KEY": self.ingest_key,
            "EMAIL": self.admin_email,
            "PASSWORD": self.admin_password,
        }
        return {name: value for name, value in places.items() if value}

    @property
    def own_exports(self) -> dict[str, str]:
        """Those that hold no longer than this stack's data: not what is on servers of others."""
        others = set() if self.has_own_broker else {"KAFKA_BOOTSTRAP"}
        if self.analyst_url is None:
            others |= {"DATABASE_URL", "INGEST_KEY", "EMAIL", "PASSWORD"}
        return {name: value for name, value in self.exports.items() if name not in others}


def load_state(folder: Path) -> State:
    """Read the folder's state, or make one. Raises StackError when the file is damaged."""
    path = folder / "state.json"
    if not path.exists():
        state = State(
            name=f"up-{secrets.token_hex(6)}",
            database_password=_password(),
            jwt_secret=secrets.token_urlsafe(48),
            # A database that outlives the state may have the last one's admin still.
            admin_email=f"admin-{secrets.token_hex(2)}@tocsin.local",
            admin_password=secrets.token_urlsafe(12),
        )
        save_state(folder, state)
        return state
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except msgspec.DecodeError as error:
        raise StackError(f"{path} is damaged ({error}): `make down` starts afresh") from error


def save_state(folder: Path, state: State) -> None:
    """Write the state, whole or not at all; make the folder if it is missing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = folder / "state.json.partial"
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(state)))
    aside.replace(folder / "state.json")


@contextmanager
def lock_state(folder: Path) -> Iterator[None]:
    """Hold the folder against a second stack. Raises StackError when another process has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            require_alone(folder)
            raise StackError(f"another start has just taken {folder}: try again") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
        lock.truncate(0)


def require_alone(folder: Path) -> None:
    """Raise StackError when a living process has the folder."""
    if holder := lock_holder(folder):
        url = load_state(folder).api_url if (folder / "state.json").exists() else None
        raise StackError(
            f"Tocsin is already up{f' at {url}' if url else ''} (pid {holder}): Ctrl-C there stops"
            " it, `make show` prints its URLs and credentials, `make down` deletes its data"
        )


def lock_holder(folder: Path) -> int | None:
    """Return the pid that holds the folder, or None."""
    try:
        with (folder / "lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or 0) or None
    except FileNotFoundError:
        pass
    return None
