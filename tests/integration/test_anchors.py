"""Receipts, end to end: a recorder on a real nats-server, and `openssl ts` behind HTTP."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from running_recorder import DEADLINE_S, RunningRecorder, settings_in, until
from time_stamp_authority import ServedTsa, Tsa

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.bus import codec
from recorder_worker.bus.streams.topology import INTEGRATION_STREAM
from recorder_worker.core import keys
from recorder_worker.core.errors import SettingsError
from recorder_worker.core.events import AnchorReceipt, AnchorRequested
from recorder_worker.core.receipts.beacon import Beacon, parse_beacon
from recorder_worker.core.records.codec import decode_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.records.leaves import OpenRecord, SealRecord
from recorder_worker.core.session_log.log_proof import parse_log_proof
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify.policy import TrustPolicy
from recorder_worker.core.verify.receipts import (
    Covers,
    LogCheckpoint,
    ReceiptFile,
    check_receipts,
)
from recorder_worker.core.verify.time_window import WallClocks, prove_window
from recorder_worker.core.verify.verdicts import Verdict
from recorder_worker.core.verify.verifier import verify
from recorder_worker.service.settings.tree import AnchorSettings, Settings
from recorder_worker.service.worker import Worker

EMPTY_ROOT = hashlib.sha256(b"").hexdigest()
SMALL = {"kind": "pattern", "width": 16, "height": 16, "pace": "fast", "frames": 3}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> Tsa:
    made = Tsa(tmp_path_factory.mktemp("tsa"), precision=3, accuracy="")
    (made.folder / "root.pem").write_text(made.root_pem)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tsa: Tsa) -> AsyncIterator[ServedTsa]:
    async with tsa.served() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorder(
    tsa: Tsa, served: ServedTsa, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningRecorder]:
    async with RunningRecorder(settings(tmp_path_factory.mktemp("recorder"), tsa, served)) as run:
        yield run


def settings(folder: Path, tsa: Tsa, served: ServedTsa) -> Settings:
    anchors = AnchorSettings(tsa_url=served.url, tsa_certificates=str(tsa.folder / "root.pem"))
    return settings_in(folder, anchors=anchors)


async def sealed(recorder: RunningRecorder) -> tuple[Path, LogCheckpoint, LogCheckpoint]:
    """A sealed session's folder, with its log checkpoints, once both have their receipts."""
    started = await recorder.client.start(SMALL)
    await recorder.sealed(started.session_id)
    folder = recorder.folder(started.session_id)
    await until((folder / keys.PROOF_SEAL).exists)
    found = []
    for covers, name in ((Covers.OPEN, keys.PROOF_OPEN), (Covers.SEAL, keys.PROOF_SEAL)):
        note = parse_log_proof((folder / name).read_bytes()).checkpoint
        size = note.head.tree_size
        await until((folder / keys.receipt(size, "tsr")).exists)
        found.append(LogCheckpoint(covers=covers, tree_size=size, note=note.raw))
    return folder, found[0], found[1]


def beacon_of(recorder: RunningRecorder) -> Beacon:
    return parse_beacon((recorder.settings.data_path / "log" / "beacon").read_bytes())


def files_of(folder: Path) -> list[ReceiptFile]:
    return [
        ReceiptFile(name=f"{keys.RECEIPTS}/{path.name}", data=path.read_bytes())
        for path in sorted((folder / keys.RECEIPTS).iterdir())
    ]


async def test_a_sealed_session_ends_with_a_window_that_is_proved(
    recorder: RunningRecorder, tsa: Tsa
) -> None:
    _, _, before = await sealed(recorder)
    await until(lambda: beacon_of(recorder).tree_size >= before.tree_size)
    folder, begun, ended = await sealed(recorder)
    records = [decode_record(r) for r in unframed([(folder / keys.RECORDS).read_bytes()])]
    opened, last = records[0], records[-1]
    assert isinstance(opened, OpenRecord)
    assert isinstance(last, SealRecord)
    checked = check_receipts(
        timestamped=opened.timestamped,
        timestamp=opened.timestamp,
        checkpoints=[begun, ended],
        files=files_of(folder),
        authorities=[tsa.trusted()],
    )
    assert (checked.failures, checked.not_proved, checked.warnings) == ((), (), ())
    assert opened.timestamped == before.note
    assert [receipt.covers for receipt in checked.receipts] == [Covers.OPEN, Covers.SEAL]
    window = prove_window(checked, WallClocks(open_ns=opened.wall_ns, seal_ns=last.wall_ns))
    assert (window.failures, window.warnings, window.not_proved) == ((), (), ())
    assert window.not_before is not None
    assert window.not_after is not None
    assert window.not_before.t_ns <= opened.wall_ns <= last.wall_ns <= window.not_after.t_ns


async def test_the_verifier_proves_the_window_and_sees_a_receipt_that_is_not_its_own(
    recorder: RunningRecorder, tsa: Tsa
) -> None:
    await sealed(recorder)
    folder, begun, ended = await sealed(recorder)
    policy = TrustPolicy(authorities=(tsa.trusted(),))
    window = verify(FolderRecording(folder), policy).window
    assert window.not_before_ns is not None
    assert window.opened_by_ns is not None
    assert window.not_after_ns is not None
    assert window.not_before_ns < window.opened_by_ns <= window.not_after_ns
    untrusted = verify(FolderRecording(folder))
    assert untrusted.verdict is Verdict.COMPLETE
    assert untrusted.window.not_after_ns is None
    # The receipt of the begin, under the name of the one of the end.
    end = folder / keys.receipt(ended.tree_size, "tsr")
    right = end.read_bytes()
    end.write_bytes((folder / keys.receipt(begun.tree_size, "tsr")).read_bytes())
    assert verify(FolderRecording(folder)).verdict is Verdict.TAMPERED
    # Without receipts it is whole, and its times are the recorder's own.
    end.unlink()
    assert verify(FolderRecording(folder), policy).window.not_after_ns is None
    assert verify(FolderRecording(folder)).verdict is Verdict.COMPLETE
    end.write_bytes(right)


async def test_the_log_keeps_what_the_session_has(recorder: RunningRecorder) -> None:
    folder, _, ended = await sealed(recorder)
    log = recorder.settings.data_path / "log"
    name = keys.receipt(ended.tree_size, "tsr")
    assert (log / name).read_bytes() == (folder / name).read_bytes()
    assert (log / keys.receipt(ended.tree_size, "note")).read_bytes() == ended.note
    await until(lambda: beacon_of(recorder).tree_size == ended.tree_size)
    assert beacon_of(recorder).note.encode() == ended.note


async def test_a_request_that_comes_again_is_not_anchored_again(
    recorder: RunningRecorder, served: ServedTsa
) -> None:
    await sealed(recorder)
    request = await newest_request(recorder)
    before = len(served.queries)
    await publish(recorder, Fact.ANCHOR_REQUESTED, codec.encode(request))
    # The engine takes requests in order: behind those of another session it has seen this one.
    await sealed(recorder)
    assert len(served.queries) == before + 2


async def test_a_forked_log_is_not_anchored(recorder: RunningRecorder, served: ServedTsa) -> None:
    await sealed(recorder)
    request = await newest_request(recorder)
    root = base64.b64encode(b"\1" * 32).decode()
    note = request.note.split("\n")
    note[2] = root
    forked = codec.encode(
        msgspec.structs.replace(
            request,
            previous_size=0,
            previous_root_hash=EMPTY_ROOT,
            consistency_proof=(),
            root_hash=(b"\1" * 32).hex(),
            note="\n".join(note),
        )
    )
    before = len(served.queries)
    await publish(recorder, Fact.ANCHOR_REQUESTED, forked)
    letters = await recorder.dead_letters("tsa", Fact.ANCHOR_REQUESTED.value, forked)
    assert "two roots for size" in (letters[0].headers or {})["Recorder-Reason"]
    assert len(served.queries) == before


async def test_a_wrong_receipt_is_dead_lettered_and_not_stored(
    recorder: RunningRecorder, tsa: Tsa
) -> None:
    folder, _, ended = await sealed(recorder)
    newest = await newest_request(recorder)
    # The beacon comes behind the receipt that is waited for.
    await until(lambda: beacon_of(recorder).tree_size == ended.tree_size)
    stored = {file.name: file.data for file in files_of(folder)}
    # The receipt is stored a moment before the next OPEN may hold it.
    await until(lambda: beacon_of(recorder).tree_size >= ended.tree_size)
    beacon = beacon_of(recorder)
    wrong = codec.encode(
        AnchorReceipt(
            origin=newest.origin,
            tree_size=ended.tree_size,
            root_hash=newest.root_hash,
            session_id=newest.session_id,
            kind="rfc3161",
            target="here",
            receipt=tsa.stamp(b"something else"),
        )
    )
    await publish(recorder, Fact.ANCHOR_RECEIPT, wrong)
    letters = await recorder.dead_letters("receipts", Fact.ANCHOR_RECEIPT.value, wrong)
    assert "it is for another file" in (letters[0].headers or {})["Recorder-Reason"]
    assert {file.name: file.data for file in files_of(folder)} == stored
    assert beacon_of(recorder) == beacon


async def test_an_authority_that_is_away_is_waited_for(
    recorder: RunningRecorder, served: ServedTsa
) -> None:
    """The session seals without it; the receipts come when it is back."""
    served.answer = lambda _query: web.Response(status=503)
    try:
        started = await recorder.client.start(SMALL)
        await recorder.sealed(started.session_id)
        asked = len(served.queries)
        await until(lambda: len(served.queries) > asked)
        folder = recorder.folder(started.session_id)
        assert not (folder / keys.RECEIPTS).exists()
    finally:
        served.answer = None
    await until(lambda: len(list((folder / keys.RECEIPTS).glob("*.tsr"))) == 2)


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "not PEM"])
async def test_certificates_that_cannot_be_read_stop_the_start(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "root.pem"
    if content is not None:
        path.write_text(content)
    wrong = settings_in(tmp_path / "data", anchors=AnchorSettings(tsa_certificates=str(path)))
    worker = Worker(wrong)
    try:
        with pytest.raises(SettingsError, match=r"anchors.tsa_certificates: expected the path"):
            await worker.start()
    finally:
        await worker.stop()


async def newest_request(recorder: RunningRecorder) -> AnchorRequested:
    message = await recorder.jetstream.get_last_msg(INTEGRATION_STREAM, Fact.ANCHOR_REQUESTED.value)
    request = codec.decode(Fact.ANCHOR_REQUESTED, message.data or b"")
    assert isinstance(request, AnchorRequested)
    return request


async def publish(recorder: RunningRecorder, fact: Fact, data: bytes) -> None:
    await recorder.jetstream.publish(
        fact.value, data, stream=INTEGRATION_STREAM, timeout=DEADLINE_S
    )
