"""Secrets are made once, kept from others, and belong to one stack at a time."""

import os
import stat
from pathlib import Path

import pytest

from stack.errors import StackError
from stack.state import load_state, lock_holder, lock_state, save_state


def test_secrets_are_made_once(tmp_path: Path) -> None:
    first = load_state(tmp_path)
    assert load_state(tmp_path) == first
    assert len(first.jwt_secret.encode()) >= 32


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    state = load_state(tmp_path)
    state.ingest_key = "key"
    save_state(tmp_path, state)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert load_state(tmp_path).ingest_key == "key"


def test_damaged_state_says_how_to_start_afresh(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StackError, match="make down"):
        load_state(tmp_path)


def test_one_stack_at_a_time_has_a_folder(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    with lock_state(tmp_path):
        assert lock_holder(tmp_path) == os.getpid()
        with pytest.raises(StackError, match=f"pid {os.getpid()}"), lock_state(tmp_path):
            pass
    assert lock_holder(tmp_path) is None
