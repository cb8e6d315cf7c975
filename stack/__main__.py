"""Runs the command line."""

import sys

from stack.ending import Ended, raise_ended_at_signals


def _main() -> int:
    raise_ended_at_signals()
    try:
        from stack.cli import main  # noqa: PLC0415  (it takes a while: Ctrl-C may come meanwhile)

        return main(sys.argv[1:])
    except Ended:
        print("stopped", file=sys.stderr)
        return 130


sys.exit(_main())
