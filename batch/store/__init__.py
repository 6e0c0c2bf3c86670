"""SQL tables <-> values: everything that knows the schema, on SQLite and on Postgres."""
