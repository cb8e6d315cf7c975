"""The parser under libFuzzer, led by what it covers: `python -m tests.unit.flow.guided SEEDS`."""

import sys

import atheris

with atheris.instrument_imports(
    include=["flows.parse", "tocsin.records", "tocsin.batches", "tocsin.stretches"]
):
    from tests.unit.outcome import require_one_outcome


if __name__ == "__main__":
    atheris.Setup(sys.argv, require_one_outcome)
    atheris.Fuzz()
