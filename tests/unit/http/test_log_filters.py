"""Filters of log records, without a server."""

import contextlib
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic import Request

from api.cursors import Cursors, LogCursor
from api.log_filters import FILTER_NAMES, FILTERS_GIVEN_OFTEN, LogFilter, read_filter
from api.parameters import Parameters, TimeRange
from api.problems import Refusal
from sql.logs import LogPosition
from tocsin.records import EPOCH
from tocsin.settings import Settings


def read(query: bytes) -> LogFilter:
    nothing: Any = None
    headers: Any = {}
    request: Any = Request(b"/logs?" + query, headers, "1.1", "GET", nothing, nothing)
    return read_filter(Parameters(request, FILTER_NAMES, several=FILTERS_GIVEN_OFTEN))


def admits(query: str, metadata: str) -> bool:
    return read(query.encode()).admits("s", "INFO", "m", metadata or None)


@pytest.mark.parametrize(
    ("term", "metadata", "holds"),
    [
        ("a=1.5", '{"a": 1.50}', True),
        ("a=1", '{"a": 10e-1}', True),
        ("a=1", '{"a": true}', False),
        ("a=true", '{"a": 1}', False),
        ("a=1", r'{"a": "\u0031"}', True),
        ("a=%221%22", '{"a": 1}', False),
        ("a=null", '{"b": null}', False),
        ("a=null", '{"a": null}', True),
        ("a=1", '{"a": [1]}', False),
        ("a=1", "", False),
        ("a=123456789012345678901", '{"a": 123456789012345678901}', True),
        ("a=123456789012345678901", '{"a": 123456789012345678902}', False),
        ("a=x=y", '{"a": "x=y"}', True),
    ],
)
def test_term_holds_as_the_database_has_it(term: str, metadata: str, holds: bool) -> None:
    assert admits(f"metadata={term}", metadata) is holds


given_once = st.tuples(st.sampled_from([*FILTER_NAMES, "page"]), st.binary(max_size=20))


@given(st.lists(given_once, max_size=3))
def test_any_query_is_read_or_refused(query: list[tuple[str, bytes]]) -> None:
    text = "&".join(f"{name}={quote(value)}" for name, value in query)
    with contextlib.suppress(Refusal):
        found = read(text.encode())
        found.admits("s", "INFO", "m", "{}")
        assert all(isinstance(json.loads(document), dict) for document in found.documents())


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_any_text_is_a_value_of_metadata(value: str) -> None:
    query = "metadata=" + quote("key=" + json.dumps(value))
    assert admits(query, json.dumps({"key": value}))
    assert not admits(query, json.dumps({"key": value + "x"}))


positions = st.builds(
    LogPosition,
    st.integers(0, 2**50).map(lambda us: EPOCH + us * (EPOCH.resolution)),
    st.integers(0, 2**15 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
)
pairs = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=4)


@given(positions, pairs, pairs)
def test_cursor_is_read_as_it_was_written_and_for_its_search_alone(
    position: LogPosition, search: list[Any], other: list[Any]
) -> None:
    cursors = Cursors(Settings(jwt_secret="x" * 32))
    cursor = LogCursor(TimeRange(EPOCH, position.timestamp), position)
    text = cursors.write(cursor, search)
    assert cursors.read(text, search[::-1]) == cursor
    if sorted(search) != sorted(other):
        with pytest.raises(Refusal):
            cursors.read(text, other)
