"""A backtest that was asked for over HTTP: what it comes to is bounded."""

import gzip
import secrets

import pytest

from flows import requested
from tocsin.errors import TocsinError


def test_what_is_too_large_to_be_answered_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requested, "PACKED_BYTES_MAX", 2 * 1024 * 1024)
    text = b"much of the same " * 1_000_000
    assert gzip.decompress(requested._packed("the result", text)) == text
    with pytest.raises(TocsinError, match="the result is larger than 2 MiB, packed: try fewer"):
        requested._packed("the result", secrets.token_bytes(2 * 1024 * 1024))
