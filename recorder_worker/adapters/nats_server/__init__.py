"""Runs a nats-server of our own on loopback: no installation, and gone when we are gone."""

from recorder_worker.adapters.nats_server.config import NatsServerOptions
from recorder_worker.adapters.nats_server.server import NatsServer

__all__ = ["NatsServer", "NatsServerOptions"]
