"""Receipts over checkpoints of the log of sessions: pure checks, no network."""
