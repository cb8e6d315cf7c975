"""Migrations are numbered without a gap, and what was released is never edited."""

import hashlib
from pathlib import Path

import pytest

from sql.migrate import migrations
from stack.commands import CHECKOUT

FOLDER = CHECKOUT / "sql/migrations"


def assert_released_are_unedited(folder: Path) -> None:
    """Hold a folder's migrations against its list of those that were released."""
    lines = (folder / "released.txt").read_text().splitlines()
    listed = [line.split() for line in lines if not line.startswith("#")]
    names = [name for _, name in listed]
    present = sorted(path.name for path in folder.glob("*.sql"))
    assert names == present[: len(names)], "released migrations come first, and stay"
    for digest, name in listed:
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert found == digest, f"{name} was released: write a new migration instead"


def test_migrations_are_numbered_from_1_without_a_gap() -> None:
    assert [step.number for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_released_migrations_are_never_edited() -> None:
    assert_released_are_unedited(FOLDER)


@pytest.mark.parametrize("change", ["edited", "removed", "renamed"])
def test_change_of_a_released_migration_is_noticed(tmp_path: Path, change: str) -> None:
    text = b"SELECT 1;\n"
    first = tmp_path / "0001_schema.sql"
    first.write_bytes(text)
    (tmp_path / "0002_more.sql").write_text("SELECT 2;\n")
    digest = hashlib.sha256(text).hexdigest()
    (tmp_path / "released.txt").write_text(f"# released\n{digest}  0001_schema.sql\n")
    assert_released_are_unedited(tmp_path)
    if change == "edited":
        first.write_bytes(text + b"\n")
    elif change == "removed":
        first.unlink()
    else:
        first.rename(tmp_path / "0001_begin.sql")
    with pytest.raises(AssertionError, match="released"):
        assert_released_are_unedited(tmp_path)
