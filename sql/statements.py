"""Named SQL statements: every `.sql` file of `queries/`, cut at its `-- name:` lines."""

import re
from functools import cache
from importlib.resources import files

_NAME_LINE = re.compile(rb"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(file: str) -> dict[str, bytes]:
    """Return the statements of `queries/<file>.sql` by name, with values as `%(name)s`.

    Bytes, since psycopg takes text only where the source itself spells it out.
    """
    text = (files("sql") / "queries" / f"{file}.sql").read_bytes()
    _, *parts = _NAME_LINE.split(text)
    names = [name.decode() for name in parts[::2]]
    if len(set(names)) != len(names):
        raise ValueError(f"{file}.sql names a statement twice")
    return {name: body.strip() for name, body in zip(names, parts[1::2], strict=True)}
