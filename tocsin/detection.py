"""What every Tocsin process agrees on about detection: its settings, its words and incident ids."""

import enum
import hashlib
from decimal import Decimal
from typing import Final

from msgspec import Struct

WINDOW_MS: Final = 60_000
"""Length of a tumbling window: `w` is `[w * WINDOW_MS, (w + 1) * WINDOW_MS)` in event time."""


class Preset(str, enum.Enum):
    """Which rule judges a window.

    PLAIN: z-score on the last windows, with deduplication only.
    GUARDED: also a baseline that incidents don't teach, confirmation, absorption, unknown windows.
    """

    GUARDED = "guarded"
    PLAIN = "plain"


class Severity(str, enum.Enum):
    """How bad an incident is; the detector itself only says HIGH and CRITICAL."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class Verdict(str, enum.Enum):
    """What was decided on a window; the strongest that holds.

    UNKNOWN: part of a silence of a service that usually speaks.
    FIRE, BREACH, SIGNAL: see `flows.verdict`.
    WARMING_UP: fewer baseline windows than the settings ask for.
    BELOW_MINIMUM: z is over the threshold, but on too few errors.
    """

    UNKNOWN = "unknown"
    FIRE = "fire"
    BREACH = "breach"
    SIGNAL = "signal"
    WARMING_UP = "warming_up"
    BELOW_MINIMUM = "below_minimum"
    NORMAL = "normal"


class IncidentStatus(str, enum.Enum):
    """Whether the detector still counts windows towards an incident."""

    OPEN = "open"
    RESOLVED = "resolved"


class IncidentKind(str, enum.Enum):
    """What an incident is about: too many errors, or no record at all where some are usual."""

    ERRORS = "errors"
    SILENCE = "silence"


class ResolveReason(str, enum.Enum):
    """Why an incident ended.

    CALM, ABSORBED: the windows calmed down; or their level had been learned before they did.
    SPOKE, RETIRED: a silence ended with a record; or it lasted until the service was forgotten.
    """

    CALM = "calm"
    ABSORBED = "absorbed"
    SPOKE = "spoke"
    RETIRED = "retired"


class Moment(str, enum.Enum):
    """A step in an incident's life; each happens at most once to an incident, but for WENT_ON.

    WENT_ON: a later window is abnormal; it matters to an incident that a person has resolved.
    """

    OPENED = "opened"
    CONFIRMED = "confirmed"
    ESCALATED = "escalated"
    RESOLVED = "resolved"
    WENT_ON = "went_on"


def incident_id(service_id: str, window_start_ms: int) -> str:
    """Name the incident that opened in a window: the same in every run, worker and replay.

    >>> incident_id("checkout", 1_772_409_600_000)
    '5f2be431164c2f15044a5b70a153d0bf'
    """
    digest = hashlib.sha256(f"{service_id}|{window_start_ms}".encode()).digest()
    return digest[:16].hex()


def silence_id(service_id: str, window_start_ms: int) -> str:
    """Name the incident of a silence by its first window."""
    digest = hashlib.sha256(f"{service_id}|{window_start_ms}|silence".encode()).digest()
    return digest[:16].hex()


_CLOCK_FIELDS: Final = ("idle_ms", "idle_margin_ms", "kept_windows", "retirement_windows")

_LEAST: Final = {
    "version": 1,
    "minimum_count": 0,
    "baseline_windows": 1,
    "minimum_baseline_windows": 1,
    "confirm_run_windows": 1,
    "calm_windows": 1,
    "absorb_windows": 1,
    "guarded_lookback_windows": 2,
    "unknown_gap_windows": 1,
    "unknown_records_per_window": 0,
    "idle_ms": 1,
    "idle_margin_ms": 0,
    "kept_windows": 3,
    "retirement_windows": 1,
}

_RATIOS: Final = ("threshold_sigma", "critical_sigma", "confirm_sigma", "hot_sigma", "breach_lift")


class DetectionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of the numbers that decide what an error spike is.

    Thresholds are decimals, since a decimal is an exact ratio of integers (2.5 is 5/2) and every
    test is made on integers. From JSON they are read as written; a binary float is refused.

    version, effective_from_ms: this version judges the windows that start from then on.
    threshold_sigma: a window signals or breaches above so many standard deviations.
    critical_sigma: above so many it is CRITICAL, else HIGH.
    minimum_count: it takes more errors than this, whatever the deviation.
    baseline_windows, minimum_baseline_windows: most and least windows of a baseline.
    breach_lift: a breach has at least so many times the guarded mean.
    confirm_sigma: a breach above so many guarded standard deviations fires alone,
    confirm_run_windows: else the last of so many breaches in a row does.
    hot_sigma: a confirmed incident stays hot above so many guarded standard deviations.
    calm_windows: windows in a row that are not hot resolve the incident.
    absorb_windows: a confirmed incident of this length is the new normal.
    guarded_lookback_windows: the guarded baseline of `w` reaches back to `w - this` at most.
    unknown_gap_windows: so many windows in a row without any record are unknown on
    unknown_records_per_window: a service with at least so many records a window.
    silence: whether windows that become unknown open an incident of kind `silence`.
    idle_ms: silence between two arrivals after which the clock moves without a record, to
    idle_margin_ms: so long before the later arrival.
    kept_windows: windows of which the clock's is the newest that late records can still amend.
    retirement_windows: a service is forgotten so many windows after its last record.
    """

    version: int = 1
    effective_from_ms: int = 0
    preset: Preset = Preset.GUARDED
    threshold_sigma: Decimal = Decimal(3)
    critical_sigma: Decimal = Decimal(5)
    minimum_count: int = 5
    baseline_windows: int = 30
    minimum_baseline_windows: int = 5
    breach_lift: Decimal = Decimal("1.5")
    confirm_sigma: Decimal = Decimal(7)
    confirm_run_windows: int = 3
    hot_sigma: Decimal = Decimal("1.5")
    calm_windows: int = 5
    absorb_windows: int = 120
    guarded_lookback_windows: int = 151
    unknown_gap_windows: int = 5
    unknown_records_per_window: int = 3
    silence: bool = True
    idle_ms: int = 300_000
    idle_margin_ms: int = 60_000
    kept_windows: int = 180
    retirement_windows: int = 1_440

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, naming the field and its bound."""
        for name, least in _LEAST.items():
            number = getattr(self, name)
            if type(number) is not int or number < least:
                raise ValueError(f"{name} is {number!r}: give a whole number of at least {least}")
        for name in _RATIOS:
            _check_ratio(name, getattr(self, name))
        if type(self.effective_from_ms) is not int or self.effective_from_ms % WINDOW_MS:
            raise ValueError(
                f"effective_from_ms is {self.effective_from_ms!r}: give the start of a window,"
                f" a multiple of {WINDOW_MS} ms"
            )
        if not isinstance(self.preset, Preset):
            raise TypeError(f"preset is {self.preset!r}: give Preset.GUARDED or Preset.PLAIN")
        self._check_order()

    def _check_order(self) -> None:
        ordered = (
            ("minimum_baseline_windows", "baseline_windows", 0),
            ("baseline_windows", "guarded_lookback_windows", 1),
            ("guarded_lookback_windows", "kept_windows", 1),
            ("absorb_windows", "kept_windows", 3),
            ("confirm_run_windows", "kept_windows", 3),
            ("calm_windows", "absorb_windows", 0),
            ("kept_windows", "retirement_windows", self.calm_windows),
            ("hot_sigma", "threshold_sigma", 0),
            ("threshold_sigma", "critical_sigma", 0),
            ("threshold_sigma", "confirm_sigma", 0),
        )
        for low, high, room in ordered:
            if getattr(self, low) + room > getattr(self, high):
                least = f"{low} + {room}" if room else low
                raise ValueError(
                    f"{low} is {getattr(self, low)} and {high} is {getattr(self, high)}:"
                    f" {high} must be at least {least}"
                )


def _check_ratio(name: str, ratio: object) -> None:
    if not isinstance(ratio, Decimal):
        raise TypeError(f"{name} is {ratio!r}: give a decimal, as Decimal('2.5')")
    if not ratio.is_finite() or not 0 < ratio <= 1_000 or ratio != round(ratio, 3):
        raise ValueError(f"{name} is {ratio}: give it above 0, up to 1000, with up to 3 decimals")


class SettingsTimeline(Struct, frozen=True):
    """All versions of the detection settings, oldest first: which one judges which window.

    The oldest also judges every window before its own `effective_from_ms`. What the clock of a
    service runs on is the same in all versions, so that a new one never changes which record is
    late.
    """

    versions: tuple[DetectionSettings, ...] = (DetectionSettings(),)

    def __post_init__(self) -> None:
        """Refuse versions out of order or with clocks of their own."""
        if not self.versions:
            raise ValueError("there are no detection settings: give at least one version")
        for older, newer in zip(self.versions, self.versions[1:], strict=False):
            if newer.version <= older.version:
                raise ValueError(f"settings version {newer.version} comes after {older.version}")
            if newer.effective_from_ms <= older.effective_from_ms:
                raise ValueError(
                    f"settings version {newer.version} takes effect before {older.version}:"
                    " order versions by effective_from_ms"
                )
            _check_clock(older, newer)

    def check_clock(self, older: "SettingsTimeline") -> None:
        """Refuse to follow a timeline with another clock."""
        _check_clock(older.versions[0], self.versions[0])

    def at(self, window: int) -> DetectionSettings:
        """Return the version that judges a window."""
        start_ms = window * WINDOW_MS
        for settings in reversed(self.versions):
            if settings.effective_from_ms <= start_ms:
                return settings
        return self.versions[0]

    @property
    def history_windows(self) -> int:
        """How many windows, the clock's included, a detector is rebuilt from."""
        oldest = max(settings.baseline_windows for settings in self.versions) + 1
        return self.versions[0].kept_windows + oldest


def _check_clock(older: DetectionSettings, newer: DetectionSettings) -> None:
    for name in _CLOCK_FIELDS:
        if getattr(newer, name) != getattr(older, name):
            raise ValueError(
                f"settings versions {older.version} and {newer.version} differ in {name}:"
                " it belongs to the clock and is the same in all versions"
            )
