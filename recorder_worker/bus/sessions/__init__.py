"""What the bus tells of sessions: the roster, and the bucket of their entries."""
