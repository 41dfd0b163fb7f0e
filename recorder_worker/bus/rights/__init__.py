"""Who may do what on the bus, and what a message says of its sender."""
