"""X displays."""
