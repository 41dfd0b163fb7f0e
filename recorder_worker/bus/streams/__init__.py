"""Streams and consumers as data, and what brings a server to their shape."""
