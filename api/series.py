"""What statistics look like when they are answered: counts by step, bands of what is normal."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field, structs

from api.parameters import TimeRange
from sql.statistics import JudgedWindow, MessageCount, ServiceRow, Step, StepCount
from tocsin.detection import Severity, Verdict
from tocsin.records import EPOCH
from tocsin.settings_versions import SettingsBook

_LENGTHS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


class CountedService(Struct, frozen=True, kw_only=True):
    """How much a service logs. The lists have one number a step, as `meta.starts`.

    error_rate: errors of records; null where there is no record.
    """

    service_id: str
    records: int
    errors: int
    error_rate: float | None
    records_by_step: list[int]
    errors_by_step: list[int]
    error_rate_by_step: list[float | None]


class CountMeta(Struct, frozen=True, kw_only=True):
    """Which time was counted, in which steps."""

    since: datetime = field(name="from")
    until: datetime = field(name="to")
    step: Step
    starts: list[datetime]


class ServiceCounts(Struct, frozen=True):
    """Services, those with the most errors first."""

    data: list[CountedService]
    meta: CountMeta


class Band(Struct, frozen=True, kw_only=True):
    """What a minute was compared with. lower, upper: mean and threshold_sigma standard deviations.

    windows: how many minutes the baseline has.
    """

    windows: int
    mean: float
    sigma: float
    lower: float
    upper: float
    z: float | None


class BaselineWindow(Struct, frozen=True, kw_only=True):
    """A minute of a service, and what is normal for it.

    errors: all that counted, late_errors of them late. plain, guarded: null without a baseline;
    the guarded one leaves incidents out.
    """

    window_start: datetime
    records: int
    errors: int
    late_errors: int
    verdict: Verdict
    severity: Severity | None
    threshold_sigma: float
    plain: Band | None
    guarded: Band | None


class BaselineMeta(Struct, frozen=True, kw_only=True):
    """Of which service, over which time."""

    service_id: str
    since: datetime = field(name="from")
    until: datetime = field(name="to")


class Baselines(Struct, frozen=True):
    """Minutes of a service, oldest first."""

    data: list[BaselineWindow]
    meta: BaselineMeta


class MessageShape(Struct, frozen=True, kw_only=True):
    """Errors whose messages are alike but for numbers (`<n>`) and ids (`<id>`).

    services: how many services have it. example: the newest, of example_service.
    """

    shape: str
    count: int
    services: int
    first_seen: datetime
    last_seen: datetime
    example: str
    example_service: str

    @classmethod
    def of(cls, row: MessageCount) -> "MessageShape":
        """Return one as it is answered."""
        values = structs.asdict(row)
        del values["looked_at"]
        return cls(**values)


class MessageMeta(Struct, frozen=True, kw_only=True):
    """Which time, and of how many errors. complete: whether those are all of that time."""

    since: datetime = field(name="from")
    until: datetime = field(name="to")
    errors: int
    complete: bool


class TopMessages(Struct, frozen=True):
    """Kinds of error messages, the most frequent first."""

    data: list[MessageShape]
    meta: MessageMeta


class Service(Struct, frozen=True, kw_only=True):
    """A service. last_seen: the minute of its newest record. verdict: on its newest minute.

    severity: of its worst open incident.
    """

    service_id: str
    last_seen: datetime
    verdict: Verdict
    open_incidents: int
    severity: Severity | None

    @classmethod
    def of(cls, row: ServiceRow) -> "Service":
        """Return one as it is answered."""
        values = structs.asdict(row)
        values["verdict"] = Verdict(row.verdict)
        values["severity"] = row.severity and Severity(row.severity)
        return cls(**values)


class ServiceListMeta(Struct, frozen=True):
    """How to go on: send `next` as `after`; null: these were the last."""

    limit: int
    next: str | None


class ServiceList(Struct, frozen=True):
    """Services by name."""

    data: list[Service]
    meta: ServiceListMeta


def steps_of(span: TimeRange, step: Step) -> list[datetime]:
    """Return the beginnings of the steps that a range touches, and the end of the last one."""
    length = _LENGTHS[step]
    first = EPOCH + (span.since - EPOCH) // length * length
    count = -((first - span.until) // length)
    return [first + number * length for number in range(count + 1)]


def service_counts(
    rows: Sequence[StepCount], bounds: Sequence[datetime], step: Step
) -> ServiceCounts:
    """Lay counts out by service and step. bounds: as `steps_of` returns them."""
    starts = list(bounds[:-1])
    places = {start: place for place, start in enumerate(starts)}
    counts: dict[str, tuple[list[int], list[int]]] = {}
    for row in rows:
        records, errors = counts.setdefault(row.service_id, ([0] * len(starts), [0] * len(starts)))
        records[places[row.start]] = row.records
        errors[places[row.start]] = row.errors
    found = [_counted(name, *lists) for name, lists in counts.items()]
    found.sort(key=lambda one: (-one.errors, -one.records, one.service_id))
    return ServiceCounts(
        found, CountMeta(since=bounds[0], until=bounds[-1], step=step, starts=starts)
    )


def baselines(
    service_id: str, span: TimeRange, rows: Sequence[JudgedWindow], book: SettingsBook
) -> Baselines:
    """Return windows with the bands that their settings make of their baselines."""
    timeline = book.timeline(service_id)
    thresholds = {known.version: float(known.threshold_sigma) for known in timeline.versions}
    newest = float(timeline.versions[-1].threshold_sigma)
    found = [_window(row, thresholds.get(row.settings_version, newest)) for row in rows]
    return Baselines(found, BaselineMeta(service_id=service_id, since=span.since, until=span.until))


def _counted(service_id: str, records: list[int], errors: list[int]) -> CountedService:
    return CountedService(
        service_id=service_id,
        records=sum(records),
        errors=sum(errors),
        error_rate=_rate(sum(errors), sum(records)),
        records_by_step=records,
        errors_by_step=errors,
        error_rate_by_step=[_rate(*pair) for pair in zip(errors, records, strict=True)],
    )


def _rate(errors: int, records: int) -> float | None:
    return errors / records if records else None


def _window(row: JudgedWindow, threshold: float) -> BaselineWindow:
    return BaselineWindow(
        window_start=row.window_start,
        records=row.total + row.late_total,
        errors=row.errors + row.late_errors,
        late_errors=row.late_errors,
        verdict=Verdict(row.verdict),
        severity=Severity(row.severity) if row.severity else None,
        threshold_sigma=threshold,
        plain=_band(row.baseline_windows, row.mean, row.sigma, row.z, threshold),
        guarded=_band(
            row.guarded_windows, row.guarded_mean, row.guarded_sigma, row.guarded_z, threshold
        ),
    )


def _band(
    windows: int | None, mean: float | None, sigma: float | None, z: float | None, threshold: float
) -> Band | None:
    if windows is None or mean is None or sigma is None:
        return None
    reach = threshold * sigma
    return Band(
        windows=windows, mean=mean, sigma=sigma, lower=mean - reach, upper=mean + reach, z=z
    )
