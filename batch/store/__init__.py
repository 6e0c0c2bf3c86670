"""SQL tables <-> values: the only code that knows the schema, on SQLite and on Postgres."""
