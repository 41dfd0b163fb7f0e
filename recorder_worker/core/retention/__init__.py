"""What is kept, what is let go, and the signed statements that say so (docs/retention.md)."""
