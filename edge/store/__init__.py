"""The ledger: an SQLite file with all answers; `ledger` for its writers, `queries` for readers."""
