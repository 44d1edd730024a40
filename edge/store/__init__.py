"""The ledger: an SQLite file with all answers, and queries of it."""
