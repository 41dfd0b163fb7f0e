"""A blob store in a bucket of NATS Object Store."""
