"""Tamper-evident session recorder on NATS JetStream."""

__version__ = "0.1.0"
