"""Which candidate settings can share a detector on a service, as long as nothing is abnormal."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, structs

from tocsin.detection import DetectionSettings, SettingsTimeline

_DEAF: Final = 2**62
"""A minimum count that no window exceeds."""
_ANY_ALIKE: Final = (
    "threshold_sigma",
    "critical_sigma",
    "minimum_count",
    "minimum_baseline_windows",
    "breach_lift",
    "confirm_sigma",
    "confirm_run_windows",
    "hot_sigma",
    "calm_windows",
    "absorb_windows",
)
"""What a detector's state does not depend on while nothing is abnormal."""

_ALIKE: Final = tuple(
    name for name in DetectionSettings.__struct_fields__ if name not in _ANY_ALIKE
)


class Plan(Struct, frozen=True):
    """Which candidates share a detector on a service.

    members: their numbers. shared: hears everything and finds nothing abnormal.
    keenest: to it is abnormal whatever is to any member.
    """

    members: tuple[int, ...]
    shared: SettingsTimeline
    keenest: SettingsTimeline


def plans_of(timelines: Sequence[SettingsTimeline]) -> list[Plan]:
    """Return who shares with whom, of candidates with these settings for a service."""
    groups: dict[object, list[int]] = {}
    for number, timeline in enumerate(timelines):
        key = tuple(
            tuple(getattr(settings, name) for name in _ALIKE) for settings in timeline.versions
        )
        groups.setdefault(key, []).append(number)
    return [_plan([timelines[number] for number in own], own) for own in groups.values()]


def _plan(timelines: list[SettingsTimeline], members: list[int]) -> Plan:
    versions = list(zip(*(timeline.versions for timeline in timelines), strict=True))
    return Plan(
        tuple(members),
        SettingsTimeline(tuple(structs.replace(own[0], minimum_count=_DEAF) for own in versions)),
        SettingsTimeline(tuple(_keenest(own) for own in versions)),
    )


def _keenest(settings: Sequence[DetectionSettings]) -> DetectionSettings:
    least, most = (
        {name: pick(getattr(one, name) for one in settings) for name in _ANY_ALIKE}
        for pick in (min, max)
    )
    wide = {name: most[name] for name in ("critical_sigma", "confirm_sigma")}
    calm = {name: getattr(settings[0], name) for name in ("calm_windows", "absorb_windows")}
    return structs.replace(settings[0], **{**least, **wide, **calm})
