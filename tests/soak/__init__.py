"""A long run of watchers under kills: python -m tests.soak --minutes 10."""
