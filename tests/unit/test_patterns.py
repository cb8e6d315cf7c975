"""What is said of two patterns of service ids is so for every id."""

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.patterns import covers, unmatched

PIECES = ["a", "b", "-", "!", "]", "[", "?", "*", "[ab]", "[!a]", "[]]", "[!]]"]
PATTERNS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
IDS = st.text(alphabet="ab-![]c", max_size=8)


@given(PATTERNS, PATTERNS, st.lists(IDS, min_size=1, max_size=40))
def test_what_is_covered_matches_no_id_that_the_broad_one_does_not(
    broad: str, narrow: str, ids: list[str]
) -> None:
    if covers(broad, narrow):
        assert all(fnmatchcase(name, broad) for name in ids if fnmatchcase(name, narrow))


@given(PATTERNS)
def test_every_pattern_is_covered_by_itself_and_by_the_star(pattern: str) -> None:
    assert covers(pattern, pattern)
    assert covers("*", pattern)


@given(PATTERNS, IDS)
def test_an_id_is_covered_by_what_matches_it(pattern: str, name: str) -> None:
    if not re.search(r"[*?[]", name):
        assert covers(pattern, name) == fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("broad", "narrow"),
    [
        ("batch-*", "batch-eu-*"),
        ("*", "batch-*"),
        ("*-*", "a-?-b"),
        ("?*", "*?"),
        ("*?", "?*"),
        ("**", "*"),
        ("[ab]*", "batch-*"),
        ("*", "*" * 128),
    ],
)
def test_a_broader_pattern_is_seen(broad: str, narrow: str) -> None:
    assert covers(broad, narrow)


@pytest.mark.parametrize(
    ("broad", "narrow"),
    [("batch-*", "*"), ("*-eu", "batch-*"), ("?", "*"), ("a?", "a"), ("batch-*", "Batch-*")],
)
def test_a_pattern_that_leaves_ids_to_another_is_not(broad: str, narrow: str) -> None:
    assert not covers(broad, narrow)


def test_pattern_without_a_service_is_told_with_the_nearest_or_some() -> None:
    services = ["search", "checkout", "b-2", "b-1", "web"]
    assert list(unmatched(["check*", "*", "b-?"], services)) == []
    assert list(unmatched(["Search", "z"], services)) == [
        "no service of the range matches 'Search', did you mean 'search'?",
        "no service of the range matches 'z', there are 'b-1', 'b-2', 'checkout' and 2 more",
    ]
    assert list(unmatched(["z"], [])) == []
