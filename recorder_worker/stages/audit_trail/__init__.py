"""Writes the stream of audit events into the audit trail, bundle by bundle."""
