"""An incident's title, made of its own numbers alone."""

from flows.rows import IncidentRow
from flows.verdict import NO_SPREAD_Z
from tocsin.detection import IncidentKind, Preset


def title(row: IncidentRow) -> str:
    """Say what was seen, on one line; z is that of the baseline which decided."""
    if row.kind is IncidentKind.SILENCE:
        return f"Silence Detected: {row.service_id} stopped logging ({_usual(row)})"
    z = (row.guarded_z if row.decided_by is Preset.GUARDED else row.z) or 0.0
    strength = "over a flat baseline" if z >= NO_SPREAD_Z else f"z = {z:.1f}"
    return f"Anomaly Detected: {row.service_id} logged {row.count} errors in a minute ({strength})"


def _usual(row: IncidentRow) -> str:
    usual = (row.guarded_records or 0) / (row.guarded_n or 1)
    return f"usually {usual:.0f} records a minute"
