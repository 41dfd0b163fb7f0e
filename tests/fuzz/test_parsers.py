"""Every parser of what an attacker may hand over, under bytes that nobody wrote.

What a parser takes must have exactly one encoding; all else it must refuse by its own error,
quickly, and never by another exception. A seed is a true document; the fuzzer cuts, joins, repeats
and changes it. In CI each target gets a fixed number of documents. `make fuzz` goes on with fresh
ones until FUZZ_SECONDS for each target are over.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import msgspec
import pytest
from fuzz_seeds import CIPHER, IDENTITY, PLACE, SEEDS, WRAPPED
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recorder_worker.adapters.age import unwrap
from recorder_worker.adapters.sources.access_units import AccessUnits
from recorder_worker.adapters.sources.decoding import decode_picture
from recorder_worker.core.audit_trail.bundle import parse_bundle
from recorder_worker.core.audit_trail.diagnosis import diagnose
from recorder_worker.core.audit_trail.lines import encode_line
from recorder_worker.core.cipher.declared import declared_encryption
from recorder_worker.core.command_parsing import parse_command
from recorder_worker.core.errors import FormatError, RefusedError, SettingsError, SourceLostError
from recorder_worker.core.evidence.clip_file import decode_clip, encode_clip
from recorder_worker.core.evidence.proof_check import check_proof
from recorder_worker.core.evidence.proof_file import decode_proof, encode_proof
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.frames.header import PLAIN_TILES
from recorder_worker.core.frames.playback import FrameDecoder, scan_headers
from recorder_worker.core.merkle.proofs import ProofError
from recorder_worker.core.packets.fmp4_stream import scan_pieces
from recorder_worker.core.receipts.chain import parse_chain_receipt
from recorder_worker.core.records.codec import decode_record, encode_record, frame_record
from recorder_worker.core.records.file import unframed
from recorder_worker.core.session_log.entries import decode_entry, encode_entry
from recorder_worker.core.session_log.log_proof import parse_log_proof
from recorder_worker.core.signing.note import parse_note, parse_notes
from recorder_worker.core.subjects import Command
from recorder_worker.core.verify.policy import parse_policy
from recorder_worker.ports import Packet
from recorder_worker.stages.capture.session.manifest import Manifest

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))

Target = Callable[[bytes], bytes | None]
"""Parses bytes; gives their encoding again, or None where a parser has none. Raises a refusal."""


def note_again(data: bytes) -> bytes:
    note = parse_note(data)
    return note.head.text() + b"\n" + b"".join(line.line() for line in note.signatures)


def proof_again(data: bytes) -> bytes:
    proof = decode_proof(data)
    with contextlib.suppress(ProofError, FormatError):
        check_proof(proof)
    return encode_proof(proof)


def sealed_again(data: bytes) -> bytes:
    return b"".join(CIPHER.seal(PLACE, b"".join(CIPHER.unseal(PLACE, [data]))))


def unwrapped(data: bytes) -> None:
    assert unwrap(data.decode("utf-8", "replace"), [IDENTITY]) == WRAPPED


def nothing(parse: Callable[[bytes], object]) -> Target:
    def run(data: bytes) -> None:
        found = parse(data)
        if not isinstance(found, msgspec.Struct | str | bytes | None):
            for _ in found:  # type: ignore[attr-defined]
                pass

    return run


def bundle_again(data: bytes) -> bytes:
    """A bundle, put together again from what was read."""
    bundle = parse_bundle(data)
    return b"".join(encode_line(line) + b"\n" for line in (bundle.head, *bundle.lines))


def diagnosed(data: bytes) -> None:
    """Whatever is in the place of a bundle, something is said about it."""
    found = diagnose(data, recorder="recorder", previous=bytes(32), numbers=range(1, 4))
    assert found
    assert all(found)


def pictures_again(data: bytes) -> bytes | None:
    """A frame stream, made again of the pictures and pointers that were read."""
    for header in scan_headers([data]):
        if header.encoding == PLAIN_TILES or header.width * header.height > 2**20:
            return None
    encoder, decoder, again = FrameEncoder(), FrameDecoder(), b""
    for frame in decoder.feed(data):
        again += encoder.encode(
            frame.picture,
            unit=frame.unit,
            t_ns=frame.t_ns,
            wall_ns=frame.wall_ns,
            keyframe=frame.keyframe,
            pointer=frame.pointer,
        ).data
    decoder.finish()
    return again


def copied(data: bytes) -> None:
    """What is taken for a packet can be written, if it is a keyframe; or is refused again."""
    for codec in ("h264", "hevc"):
        with contextlib.suppress(RefusedError):
            keyframe, tracks = AccessUnits("fuzz", 10_000).check(codec, data, broken=False)
            assert keyframe, "nothing was there to build on"
            packet = Packet(video=True, keyframe=True, pts=0, dts=0, duration=1, t_ns=0, data=data)
            with contextlib.suppress(SourceLostError):
                tracks.piece([packet], 0)


TARGETS: dict[str, tuple[Target, tuple[type[Exception], ...]]] = {
    "record": (lambda data: encode_record(decode_record(data)), (FormatError,)),
    "records": (lambda data: b"".join(map(frame_record, unframed([data]))), (FormatError,)),
    "note": (note_again, (FormatError,)),
    "notes": (lambda data: b"".join(n.raw for n in parse_notes(data)), (FormatError,)),
    "clip": (lambda data: encode_clip(decode_clip(data)), (FormatError,)),
    "proof": (proof_again, (FormatError,)),
    "log entry": (lambda data: encode_entry(decode_entry(data)), (FormatError,)),
    "log proof": (lambda data: parse_log_proof(data).text(), (FormatError,)),
    "anchor receipt": (lambda data: parse_chain_receipt(data).encode(), (FormatError,)),
    "audit bundle": (bundle_again, (FormatError,)),
    "audit diagnosis": (nothing(diagnosed), ()),
    "frames": (nothing(lambda data: scan_headers([data])), (FormatError,)),
    "pictures": (pictures_again, (FormatError,)),
    "picture": (nothing(lambda data: decode_picture(data, 10_000)), (FormatError,)),
    "packets": (nothing(lambda data: scan_pieces([data])), (FormatError,)),
    "published packet": (copied, ()),
    "manifest": (
        nothing(lambda data: msgspec.json.decode(data, type=Manifest)),
        (msgspec.DecodeError, UnicodeDecodeError, RecursionError),
    ),
    "encryption": (nothing(declared_encryption), (FormatError,)),
    "wrapped key": (unwrapped, (FormatError, RefusedError)),
    "encrypted payload": (sealed_again, (FormatError,)),
    "policy": (nothing(parse_policy), (SettingsError,)),
    "start": (nothing(lambda data: parse_command(Command.START, data)), (RefusedError,)),
}


@st.composite
def documents(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with some wounds, or bytes out of nowhere."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=400))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        match draw(st.sampled_from(["byte", "cut", "put", "repeat", "digit", "swap", "end"])):
            case "byte" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:end]
            case "put":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "repeat":
                data[at:at] = data[at:end] * draw(st.integers(1, 3))
            case "digit":
                data[at:at] = draw(
                    st.sampled_from([b"0", b"-1", b"1e9", b"\xff\xff\xff\xff", b"+"])
                )
            case "swap":
                half = (at + end) // 2
                data[at:end] = data[half:end] + data[at:half]
            case _:
                del data[at:]
    return bytes(data)


def fuzz(target: Target, refusals: tuple[type[Exception], ...], seeds: tuple[bytes, ...]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(documents(seeds))
    def run(data: bytes) -> None:
        try:
            again = target(data)
        except refusals:
            return
        assert again is None or again == data

    run()


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", TARGETS)
def test_no_document_is_taken_in_two_encodings_or_refused_by_accident(name: str) -> None:
    target, refusals = TARGETS[name]
    seeds = SEEDS[name]
    for seed in seeds:
        again = target(seed)
        assert again is None or again == seed, f"a seed of {name} is not what it should be"
    until = time.monotonic() + SECONDS
    while True:
        fuzz(target, refusals, seeds)
        if time.monotonic() >= until:
            return


def test_every_target_has_seeds_and_every_seed_a_target() -> None:
    assert set(SEEDS) == set(TARGETS)
    assert all(SEEDS.values())
