"""The ledger: what was answered, in an SQLite file, and queries of it."""
