"""The Python client: `from recorder_worker.client import RecorderClient`."""

from recorder_worker.bus.client import RecorderClient
from recorder_worker.bus.connection.broker import Login
from recorder_worker.bus.fact_stream import FactSeen
from recorder_worker.core.errors import BusUnavailableError, RefusedError

__all__ = ["BusUnavailableError", "FactSeen", "Login", "RecorderClient", "RefusedError"]
