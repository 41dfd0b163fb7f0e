"""What the stages need from the outside world, as Protocols. One contract suite per port."""

from recorder_worker.ports.audit_stream import AuditStream, StoredMessage
from recorder_worker.ports.authorisation import JwksSource, Revocations, TokenVerifier
from recorder_worker.ports.bus import ControlFeed, Delivery, EventLog, Logged
from recorder_worker.ports.clock import Clock
from recorder_worker.ports.encryption import CipherKeys, KeyWrap
from recorder_worker.ports.gate import Admission, Asked, RequestGate
from recorder_worker.ports.metrics import StageMetrics
from recorder_worker.ports.signing import Signer
from recorder_worker.ports.sources import Frame, FrameSource, Picture, SourceOpener
from recorder_worker.ports.stores import BlobStore, BlobWriter
from recorder_worker.ports.tables import EntryTable

__all__ = [
    "Admission",
    "Asked",
    "AuditStream",
    "BlobStore",
    "BlobWriter",
    "CipherKeys",
    "Clock",
    "ControlFeed",
    "Delivery",
    "EntryTable",
    "EventLog",
    "Frame",
    "FrameSource",
    "JwksSource",
    "KeyWrap",
    "Logged",
    "Picture",
    "RequestGate",
    "Revocations",
    "Signer",
    "SourceOpener",
    "StageMetrics",
    "StoredMessage",
    "TokenVerifier",
]
