"""The files that a command writes what it found to: none that is there is lost unasked."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from tocsin.errors import SettingsError

OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace files of those names, but for what is read")
]

_Key = tuple[int, int] | Path


def check_outputs(
    files: Mapping[str, Iterable[Path]], read: Iterable[Path], *, overwrite: bool
) -> None:
    """Refuse, before anything runs, to write over what is there, is read, or is written already.

    files: by option; read: what the command reads. Raises SettingsError, naming the option.
    """
    inputs = {_key(path) for path in read}
    taken: dict[_Key, str] = {}
    for option, path in ((option, path) for option, paths in files.items() for path in paths):
        if path.exists() and not path.is_file():
            continue  # a pipe, a device: nothing is lost
        if _key(path) in inputs:
            raise SettingsError(f"{option}: {path} is read, give another file")
        other = taken.setdefault(_key(path), option)
        if other != option:
            raise SettingsError(f"{option}: {path} is written by {other}, give another file")
        if path.exists() and not overwrite:
            raise SettingsError(f"{option}: {path} exists; --overwrite replaces it")


def writable_file(path: Path | None) -> Path | None:
    """Refuse, before anything is read, a file that could not be written after it."""
    try:
        if path is not None and path.is_dir():
            raise SettingsError(f"{path}: cannot be written: it is a folder")
        if path is not None and not path.exists():
            _require_writable(path, path.parent)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def writable_folder(path: Path | None) -> Path | None:
    """Refuse, before anything is read, a folder that could not be written after it."""
    try:
        if path is not None:
            _require_writable(
                path, next(place for place in (path, *path.parents) if place.exists())
            )
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _require_writable(path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise SettingsError(f"{path}: cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"{path}: cannot be written: {folder} may not be written")


def _key(path: Path) -> _Key:
    """Return what two names of one file have in common."""
    try:
        found = path.stat()
    except OSError:
        return Path(os.path.realpath(path))
    return found.st_dev, found.st_ino
