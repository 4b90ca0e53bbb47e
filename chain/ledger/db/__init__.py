"""The database: engine, schema, rows and snapshots."""
