"""Connections to NATS: how they are made, kept, and mended."""
