"""The database: schema, migrations, statements, and the two ways in (writer, reader)."""
