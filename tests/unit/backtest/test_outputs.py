"""What a backtest cannot write in the end is said before it reads anything."""

from pathlib import Path

import pytest

from tocsin.cli import app
from tocsin.errors import SettingsError


@pytest.mark.parametrize(
    ("option", "name", "what"),
    [
        ("--json", "none/scores.json", "there is no folder"),
        ("--html", "folder", "it is a folder"),
        ("--html", "n" * 300, "File name too long"),
        ("--parquet", "file", "there is no folder"),
        ("--parquet", "file/below", "there is no folder"),
    ],
    ids=lambda value: value[:30],
)
def test_output_that_cannot_be_written_is_refused_first(
    tmp_path: Path, option: str, name: str, what: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name
    unread = str(tmp_path / "none.ndjson")
    with pytest.raises(SettingsError) as raised:
        app(["backtest", unread, option, str(path)], standalone_mode=False)
    assert str(raised.value).startswith(f"{path}: cannot be written: {what}")


@pytest.mark.parametrize(
    ("option", "name"), [("--json", "new.json"), ("--html", "file"), ("--parquet", "new/below")]
)
def test_output_that_can_be_written_is_not_refused(tmp_path: Path, option: str, name: str) -> None:
    (tmp_path / "file").touch()
    path, unread = tmp_path / name, tmp_path / "none.ndjson"
    words = ["backtest", str(unread), option, str(path), "--overwrite"]
    with pytest.raises(Exception, match="No such file or directory") as raised:
        app(words, standalone_mode=False)
    assert str(raised.value).startswith(str(unread))
    assert not (tmp_path / "new").exists()
