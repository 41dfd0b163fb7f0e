"""What the stages need from the outside world, as Protocols. One contract suite per port."""

from recorder_worker.ports.attempts import AttemptBook, MessagePlace, Tally
from recorder_worker.ports.audit_stream import AuditStream, StoredMessage
from recorder_worker.ports.authorisation import JwksSource, Revocations, TokenVerifier
from recorder_worker.ports.bus import ControlFeed, Copies, Delivery, EventLog, FactMessage, Logged
from recorder_worker.ports.clock import Clock
from recorder_worker.ports.dead_letters import DeadLetters
from recorder_worker.ports.encryption import CipherKeys, KeyWrap
from recorder_worker.ports.frame_feed import FrameFeed, FrameSubscription, PublishedFrame
from recorder_worker.ports.gate import Admission, Asked, RequestGate
from recorder_worker.ports.keyframes import KeyframeDecoder
from recorder_worker.ports.metrics import CopyMetrics, StageMetrics
from recorder_worker.ports.optics import Optics, SmallPicture
from recorder_worker.ports.packets import (
    ArrivingPackets,
    Coding,
    Packet,
    PacketOpener,
    PacketSource,
)
from recorder_worker.ports.signing import Signer
from recorder_worker.ports.sources import ArrivingSource, Frame, FrameSource, SourceOpener
from recorder_worker.ports.stores import BlobStore, BlobWriter, Checked, StoredDigest
from recorder_worker.ports.tables import EntryTable
from recorder_worker.ports.tracing import NoTracing, Published, Taken, Tracing

__all__ = [
    "Admission",
    "ArrivingPackets",
    "ArrivingSource",
    "Asked",
    "AttemptBook",
    "AuditStream",
    "BlobStore",
    "BlobWriter",
    "Checked",
    "CipherKeys",
    "Clock",
    "Coding",
    "ControlFeed",
    "Copies",
    "CopyMetrics",
    "DeadLetters",
    "Delivery",
    "EntryTable",
    "EventLog",
    "FactMessage",
    "Frame",
    "FrameFeed",
    "FrameSource",
    "FrameSubscription",
    "JwksSource",
    "KeyWrap",
    "KeyframeDecoder",
    "Logged",
    "MessagePlace",
    "NoTracing",
    "Optics",
    "Packet",
    "PacketOpener",
    "PacketSource",
    "Published",
    "PublishedFrame",
    "RequestGate",
    "Revocations",
    "Signer",
    "SmallPicture",
    "SourceOpener",
    "StageMetrics",
    "StoredDigest",
    "StoredMessage",
    "Taken",
    "Tally",
    "TokenVerifier",
    "Tracing",
]
