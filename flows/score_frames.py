"""A backtest's scores as tables for notebooks: polars frames, Parquet, JSON."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from flows.comparing import Change, Difference
from flows.rows import IncidentRow
from flows.scorecard import CandidateScore, Scorecard
from flows.scoring import Judged, Measures
from tocsin.detection import DetectionSettings
from tocsin.errors import TocsinError
from tocsin.settings_changes import names, shown

Value = str | float | bool
"""Of a setting."""

_TIME: Final = pl.Datetime("ms", "UTC")
_TOLD: Final = tuple(what for what in Difference if what is not Difference.SAME)
_COUNTS: Final = (
    "labels",
    "incidents",
    "hits",
    "false",
    "duplicates",
    "ignored",
    "unlabelled",
)

SCORES: Final[dict[str, Any]] = {
    "view": pl.String,
    "candidate": pl.String,
    "service": pl.String,
    **dict.fromkeys(_COUNTS, pl.Int64),
    "precision": pl.Float64,
    "recall": pl.Float64,
    "f1": pl.Float64,
    "false_per_service_day": pl.Float64,
    "detect_median_s": pl.Float64,
    "detect_p95_s": pl.Float64,
    **dict.fromkeys((what.value for what in _TOLD), pl.Int64),
}
"""A row for each view and candidate: of each service, and of all of them, where service is null."""

INCIDENTS: Final[dict[str, Any]] = {
    "candidate": pl.String,
    "incident": pl.String,
    "service": pl.String,
    "window_start": _TIME,
    "opened_at": _TIME,
    "confirmed_at": _TIME,
    "resolved_at": _TIME,
    "severity": pl.String,
    "peak_z": pl.Float64,
    "count": pl.Int64,
    "finding": pl.String,
    "label": pl.String,
    "detect_s": pl.Float64,
    "change": pl.String,
    "shift_s": pl.Float64,
}
"""A row for each incident of a candidate, and for each of the base that is gone with it."""

LABELS: Final[dict[str, Any]] = {
    "candidate": pl.String,
    "label": pl.String,
    "service": pl.String,
    "start": _TIME,
    "end": _TIME,
    "kind": pl.String,
    "tier": pl.String,
    "found": pl.Boolean,
    "detect_s": pl.Float64,
}
"""A row for each candidate and label: whether it was found, and how soon."""

TABLES: Final = ("scores", "incidents", "labels")
"""Their names, in files and as files."""


def scores_frame(cards: Iterable[Scorecard]) -> pl.DataFrame:
    """Return the scores of every view, with a column for each setting that candidates differ in."""
    cards = list(cards)
    varied = varied_settings(cards[0])
    rows = [
        {**row, **varied[score.candidate.name]}
        for card in cards
        for score in card.candidates
        for row in _score_rows(card, score)
    ]
    own = pl.DataFrame([dict(one) for one in varied.values()]).schema
    return pl.DataFrame(rows, schema={**SCORES, **own})


def incidents_frame(card: Scorecard) -> pl.DataFrame:
    """Return the incidents of every candidate with what they are and what they would change."""
    return _concat(INCIDENTS, (list(_incident_rows(score)) for score in card.candidates))


def labels_frame(card: Scorecard) -> pl.DataFrame:
    """Return every label with whether each candidate found it."""
    return _concat(LABELS, (list(_label_rows(card, score)) for score in card.candidates))


def varied_settings(card: Scorecard) -> dict[str, dict[str, Value]]:
    """Return, by candidate, the settings in which the newest versions of candidates differ.

    Those of services without numbers of their own.
    """
    newest = {
        score.candidate.name: score.candidate.versions[-1].settings_of_pattern(None)
        for score in card.candidates
    }
    varied = [name for name in names() if len({getattr(one, name) for one in newest.values()}) > 1]
    return {name: {own: _value(one, own) for own in varied} for name, one in newest.items()}


def parquet_files(folder: Path) -> list[Path]:
    """Return the files that `write_parquet` writes."""
    return [folder / f"{name}.parquet" for name in TABLES]


def write_parquet(folder: Path, cards: Sequence[Scorecard]) -> None:
    """Write `scores.parquet` of every view, `incidents.parquet`, `labels.parquet` of the first.

    Raises TocsinError where that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, frame in zip(parquet_files(folder), _frames(cards).values(), strict=True):
            frame.write_parquet(path)
    except OSError as error:
        raise TocsinError(f"{folder}: cannot be written: {error.strerror or error}") from None


def write_json(path: Path, cards: Sequence[Scorecard]) -> None:
    """Write what `json_of` returns. Raises TocsinError where that fails."""
    try:
        path.write_bytes(json_of(cards))
    except OSError as error:
        raise TocsinError(f"{path}: cannot be written: {error.strerror}") from None


def json_of(cards: Sequence[Scorecard]) -> bytes:
    """Return one object: the range, the candidates, and the rows of the same three tables."""
    first, replay = cards[0], cards[0].replay
    varied = varied_settings(first)
    document = {
        "source": replay.source,
        "begin": _time(replay.begin_ms),
        "end": _time(replay.end_ms),
        "ended_early": replay.ended_early,
        "records": replay.records,
        "dead_letters": replay.dead_letters,
        "late": replay.late,
        "services": len(replay.series),
        "view": first.view.value,
        "candidates": [
            {"name": score.candidate.name, "settings": varied[score.candidate.name]}
            for score in first.candidates
        ],
        **{name: frame.to_dicts() for name, frame in _frames(cards).items()},
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def _frames(cards: Sequence[Scorecard]) -> dict[str, pl.DataFrame]:
    frames = (scores_frame(cards), incidents_frame(cards[0]), labels_frame(cards[0]))
    return dict(zip(TABLES, frames, strict=True))


def _concat(schema: dict[str, Any], parts: Iterable[list[dict[str, Any]]]) -> pl.DataFrame:
    # One candidate at a time: all rows as Python's objects would be many times the frame.
    empty = pl.DataFrame(schema=schema)
    return pl.concat([empty, *(pl.DataFrame(rows, schema=schema) for rows in parts)])


def _score_rows(card: Scorecard, score: CandidateScore) -> Iterator[dict[str, Any]]:
    measures: list[tuple[str | None, Measures]] = [(None, score.total), *score.by_service.items()]
    for service_id, own in measures:
        yield {
            "view": card.view.value,
            "candidate": score.candidate.name,
            "service": service_id,
            **msgspec.structs.asdict(own),
            **told(score.changes, service_id),
        }


def told(changes: Iterable[Change] | None, service_id: str | None = None) -> dict[str, int | None]:
    """Count what would change, of a service or of all; None where there is nothing to compare."""
    if changes is None:
        return {what.value: None for what in _TOLD}
    own = [one.what for one in changes if service_id in {None, one.service_id}]
    return {what.value: own.count(what) for what in _TOLD}


def _incident_rows(score: CandidateScore) -> Iterator[dict[str, Any]]:
    changes = {id(one.after): one for one in score.changes or () if one.after is not None}
    for judged in score.judged:
        row = judged.scored.incident
        if row is not None:
            yield _incident_row(score, row, judged, changes.get(id(row)))
    for change in score.changes or ():
        if change.what is Difference.GONE and change.before is not None:
            yield _incident_row(score, change.before, None, change)


def _incident_row(
    score: CandidateScore, row: IncidentRow, judged: Judged | None, change: Change | None
) -> dict[str, Any]:
    return {
        "candidate": score.candidate.name,
        "incident": row.incident_id,
        "service": row.service_id,
        "window_start": _time(row.window_start_ms),
        "opened_at": _time(row.opened_at_ms),
        "confirmed_at": _time(row.confirmed_at_ms),
        "resolved_at": _time(row.resolved_at_ms),
        "severity": row.severity.value,
        "peak_z": row.peak_z,
        "count": row.count,
        "finding": judged and judged.finding.value,
        "label": judged and judged.label and judged.label.id,
        "detect_s": judged and judged.delay_s,
        "change": change and change.what.value,
        "shift_s": change and change.shift_s,
    }


def _label_rows(card: Scorecard, score: CandidateScore) -> Iterator[dict[str, Any]]:
    delays = {
        one.label.id: one.delay_s
        for one in score.judged
        if one.label is not None and one.delay_s is not None
    }
    for label in card.labels.incidents:
        yield {
            "candidate": score.candidate.name,
            "label": label.id,
            "service": label.service_id,
            "start": _time(label.start_ms),
            "end": _time(label.end_ms),
            "kind": label.kind,
            "tier": label.tier,
            "found": label.id in delays,
            "detect_s": delays.get(label.id),
        }


def _time(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, tz=timezone.utc)


def _value(settings: DetectionSettings, name: str) -> Value:
    value = getattr(settings, name)
    if isinstance(value, bool | int):
        return value
    return float(value) if isinstance(value, Decimal) else shown(value)
