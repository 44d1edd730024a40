"""Why does it not work on this board? Small checks, each of which says what it found and what mends it."""
