"""What stands beside a film: of which recording it is, what was verified, and what it shows when.

A film is a copy, most often with loss; it is no evidence by itself. What it is made of is: the
recording that is named here, or the clip beside the film.
"""

from __future__ import annotations

import msgspec

from recorder_worker.core.evidence.clip_plan import Window
from recorder_worker.core.screening.exposures import Part
from recorder_worker.core.screening.extent import Extent
from recorder_worker.core.verify.report import Report, RuleResult, Trust
from recorder_worker.core.verify.verdicts import Verdict

ACCOUNT_FORMAT = "session-recorder film v1"
UNCHANGED = (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS, Verdict.TRUNCATED, Verdict.CLIP)
"""Verdicts on a recording of which all that is there is what was signed."""


class FilmFile(msgspec.Struct, frozen=True, kw_only=True):
    """The film itself. Digests are hexadecimal, times nanoseconds, sizes pixels or bytes.

    `frame_count` are pictures in the file, cards and repeated ones with them.
    """

    name: str
    size_bytes: int
    blake3: str
    sha256: str
    codec: str
    lossless: bool
    width: int
    height: int
    duration_ns: int
    frame_count: int


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the session that the film shows, by both clocks; `whole`: nobody cut it."""

    whole: bool
    t0_ns: int
    t1_ns: int
    wall0_ns: int
    wall1_ns: int


class FilmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How it was asked for. `fps` is a constant rate; null: the times of the recording."""

    fps: float | None
    cursor: bool
    burn_time: bool


class FilmAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The file `<film>.json`.

    Attributes:
        verdict: of `recorder verify` over the whole recording, before the film was made.
        root_hash: root over all records that were there, hexadecimal; `tree_size` of them, the
            first `signed_size` under a verified signature.
        proof: name of the folder beside the film with the clip that proves the part; null: none
            was made.
        damaged: names of the first chunks that a card stands for, because they are not what was
            recorded; there are `damaged_count`.
        parts: the first parts of the film, and the session time that each shows; there are
            `part_count`.
        asked: which part was asked for; null: all. A film of packets shows more, up to keyframes.
        sound_count, sound_left_out: packets of sound that the film has, and those that a source
            gave twice, so that it has them once.
        software, libraries: what made it.
    """

    format: str = ACCOUNT_FORMAT
    film: FilmFile
    session_id: str
    session_counter: int
    recorder: str
    verdict: Verdict
    trust: Trust
    rules: tuple[RuleResult, ...]
    root_hash: str
    tree_size: int
    signed_size: int
    shown: Shown
    asked: Window | None
    options: FilmOptions
    proof: str | None
    damaged: tuple[str, ...]
    damaged_count: int
    parts: tuple[Part, ...]
    part_count: int
    sound_count: int
    sound_left_out: int
    software: str
    libraries: str


class Making(msgspec.Struct, frozen=True, kw_only=True):
    """What is known once a film is written, and stands in its account as it is."""

    film: FilmFile
    options: FilmOptions
    proof: str | None
    damaged: tuple[str, ...]
    damaged_count: int
    parts: tuple[Part, ...]
    part_count: int
    sound_count: int = 0
    sound_left_out: int = 0
    software: str
    libraries: str


def account_of(report: Report, extent: Extent, made: Making, asked: Window | None) -> FilmAccount:
    """The account of a film of a part of a verified recording; `asked` is None for all of it."""
    return FilmAccount(
        session_id=extent.session_id,
        session_counter=report.session_counter,
        recorder=report.recorder,
        verdict=report.verdict,
        trust=report.trust,
        rules=report.rules,
        root_hash=report.root_hash,
        tree_size=report.tree_size,
        signed_size=report.signed_size,
        shown=Shown(
            whole=asked is None,
            t0_ns=extent.begin_ns,
            t1_ns=extent.end_ns,
            wall0_ns=extent.wall0_ns,
            wall1_ns=extent.wall1_ns,
        ),
        asked=asked,
        **{name: getattr(made, name) for name in made.__struct_fields__},
    )


def account_json(account: FilmAccount) -> bytes:
    """The bytes of the file."""
    return msgspec.json.format(msgspec.json.encode(account), indent=2) + b"\n"
