"""From the ledger to the sinks: the outbox, output, log file, journal and commands."""
