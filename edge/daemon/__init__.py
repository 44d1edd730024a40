"""What every long-running command shares: signals, the status socket, systemd, the session."""
