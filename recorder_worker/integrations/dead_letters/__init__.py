"""The desk at which dead letters are settled: tried again, or dropped."""
