"""Training on photos and generated pictures of any size, grouped by where they come from."""
