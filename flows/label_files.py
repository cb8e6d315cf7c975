"""Labels from files: intervals of services, as CSV or JSON."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Struct

from flows.labels import Interval, Label, Labels
from tocsin.errors import LabelsError
from tocsin.mistakes import in_words
from tocsin.records import EPOCH

_COLUMNS: Final = ("service", "start", "end", "kind", "tier", "dontcare", "dontcare_until")
_REQUIRED: Final = _COLUMNS[:3]
_NAMED_MAX: Final = 5


class _Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A row as it stands in a file; a time is RFC 3339 with its offset, or epoch ms."""

    service: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    start: str | int
    end: str | int
    kind: str | None = None
    tier: str | None = None
    dontcare: bool = False
    dontcare_until: str | int | None = None


def read_labels(path: Path, *, complete: bool = True) -> Labels:
    """Return the labels of a file: `.json` an array of objects, else CSV with a header.

    Raises LabelsError, with the file and the place in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabelsError(f"{path}: cannot be read: {error.strerror}") from None
    rows = _json_rows if path.suffix.lower() == ".json" else _csv_rows
    incidents: list[Label] = []
    ignored: list[Interval] = []
    for place, row in rows(path, content):
        start_ms, end_ms = _time_ms(place, "start", row.start), _time_ms(place, "end", row.end)
        until_ms = None
        if row.dontcare_until is not None:
            until_ms = _time_ms(place, "dontcare_until", row.dontcare_until)
        if end_ms < start_ms:
            raise LabelsError(f"{place}: end lies before start")
        if row.dontcare:
            ignored.append(Interval(row.service, start_ms, end_ms))
            continue
        incidents.append(
            Label(
                id=f"{path.name}:{len(incidents) + 1}",
                service_id=row.service,
                start_ms=start_ms,
                end_ms=end_ms,
                kind=row.kind,
                tier=row.tier,
                ignore_until_ms=until_ms,
            )
        )
    if not incidents and not ignored:
        raise LabelsError(f"{path}: holds no label")
    return Labels(incidents=tuple(incidents), ignored=tuple(ignored), complete=complete)


def of_services(labels: Labels, services: Iterable[str], where: str) -> tuple[Labels, str | None]:
    """Return the labels of services that have records, and a line on those of others, if any."""
    known = list(services)
    unknown = sorted(labels.services.difference(known))
    if not unknown:
        return labels, None
    named = ", ".join(map(repr, unknown[:_NAMED_MAX]))
    more = f" and {len(unknown) - _NAMED_MAX} more" if len(unknown) > _NAMED_MAX else ""
    close = get_close_matches(unknown[0], known, n=1)
    hint = f"; is {unknown[0]!r} meant to be {close[0]!r}?" if close else ""
    told = f"{where}: labels of {named}{more} are left out: no record in the range is theirs{hint}"
    return labels.of_services(known), told


def _json_rows(path: Path, content: bytes) -> Iterator[tuple[str, _Row]]:
    try:
        raws = msgspec.json.decode(content, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LabelsError(f"{path}: is no JSON array of labels: {error}") from None
    for number, raw in enumerate(raws, 1):
        place = f"{path}, label {number}"
        try:
            yield place, msgspec.json.decode(raw, type=_Row)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise LabelsError(f"{place}: {in_words(str(error))}") from None


def _csv_rows(path: Path, content: bytes) -> Iterator[tuple[str, _Row]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LabelsError(f"{path}: is not UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_header(path, reader.fieldnames or ())
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            yield place, _csv_row(place, row)
    except csv.Error as error:
        raise LabelsError(f"{path}, line {reader.line_num}: is no CSV: {error}") from None


def _check_header(path: Path, names: Iterable[str]) -> None:
    given = list(names)
    for name in _REQUIRED:
        if name not in given:
            raise LabelsError(f"{path}: has no column {name!r}: the header names its columns")
    for name in given:
        if name not in _COLUMNS:
            close = get_close_matches(name, _COLUMNS, n=1)
            hint = f", is {close[0]!r} meant?" if close else f": take {', '.join(_COLUMNS)}"
            raise LabelsError(f"{path}: unknown column {name!r}{hint}")


def _csv_row(place: str, row: Mapping[str | None, Any]) -> _Row:
    if None in row or None in row.values():
        raise LabelsError(f"{place}: has not as many fields as the header")
    given = {name: value for name, value in row.items() if value}
    try:
        # Not strict: what stands in a CSV file is text, also a boolean.
        return msgspec.convert(given, type=_Row, strict=False)
    except msgspec.ValidationError as error:
        raise LabelsError(f"{place}: {in_words(str(error))}") from None


def _time_ms(place: str, name: str, given: str | int) -> int:
    try:
        if isinstance(given, int) or given.isdecimal():
            at_ms = int(given)
        else:
            at = msgspec.convert(given, datetime)
            if at.tzinfo is None:
                raise LabelsError(
                    f"{place}: {name}: {given[:40]!r} lacks its time zone, add Z for UTC, or an"
                    " offset as +01:00"
                )
            at_ms = (at - EPOCH) // timedelta(milliseconds=1)
        EPOCH + timedelta(milliseconds=at_ms)  # beyond the year 9999 there is none
    except (msgspec.ValidationError, ValueError, OverflowError):
        shown = repr(given) if isinstance(given, int) else repr(given[:40])
        raise LabelsError(
            f"{place}: {name}: {shown} is no time, give one as 2026-03-02T08:00:00Z, or"
            " milliseconds since 1970"
        ) from None
    return at_ms
