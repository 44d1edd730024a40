"""How fast this board is: `edge-detect benchmark`, and what the project's own benchmarks share with it."""
