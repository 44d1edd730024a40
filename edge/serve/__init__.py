"""`edge-detect serve`: pages, an API and metrics over HTTP, of the ledgers and services of this board."""
