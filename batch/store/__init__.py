"""SQL tables <-> values: the schema, on SQLite and on Postgres."""
