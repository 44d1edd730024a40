"""Against what a user would run instead; see __main__."""
