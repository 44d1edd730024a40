"""`edge-detect doctor`: checks of this board and installation, each with a result and a fix."""
