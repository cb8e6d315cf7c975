"""Who takes an answer as gzip has packed it."""

import pytest

from api.packed import takes_gzip


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
    ],
)
def test_only_who_says_so_takes_gzip(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) is takes
