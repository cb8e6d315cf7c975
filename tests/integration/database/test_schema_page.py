"""docs/schema.md says what the database itself says, on both editions."""

import pytest

from stack.errors import StackError
from stack.schema_page import PAGE, schema_page
from tests.integration.database.conftest import Database


def test_page_is_what_the_database_says(database: Database) -> None:
    assert schema_page(database.url) == PAGE.read_text(), "`make schema` writes it again"


@pytest.mark.parametrize("place", ["table logs", "column logs.level", "view logs_per_day"])
def test_nothing_goes_without_a_comment(database: Database, place: str) -> None:
    name = place.split()[1]
    database.execute(f"comment on {place} is null")
    with pytest.raises(StackError, match=rf"^{name} has no comment: tell in sql/comments\.sql"):
        schema_page(database.url)
