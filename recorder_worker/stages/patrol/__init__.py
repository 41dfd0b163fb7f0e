"""Reads stored chunks again, slowly, to find damage while there may still be another copy."""
