"""Image files: those named on the command line, and those of a watched folder."""
