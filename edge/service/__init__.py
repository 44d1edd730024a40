"""The runner as a background service: what it tells systemd, and how it is installed."""
