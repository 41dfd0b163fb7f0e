"""Deletion killed at every effect, raced, and taken up by another, on a real nats-server.

A kill is an exception that nothing catches, right before or right after one effect; what goes on is
a keeper that knows nothing of the one before. Behind every kill, and again at the end, the
recording is verified by the product and by the second implementation.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import reference
from fresh_streams import forget_all
from memory_signer import MemorySigner
from mortal import Axe, Killed, Mortal
from nats_process import NatsProcess

from recorder_worker.adapters.age import AgeWrap, new_identity
from recorder_worker.adapters.directory_store import DirectoryStore
from recorder_worker.adapters.system_clock import SystemClock
from recorder_worker.bus.connection.broker import Login, RecorderBroker, connect, make_broker
from recorder_worker.bus.event_log import JetStreamEventLog
from recorder_worker.bus.headers import EventHeaders
from recorder_worker.core import keys
from recorder_worker.core.errors import FencedError, IncidentError
from recorder_worker.core.events import SessionRetention
from recorder_worker.core.retention.sayings import Deletion, Hold, Rule, Saying, Tombstone
from recorder_worker.core.retention.standing import Standing
from recorder_worker.core.session_log.entries import EntryKind
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify import Verdict, verify
from recorder_worker.stages.retention.book import RetentionBook
from recorder_worker.stages.retention.keeper import RetentionKeeper
from recorder_worker.stages.retention.rules import RetentionLimits
from recorder_worker.stages.session_log.log_writer import LogWriter
from recorder_worker.stages.stored_recording import StoredRecording
