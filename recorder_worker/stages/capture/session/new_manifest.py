"""What a session's manifest says when it is written for the first time."""

from __future__ import annotations

import msgspec

from recorder_worker.core.commands import StartSession
from recorder_worker.core.errors import PermanentError
from recorder_worker.core.events import SessionStarted
from recorder_worker.core.model import RecordingPolicy, SourceFacts
from recorder_worker.core.packets.fmp4 import PACKETS_FORMAT
from recorder_worker.ports import FrameSource, PacketSource
from recorder_worker.stages.capture.services import CaptureServices
from recorder_worker.stages.capture.session.encryption import with_encryption
from recorder_worker.stages.capture.session.manifest import Manifest


def new_manifest(
    services: CaptureServices,
    session_id: str,
    command: StartSession,
    command_id: str,
    source: FrameSource | PacketSource | None,
    started: SessionStarted | None,
) -> Manifest:
    """Blocking. The key of an encrypted session is durable before its manifest is.

    `source` is None where it is away: then `started` says what it was when the session began.
    """
    owner = (started.owner if started else "") or command.owner
    manifest = Manifest(
        session_id=session_id,
        command_id=command_id,
        command=msgspec.structs.replace(command, session_id=session_id, owner=owner),
        source=_facts(source, started),
        policy=_policy(services, command),
        node=services.identity.node,
        software=services.identity.software,
        accepted_wall_ns=services.clock.wall_ns(),
    )
    return with_encryption(manifest, services.cipher_keys, services.key_wrap)


def _policy(services: CaptureServices, command: StartSession) -> RecordingPolicy:
    policy = services.policy.recording
    if command.profile == "copy":
        return msgspec.structs.replace(policy, frames=PACKETS_FORMAT)
    return policy


def _facts(
    source: FrameSource | PacketSource | None, started: SessionStarted | None
) -> SourceFacts:
    if source is not None:
        return source.facts
    if started is None:
        raise PermanentError("a session without a source and without a start has no manifest")
    return started.source
