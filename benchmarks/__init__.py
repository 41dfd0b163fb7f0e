"""What the recorder costs: `python -m benchmarks` prints a table, never a verdict."""
