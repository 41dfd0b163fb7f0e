"""Leaf records: values, bytes, and how they are made of events (docs/format.md)."""
