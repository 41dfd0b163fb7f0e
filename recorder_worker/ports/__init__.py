"""What the stages need from the outside world, as Protocols. One contract suite per port."""

from recorder_worker.ports.bus import ControlFeed, Copies, Delivery, EventLog, FactMessage, Logged
from recorder_worker.ports.clock import Clock
from recorder_worker.ports.metrics import StageMetrics
from recorder_worker.ports.signing import Signer
from recorder_worker.ports.sources import Frame, FrameSource, Picture, SourceOpener
from recorder_worker.ports.stores import BlobStore, BlobWriter

__all__ = [
    "BlobStore",
    "BlobWriter",
    "Clock",
    "ControlFeed",
    "Copies",
    "Delivery",
    "EventLog",
    "FactMessage",
    "Frame",
    "FrameSource",
    "Logged",
    "Picture",
    "Signer",
    "SourceOpener",
    "StageMetrics",
]
