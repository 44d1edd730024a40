"""Image files: those that the command line names, and those of a watched folder."""
