"""`edge-detect service`: install, inspect and remove systemd services."""
