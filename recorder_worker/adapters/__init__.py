"""Each module adapts one outside thing to a port."""
