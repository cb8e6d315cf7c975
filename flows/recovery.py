"""The recovery store: the folder in which Bytewax keeps the flow's state between two snapshots.

It may be lost at any time: what it holds is rebuilt from the rows in the database.
"""

import fcntl
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from bytewax._bytewax import init_db_dir

from tocsin.errors import RecoveryDamaged, RecoveryTaken

_PARTS = 1
_FIRST_EPOCH = 1
_WAIT_S = 60
# What Bytewax says of a store that is damaged, or of a topic with fewer partitions than before.
_WORDS = ("Partition", "Sqlite", "sqlite", "recovery", "routing map", "unpickl")
_FULL = "disk is full"


class RecoveryStore:
    """The store of one flow, or of the cluster of processes that it consists of.

    process: number of this one; the first makes the store, the others wait for it.
    """

    def __init__(self, folder: Path, process: int = 0) -> None:
        self._folder = folder
        self._process = process
        self.path = folder / "store"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, so that no second flow writes into it; raise RecoveryTaken."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = "lock" if self._process == 0 else f"lock-{self._process}"
        with (self._folder / name).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RecoveryTaken(
                    f"another flow uses the recovery folder {self._folder}: stop it, or give this "
                    "one its own by TOCSIN_RECOVERY_DIR"
                ) from None
            yield

    def prepare(self, stopping: threading.Event) -> None:
        """Make a fresh store if there is none, aside and then renamed: it is whole or not there."""
        if self._process:
            for _ in range(_WAIT_S):
                if self.path.exists() or stopping.wait(1):
                    return
            raise RecoveryDamaged(
                f"there is no recovery store in {self._folder} after {_WAIT_S} s: all processes of "
                "a cluster share the folder, and process 0 makes the store"
            )
        if not self.path.exists():
            with tempfile.TemporaryDirectory(dir=self._folder) as aside:
                fresh = Path(aside) / "store"
                fresh.mkdir()
                init_db_dir(fresh, _PARTS)
                fresh.rename(self.path)

    def is_void(self) -> bool:
        """Tell whether no snapshot was ever completed; raise RecoveryDamaged if it can't be read.

        Bytewax resumes at the least epoch that every worker of the last execution has reached.
        """
        try:
            return all(_is_void(part) for part in sorted(self.path.glob("part-*.sqlite3")))
        except sqlite3.Error as error:
            raise self.damaged(error) from None

    def set_aside(self) -> Path:
        """Move the store out of the way, and return where it is now."""
        now = datetime.now(timezone.utc)
        aside = self._folder / f"store-{now:%Y%m%dT%H%M%S.%fZ}"
        self.path.rename(aside)
        return aside

    def says(self, error: BaseException) -> bool:
        """Tell whether what Bytewax raised speaks of the store."""
        return any(word in f"{type(error).__name__} {error}" for word in _WORDS)

    def damaged(self, error: BaseException) -> RecoveryDamaged:
        """Return what a person is told of it."""
        what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        if _FULL in str(error):
            return RecoveryDamaged(
                f"the recovery store in {self._folder} cannot be written ({what}): make room"
            )
        return RecoveryDamaged(f"the recovery store in {self._folder} cannot be used ({what})")


def _is_void(part: Path) -> bool:
    with closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as store:
        last = store.execute(
            "SELECT ex_num, worker_count, resume_epoch FROM exs ORDER BY ex_num DESC LIMIT 1"
        ).fetchone()
        if last is None:
            return True
        execution, workers, resume_epoch = last
        [reached] = store.execute(
            "SELECT count(DISTINCT worker_index) FROM fronts"
            " WHERE ex_num = ? AND worker_frontier > ?",
            (execution, _FIRST_EPOCH),
        ).fetchone()
        return bool(resume_epoch <= _FIRST_EPOCH and reached < workers)
