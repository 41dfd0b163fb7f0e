"""What is held, released and removed: statements, the door for commands, and the keeper."""
