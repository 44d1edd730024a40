"""`edge-detect benchmark`: how fast this board is. The project's own benchmarks use the same parts."""
