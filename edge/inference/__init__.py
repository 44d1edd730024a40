"""Models at work."""
