"""Encrypted sessions on a running recorder: what is on the disk, who can read it, who goes on."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import pytest_asyncio
import reference
import zstandard
from plain_bytes import holding, needles, readable
from reference_format import h
from running_recorder import DEADLINE_S, POLL_S, RunningRecorder, settings_in
from typer.testing import CliRunner
from worker_process import run_recorder

from recorder_worker.adapters.age import new_identity
from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.adapters.sources.pattern import PatternDesktop
from recorder_worker.bus.connection.broker import Login
from recorder_worker.cli.identities import cipher_of
from recorder_worker.cli.main import app
from recorder_worker.cli.output import EXIT_CODES
from recorder_worker.core import keys
from recorder_worker.core.cipher.session_cipher import PayloadKind, Place, SessionCipher
from recorder_worker.core.errors import RecorderError, SettingsError
from recorder_worker.core.events import Captured, ChunkStored, SegmentCaptured
from recorder_worker.core.reading.frames import recording_frames
from recorder_worker.core.sources.kinds import PatternSource
from recorder_worker.core.subjects import Fact
from recorder_worker.core.verify import Status, Step, Verdict, verify
from recorder_worker.core.verify.report import Report
from recorder_worker.service.encryption import key_wrap
from recorder_worker.service.replaying import replay_session
from recorder_worker.service.settings.loading import load
from recorder_worker.service.settings.tree import (
    CaptureSettings,
    ChunkSettings,
    EncryptionSettings,
    Settings,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATTERN: dict[str, Any] = {"kind": "pattern", "width": 320, "height": 200, "seed": 3}
LIVE = PATTERN | {"pace": "native"}
FAST = PATTERN | {"pace": "fast", "frames": 24}
ENOUGH = 6
"""Frames, so that there is more than one segment."""


class Result(NamedTuple):
    stdout: str
    stderr: str


class Auditor:
    """Somebody with an identity, in a folder where nobody records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        identity, self.recipient = new_identity()
        self.identity = folder / "auditor.txt"
        self.identity.write_text(identity + "\n")

    @property
    def settings(self) -> EncryptionSettings:
        return EncryptionSettings(recipients=(self.recipient,))

    def cipher(self, folder: Path) -> SessionCipher:
        found = cipher_of(FolderRecording(folder), [self.identity])
        assert found is not None
        return found

    def report(self, folder: Path) -> Report:
        return verify(FolderRecording(folder), cipher=self.cipher(folder))

    def run(self, *arguments: str, code: int = 0) -> Result:
        """A command, as `main` runs it."""
        ended = CliRunner().invoke(app, arguments)
        found = ended.exit_code
        said = ended.stderr
        if isinstance(ended.exception, RecorderError):
            found = next(code for kind, code in EXIT_CODES if isinstance(ended.exception, kind))
            said += str(ended.exception)
        assert found == code, f"{found}: {ended.output}{said}{ended.exception!r}"
        return Result(ended.stdout, said)


@pytest.fixture(scope="module")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Auditor:
    return Auditor(tmp_path_factory.mktemp("auditor"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encrypting(
    auditor: Auditor, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningRecorder]:
    folder = tmp_path_factory.mktemp("encrypting")
    async with RunningRecorder(encrypted_in(folder, auditor)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(encrypting: RunningRecorder) -> Path:
    session_id, _ = await encrypting.record(FAST)
    return encrypting.folder(session_id)


def encrypted_in(folder: Path, auditor: Auditor) -> Settings:
    return settings_in(folder, encryption=auditor.settings, chunk=ChunkSettings(duration_s=0.5))


def key_file(settings: Settings, session_id: str) -> Path:
    return settings.keys_path / "ciphers" / f"{session_id}.key"


def assert_pixels(folder: Path, cipher: SessionCipher, source: dict[str, Any]) -> int:
    wanted = PatternDesktop(msgspec.convert(source, PatternSource), fps=10)
    count = 0
    for frame in recording_frames(FolderRecording(folder), cipher):
        expected = wanted.read()
        assert expected is not None
        np.testing.assert_array_equal(frame.picture, expected.picture)
        count += 1
    return count


async def units_of(recorder: RunningRecorder, session_id: str) -> int:
    last = await recorder.client.last(Fact.CAPTURED, session_id)
    return last.cursor.unit if isinstance(last, Captured) else 0


async def record_live(recorder: RunningRecorder, looks: int) -> tuple[str, list[Path], bytes]:
    """Record, and look at every file again and again; what could be read, and the key if any."""
    wanted, found = needles(PATTERN), []
    started = await recorder.client.start(LIVE, fps=20)
    session_id = started.session_id
    await recorder.captured(session_id)
    place = key_file(recorder.settings, session_id)
    key = place.read_bytes() if place.exists() else b""
    spool = recorder.folder(session_id) / keys.SEGMENTS
    async with asyncio.timeout(DEADLINE_S):
        while looks:
            looks -= any(spool.iterdir()) if spool.exists() else 0
            found += await asyncio.to_thread(readable, recorder.settings.data_path, wanted)
            await asyncio.sleep(POLL_S)
        while await units_of(recorder, session_id) < ENOUGH:
            await asyncio.sleep(POLL_S)
    await recorder.client.stop(session_id)
    await recorder.sealed(session_id)
    return session_id, found, key


# --- what is on the disk -------------------------------------------------------------------------


async def test_no_picture_is_on_the_disk_while_recording_and_no_key_behind_the_seal(
    encrypting: RunningRecorder, auditor: Auditor
) -> None:
    session_id, found, key = await record_live(encrypting, looks=8)
    data = encrypting.settings.data_path
    assert found == []
    assert len(key) == 32
    assert readable(data, needles(PATTERN)) == []
    assert holding(data, key) == []
    assert not key_file(encrypting.settings, session_id).exists()
    folder = encrypting.folder(session_id)
    report = auditor.report(folder)
    assert (report.verdict, report.closed_count) == (Verdict.COMPLETE, 0)
    assert report.totals.frame_count >= ENOUGH
    assert assert_pixels(folder, auditor.cipher(folder), PATTERN) == report.totals.frame_count
    # All that the recorder has left: none of it is the key, or unwraps it.
    secrets = [path.read_bytes() for path in encrypting.settings.keys_path.rglob("*.*")]
    assert SessionCipher(session_id, key).key_id == auditor.cipher(folder).key_id
    assert all(key not in secret for secret in secrets)


async def test_without_encryption_the_same_look_finds_pictures_in_spool_and_chunks(
    tmp_path: Path,
) -> None:
    """The control of the test above."""
    async with RunningRecorder(settings_in(tmp_path)) as plain:
        session_id, found, key = await record_live(plain, looks=2)
        assert key == b""
        assert {path.parent.name for path in found} >= {"segments"}
        found = readable(plain.folder(session_id), needles(PATTERN))
        assert {path.parent.name for path in found} == {"chunks"}


async def test_events_and_records_hold_no_digest_that_a_guess_can_be_tested_with(
    encrypting: RunningRecorder, auditor: Auditor, recorded: Path
) -> None:
    cipher = auditor.cipher(recorded)
    plain = {}
    for chunk in sorted((recorded / keys.CHUNKS).iterdir()):
        index = int(chunk.name.partition(".")[0])
        sealed = chunk.read_bytes()
        payload = b"".join(cipher.unseal(Place(PayloadKind.CHUNK, index), [sealed]))
        plain[index] = zstandard.ZstdDecompressor().decompressobj().decompress(payload)
    compressed = await encrypting.facts(Fact.COMPRESSED, recorded.name)
    stored = [event for event in compressed if isinstance(event, ChunkStored)]
    assert len(stored) == len(plain) > 2
    for event in stored:
        assert event.plain_blake3 == cipher.hasher().update(plain[event.index]).hexdigest()
        assert event.plain_blake3 != h(plain[event.index]).hex()
    captured = await encrypting.facts(Fact.CAPTURED, recorded.name)
    segments = [event for event in captured if isinstance(event, SegmentCaptured)]
    whole, at = b"".join(plain[index] for index in sorted(plain)), 0
    for segment in segments:
        text, at = whole[at : at + segment.plain_size], at + segment.plain_size
        assert segment.plain_blake3 == cipher.hasher().update(text).hexdigest() != h(text).hex()
    assert at == len(whole)


# --- who can read it -----------------------------------------------------------------------------


async def test_without_a_key_all_is_verified_but_what_is_inside(recorded: Path) -> None:
    report = verify(FolderRecording(recorded))
    assert (report.verdict, report.exit_code) == (Verdict.COMPLETE, 0)
    assert report.closed_count == len(report.chunk_map) > 2
    steps = {step.number: step for step in report.steps}
    assert [n for n, step in steps.items() if step.status is Status.NOT_REACHED] == [
        *(Step.KEYS, Step.PLAIN, Step.FRAMES, Step.RECEIPTS, Step.WINDOW, Step.RETENTION)
    ]
    assert f"{report.closed_count} of {report.closed_count} chunks are encrypted" in str(
        steps[Step.PLAIN].detail
    )
    assert any("their plain bytes were not looked at" in text for text in report.not_proved)


async def test_the_second_implementation_reads_what_the_product_encrypted(
    recorded: Path, auditor: Auditor
) -> None:
    found = reference.check(recorded, auditor.identity)
    assert (found["verdict"], found["problem"]) == ("COMPLETE", "")
    pixels = [
        h(frame.picture.tobytes()).hex()
        for frame in recording_frames(FolderRecording(recorded), auditor.cipher(recorded))
    ]
    assert [frame["pixels"] for frame in found["frames"]] == pixels
    assert len(pixels) == FAST["frames"]


async def test_a_damaged_chunk_is_found_with_and_without_the_key(
    recorded: Path, auditor: Auditor, tmp_path: Path
) -> None:
    copy = copied(recorded, tmp_path / "copy")
    chunk = sorted((copy / keys.CHUNKS).iterdir())[1]
    data = bytearray(chunk.read_bytes())
    data[50] ^= 1
    chunk.write_bytes(data)
    for report in (verify(FolderRecording(copy)), auditor.report(copy)):
        assert (report.verdict, report.failed_step) == (Verdict.TAMPERED, Step.STORED)
        assert report.chunk_map[:2] == ".X"


def copied(folder: Path, target: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return target


async def test_a_replay_with_the_identity_makes_the_same_bytes_and_without_copies_them(
    encrypting: RunningRecorder, recorded: Path, auditor: Auditor, tmp_path: Path
) -> None:
    login = Login(servers=(encrypting.url,))
    for cipher in (auditor.cipher(recorded), None):
        target = tmp_path / ("all" if cipher else "copied")
        result = await replay_session(encrypting.settings, login, recorded.name, target, cipher)
        assert result.same, result.difference
        assert ("plain bytes were not looked at" in result.taken) == (cipher is None)
        again = Path(result.location)
        for chunk in sorted((recorded / keys.CHUNKS).iterdir()):
            assert (again / keys.CHUNKS / chunk.name).read_bytes() == chunk.read_bytes()
        assert auditor.report(again).verdict is Verdict.COMPLETE


# --- on the command line -------------------------------------------------------------------------


async def test_verify_and_frames_with_an_identity(recorded: Path, auditor: Auditor) -> None:
    closed = auditor.run("verify", str(recorded), "--json")
    report = json.loads(closed.stdout)
    assert (report["verdict"], report["closed_count"]) == ("COMPLETE", report["chunks"])
    identity = ("--identity", str(auditor.identity))
    report = json.loads(auditor.run("verify", str(recorded), *identity, "--json").stdout)
    assert (report["verdict"], report["closed_count"]) == ("COMPLETE", 0)
    lines = auditor.run("frames", str(recorded), *identity).stdout.splitlines()
    assert len(lines) == FAST["frames"]
    refused = auditor.run("frames", str(recorded), code=65)
    assert "expected an identity of one of the session's recipients" in refused.stderr


async def test_a_wrong_identity_is_said_and_not_a_verdict(
    recorded: Path, auditor: Auditor, tmp_path: Path
) -> None:
    other = Auditor(tmp_path)
    identities = ("--identity", str(other.identity))
    for command in ("verify", "frames"):
        ended = other.run(command, str(recorded), *identities, code=65)
        assert "got none that the session's key was wrapped for" in ended.stderr
        assert ended.stdout == ""
    both = (*identities, "--identity", str(auditor.identity))
    assert "COMPLETE" in other.run("verify", str(recorded), *both).stdout


async def test_a_manifest_that_was_changed_is_tampered_with_and_without_an_identity(
    recorded: Path, auditor: Auditor, tmp_path: Path
) -> None:
    copy = copied(recorded, tmp_path / "copy")
    manifest = json.loads((copy / keys.MANIFEST).read_text())
    for change in ({"wrapped_key": "nonsense"}, {"key_id": "0" * 32}, {"cipher": 7}):
        changed = manifest | {"encryption": manifest["encryption"] | change}
        (copy / keys.MANIFEST).write_text(json.dumps(changed))
        ended = auditor.run("verify", str(copy), "--identity", str(auditor.identity), code=13)
        assert "TAMPERED" in ended.stdout
        assert "session.json" in ended.stderr
    (copy / keys.MANIFEST).unlink()
    auditor.run("verify", str(copy), "--identity", str(auditor.identity), code=13)


async def test_decrypt_writes_what_zstd_reads(
    recorded: Path, auditor: Auditor, tmp_path: Path
) -> None:
    target, identity = tmp_path / "plain", ("--identity", str(auditor.identity))
    made = json.loads(
        auditor.run("decrypt", str(recorded), *identity, "--out", str(target), "--json").stdout
    )
    chunks = sorted((target / keys.CHUNKS).iterdir())
    assert made["chunks"] == len(chunks) == len(list((recorded / keys.CHUNKS).iterdir()))
    assert {path.suffix for path in chunks} == {".zst"}
    for path in chunks:
        ended = subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True)
        assert ended.stdout[:1] in {b"\x01", b"\x02"}, "a frame of the stream"
    assert readable(target, needles(PATTERN))
    taken = auditor.run("decrypt", str(recorded), *identity, "--out", str(target), code=65)
    assert "expected no folder or an empty one" in taken.stderr
    copy = copied(recorded, tmp_path / "copy")
    victim = max((copy / keys.CHUNKS).iterdir())
    victim.write_bytes(victim.read_bytes()[:-1])
    out = tmp_path / "of the copy"
    auditor.run("decrypt", str(copy), *identity, "--out", str(out), code=13)
    assert not out.exists()
    auditor.run("decrypt", str(recorded), "--out", str(out), code=2)


async def test_a_clip_is_made_and_verified_without_a_key_and_decrypted_with_it(
    recorded: Path, auditor: Auditor, tmp_path: Path
) -> None:
    clip, identity = tmp_path / "clip", ("--identity", str(auditor.identity))
    auditor.run("clip", str(recorded), str(clip), "--from", "0", "--to", "0.7")
    closed = json.loads(auditor.run("verify", str(clip), "--json", code=11).stdout)
    assert (closed["verdict"], closed["closed_count"]) == ("CLIP", closed["chunks"])
    report = auditor.report(clip)
    assert (report.verdict, report.closed_count) == (Verdict.CLIP, 0)
    assert 0 < report.totals.frame_count < FAST["frames"]
    auditor.run("decrypt", str(clip), *identity, "--out", str(tmp_path / "plain"))
    assert len(list((tmp_path / "plain" / keys.CHUNKS).iterdir())) == report.totals.chunk_count
    proof = tmp_path / "chunk.proof"
    auditor.run("proof", str(recorded), "--chunk", "2", "--out", str(proof))
    assert "the proof holds" in auditor.run("verify-proof", str(proof)).stdout


async def test_a_recording_that_is_not_encrypted_needs_no_identity_and_takes_one(
    auditor: Auditor, tmp_path: Path
) -> None:
    async with RunningRecorder(settings_in(tmp_path / "data")) as plain:
        session_id, _ = await plain.record(FAST)
    folder, identity = plain.folder(session_id), ("--identity", str(auditor.identity))
    auditor.run("verify", str(folder), *identity)
    assert len(auditor.run("frames", str(folder), *identity).stdout.splitlines()) == FAST["frames"]
    ended = auditor.run("decrypt", str(folder), *identity, "--out", str(tmp_path / "out"), code=65)
    assert "expected a recording that is encrypted" in ended.stderr
    manifest = json.loads((folder / keys.MANIFEST).read_text())
    assert manifest["encryption"] is None


async def test_the_commands_of_the_document_do_what_it_says(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "encryption.md").read_text(encoding="utf-8")
    make, use = (
        block.splitlines()
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    )
    (example,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    printed = ""
    for line in make:
        ended = run_recorder(*shlex.split(line)[1:], folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        printed = ended.stdout.strip()
    (tmp_path / "settings.yaml").write_text(re.sub("age1[a-z0-9]+", printed, example))
    settings, _ = load(tmp_path / "settings.yaml")
    assert settings.encryption.recipients == (printed,)
    running = settings_in(tmp_path / "recorder-data", encryption=settings.encryption)
    async with RunningRecorder(running) as recorder:
        session_id, _ = await recorder.record(FAST)
    assert len(use) == 3
    for line in use:
        words = shlex.split(line.replace("SESSION", session_id))[1:]
        ended = run_recorder(*words, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
    assert any((tmp_path / "plain" / keys.CHUNKS).iterdir())


# --- other workers go on -------------------------------------------------------------------------


async def test_a_session_stays_encrypted_under_a_worker_that_would_not_encrypt(
    auditor: Auditor, tmp_path: Path
) -> None:
    settings = encrypted_in(tmp_path, auditor)
    async with RunningRecorder(settings) as first:
        started = await first.client.start(LIVE, fps=20)
        await first.captured(started.session_id)
    plain = msgspec.structs.replace(settings, encryption=EncryptionSettings())
    async with RunningRecorder(plain) as second:
        before = await second.client.last(Fact.CAPTURED, started.session_id)
        assert before is not None
        await second.captured(started.session_id, before.cursor.t_ns)  # type: ignore[attr-defined]
        assert readable(second.settings.data_path, needles(PATTERN)) == []
        await second.client.stop(started.session_id)
        await second.sealed(started.session_id)
    folder = second.folder(started.session_id)
    report = auditor.report(folder)
    assert report.verdict is Verdict.COMPLETE_WITH_GAPS
    assert [gap.reason for gap in report.gaps] == ["handover"]
    assert report.closed_count == 0
    assert assert_pixels(folder, auditor.cipher(folder), PATTERN) == report.totals.frame_count


async def test_a_session_whose_key_is_lost_ends_aloud_and_is_not_recorded_plain(
    auditor: Auditor, tmp_path: Path
) -> None:
    settings = encrypted_in(tmp_path, auditor)
    async with RunningRecorder(settings) as first:
        started = await first.client.start(LIVE, fps=20)
        await first.captured(started.session_id, 10**9)
    key_file(settings, started.session_id).unlink()
    short = CaptureSettings(segment_s=0.25, retry_s=1.0, lease_s=2)
    again = msgspec.structs.replace(settings, capture=short)
    async with RunningRecorder(again) as second:
        sealed = await second.sealed(started.session_id)
        assert sealed.reason == "worker_lost"
        assert readable(second.settings.data_path, needles(PATTERN)) == []
    report = auditor.report(second.folder(started.session_id))
    assert report.verdict in {Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS}
    assert report.totals.frame_count > 0


# --- settings ------------------------------------------------------------------------------------


async def test_recipients_may_be_settings_and_in_a_file(auditor: Auditor, tmp_path: Path) -> None:
    assert key_wrap(Settings()) is None
    other = new_identity()[1]
    path = tmp_path / "recipients"
    path.write_text(f"# who may read\n\n{other}\n{auditor.recipient}\n")

    def recipients(**how: Any) -> tuple[str, ...]:  # noqa: ANN401  (settings)
        wrap = key_wrap(Settings(encryption=EncryptionSettings(**how)))
        assert wrap is not None
        return wrap.recipients

    one = (auditor.recipient,)
    assert recipients(recipients=one) == one
    assert recipients(recipients_file=str(path)) == (other, *one)
    assert recipients(recipients=one, recipients_file=str(path)) == (*one, other)
    path.write_text("# nobody\n")
    for wrong in (path, tmp_path / "none", tmp_path):
        with pytest.raises(SettingsError, match=r"encryption\.recipients_file"):
            recipients(recipients=one, recipients_file=str(wrong))


async def test_a_wrong_recipient_stops_the_start_with_the_code_of_a_wrong_setting(
    tmp_path: Path,
) -> None:
    secret = new_identity()[0]
    for text, said in (("age1nobody", "'age1nobody'"), (secret, "found an identity")):
        env = {
            "RECORDER_ENCRYPTION__RECIPIENTS": text,
            "RECORDER_NATS__PORT": "-1",
            "RECORDER_SIDECAR__PORT": "-1",
        }
        ended = run_recorder("run", folder=tmp_path, env=env)
        assert ended.returncode == 78, ended.stderr
        assert "encryption.recipients: expected" in ended.stderr
        assert said in ended.stderr
        assert secret[20:] not in ended.stderr + ended.stdout
