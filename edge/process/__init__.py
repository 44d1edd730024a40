"""Processes of our own: forked, isolated where they may crash, kept from talking on stderr."""
