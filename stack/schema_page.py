"""Writes docs/schema.md from the comments of a migrated database: `python -m stack.schema_page`."""

import sys
from pathlib import Path

import psycopg

from stack.commands import CHECKOUT
from stack.errors import StackError
from stack.running import temporary

PAGE = CHECKOUT / "docs/schema.md"

_HEAD = """\
# The schema

What every table, view, column and function means, by the database's own comments: `make schema`.
[sql.md](sql.md) shows what to ask of it, [database.md](database.md) who may do so and what is kept
for how long.

"""
_RELATIONS = """
    SELECT class.oid::bigint, class.relname, class.relkind = 'v',
           obj_description(class.oid, 'pg_class')
    FROM pg_class AS class
    WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'v')
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = class.oid AND deptype = 'e')
    ORDER BY class.relname COLLATE "C"
"""
_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull, attgenerated <> '',
           col_description(attrelid, attnum)
    FROM pg_attribute
    WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""
_INDEXES = """
    SELECT regexp_replace(indexdef, ' ON (public\\.)?\\S+ USING ', ': ')
    FROM pg_indexes
    WHERE schemaname = 'public' AND tablename = %s
    ORDER BY indexname COLLATE "C"
"""
_TYPES = """
    SELECT typname, string_agg(enumlabel, ' < ' ORDER BY enumsortorder)
    FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid
    WHERE typnamespace = 'public'::regnamespace
    GROUP BY typname ORDER BY typname COLLATE "C"
"""
_FUNCTIONS = """
    SELECT proname, pg_get_function_arguments(func.oid), pg_get_function_result(func.oid),
           obj_description(func.oid, 'pg_proc')
    FROM pg_proc AS func JOIN pg_language ON pg_language.oid = prolang
    WHERE pronamespace = 'public'::regnamespace AND lanname IN ('sql', 'plpgsql')
      AND prorettype <> 'trigger'::regtype
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = func.oid AND deptype = 'e')
    ORDER BY proname COLLATE "C"
"""


def schema_page(database_url: str) -> str:
    """Return the page. Raises StackError when something has no comment."""
    # PGlite would keep what is prepared for the next connection.
    with psycopg.connect(database_url, prepare_threshold=None) as conn:
        relations = [_relation(conn, *row) for row in conn.execute(_RELATIONS).fetchall()]
        types = [f"| `{name}` | {labels} |" for name, labels in conn.execute(_TYPES)]
        functions = [_function(*row) for row in conn.execute(_FUNCTIONS).fetchall()]
    kinds = [
        "## Types",
        "",
        "| type | its values, in the order in which they compare |",
        "|---|---|",
    ]
    return _HEAD + "\n".join([*relations, *functions, *kinds, *types]) + "\n"


def _relation(
    conn: psycopg.Connection, oid: int, name: str, is_view: bool, comment: str | None
) -> str:
    lines = [
        f"## {name}",
        "",
        _told(comment, name),
        "",
        "| column | type | meaning |",
        "|---|---|---|",
    ]
    for column, kind, is_never_null, is_generated, meaning in conn.execute(_COLUMNS, [oid]):
        facts = [kind, *(["never null"] if is_never_null else [])]
        facts += ["generated"] if is_generated else []
        lines.append(f"| `{column}` | {', '.join(facts)} | {_told(meaning, f'{name}.{column}')} |")
    if not is_view:
        found = [index for (index,) in conn.execute(_INDEXES, [name])]
        lines += ["", *(f"- `{index.removeprefix('CREATE ')}`" for index in found)]
    return "\n".join([*lines, ""])


def _function(name: str, arguments: str, result: str, comment: str | None) -> str:
    return f"## {name}\n\n`{name}({arguments}) RETURNS {result}`\n\n{_told(comment, name)}\n"


def _told(comment: str | None, name: str) -> str:
    if not comment:
        raise StackError(f"{name} has no comment: tell in sql/comments.sql what it means")
    return comment.replace("|", "\\|")


def main() -> int:
    """Migrate a database of its own and write the page."""
    try:
        with temporary() as stack:
            stack.migrate()
            PAGE.write_text(schema_page(stack.database_url))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
