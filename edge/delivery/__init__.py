"""From the ledger to whoever hears of answers: the outbox and its sinks."""
