"""Child processes: commands with a time limit, Python code that may crash, a fork server; and suppression of stderr."""
