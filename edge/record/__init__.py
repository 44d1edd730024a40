"""What was answered and who is told of it: the ledger, and what derives from it."""
