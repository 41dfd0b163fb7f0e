"""Holds the log of sessions against the recordings beside it, offline."""
