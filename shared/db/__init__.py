"""The schema, the engine and the embedded Postgres."""
