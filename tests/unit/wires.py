"""Bytes that look like records, for Hypothesis."""

import json
from datetime import datetime, timezone
from typing import Any

from hypothesis import strategies as st

NOW = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
NOW_MS = int(NOW.timestamp() * 1000)
FIELDS = ["timestamp", "service_id", "level", "message", "metadata", "id"]

# Everything that JSON can spell, lone surrogates and NUL among it.
_TEXT = st.text(st.characters(codec=None, exclude_categories=[]), max_size=30)
_NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.integers(-(10**40), 10**40),
)
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
_METADATA = st.dictionaries(_TEXT, ANY_JSON, max_size=4) | st.none()
_RECORDS = st.fixed_dictionaries(
    {
        "timestamp": st.datetimes(timezones=st.just(timezone.utc)).map(datetime.isoformat)
        | st.just(NOW.isoformat()),
        "service_id": _TEXT,
        "level": st.sampled_from(["INFO", "err", "Panic"]) | _TEXT,
        "message": _TEXT,
    },
    optional={"metadata": _METADATA, "id": _TEXT},
)
_DIGITS = st.text("0123456789", min_size=1, max_size=12)


def _spelled(value: Any) -> st.SearchStrategy[bytes]:
    """Spell a value as JSON in ASCII or in UTF-8, tight or wide."""

    def spell(ascii_only: bool, indent: int | None) -> bytes:
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
        return text.encode("utf-8", "surrogatepass")

    return st.builds(spell, st.booleans(), st.sampled_from([None, 0, 1]))


@st.composite
def _with_number(draw: st.DrawFn) -> bytes:
    """A record that holds a number of any spelling, and of up to 12,000 digits."""
    digits = draw(_DIGITS) * draw(st.sampled_from([1, 1, 1, 100, 1000]))
    fraction = draw(st.just("") | _DIGITS.map(lambda text: "." + text))
    sign, exponent = draw(st.sampled_from(["", "e", "E-", "e+"])), draw(_DIGITS)
    number = f"{draw(st.sampled_from(['', '-']))}{digits}{fraction}{sign and sign + exponent}"
    record = {"timestamp": NOW.isoformat(), "service_id": "a", "level": "INFO", "message": "m"}
    return json.dumps(record).encode()[:-1] + b',"metadata":{"n":' + number.encode() + b"}}"


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A record in which some bytes were put in, taken out or turned into others."""
    raw = bytearray(draw(RECORDS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 3))
        raw[at : at + length] = draw(
            st.binary(max_size=3) | st.sampled_from([b"\0", b"\\u0000", b"\\", b'"', b"e9", b"{"])
        )
    return bytes(raw)


RECORDS = _RECORDS.flatmap(_spelled)
"""Records that are right, or wrong in what a field says."""
WIRES: st.SearchStrategy[bytes] = st.one_of(
    RECORDS, _mutated(), _with_number(), ANY_JSON.flatmap(_spelled), st.binary(max_size=300)
)
"""Anything that may come on the topic."""
