"""`recorder export` and `recorder frame`, as a person calls them."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import reference_vectors
from blake3 import blake3
from called_recorder import Run, pixels, text, there
from read_films import read_film
from recording_files import write
from recordings import FRAME_NS, WALL_NS, Recording, device_key
from reference_sealed import IDENTITY_FILE, sealed_base
from reference_signing import SignatureStore

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.cli.output import SafeConsole
from recorder_worker.cli.progress_bar import ProgressBar
from recorder_worker.core.errors import BlobDamagedError
from recorder_worker.core.frames.encoder import FrameEncoder
from recorder_worker.core.model import GapReason
from recorder_worker.core.screening.account import FilmOptions
from recorder_worker.core.verify import verify
from recorder_worker.core.verify.verdicts import EXIT_CODES, EXIT_UNTRUSTED, Verdict
from recorder_worker.service.films.export import FilmRequest, export_film


def recording() -> Recording:
    """1 key 0-.3, 2 delta -.6, 3 mark, 4 gap of an hour, 5 key -.2, 6 stored key -.3, 7 SEAL."""
    made = Recording(checkpoint_every=1).open().chunk().chunk(keyframe=False).mark()
    made.gap(5, GapReason.PAUSE, duration_ns=3600 * 10**9)
    return made.chunk(2, size=(97, 40)).chunk(1, codec="stored", size=(97, 40)).seal()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "session", recording().sealed())


def tamper(folder: Path, number: int) -> None:
    path = folder / "chunks" / f"{number:010d}.zst"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


# --- export --------------------------------------------------------------------------------------


def test_a_lossless_film_has_the_digests_of_the_recorded_frames(run: Run, tmp_path: Path) -> None:
    made = Recording(checkpoint_every=1).open().chunk(9).chunk(6, keyframe=False).seal()
    folder = write(tmp_path / "session", made.sealed())
    code, out, _ = run("frames", folder)
    assert code == 0
    expected = [line.split()[-1] for line in out.splitlines()]
    times = [int(line.split()[1]) for line in out.splitlines()]
    assert run("export", folder, "film.mkv")[0] == 0
    film = read_film(tmp_path / "film.mkv")
    assert (film.width, film.height) == (70, 50)
    assert film.digests() == expected
    assert film.times_s == [pytest.approx(t_ns / 1e9) for t_ns in times]
    assert film.length_s == pytest.approx(1.5)


def test_a_film_of_a_recording_with_a_pause_and_two_sizes(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    code, out, _ = run("export", folder, "film.mkv")
    assert code == 0
    assert "COMPLETE_WITH_GAPS" in out
    film = read_film(tmp_path / "film.mkv")
    assert (film.width, film.height) == (97, 50), "the largest of both sides"
    assert film.times_s == [
        pytest.approx(t) for t in (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 5.6, 5.7, 5.8)
    ]
    assert film.length_s == pytest.approx(5.9)
    pictures = recording().pictures
    shown = [*film.pictures[:6], *film.pictures[7:]]
    for picture, expected in zip(shown, pictures, strict=True):
        height, width, _ = expected.shape
        assert np.array_equal(picture[:height, :width], expected)
        assert not picture[height:].any()
        assert not picture[:, width:].any()
    card = film.pictures[6]
    assert (card[0, 0] == card[-1, -1]).all()
    assert card.std() > 3
    assert there(tmp_path) == {"film.mkv", "film.mkv.json"}


def test_the_account_says_what_the_film_is_of(run: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("export", folder, "film.mp4", "--json")
    assert code == 0
    account = json.loads(out)
    assert account == json.loads((tmp_path / "film.mp4.json").read_bytes())
    data = (tmp_path / "film.mp4").read_bytes()
    film = account["film"]
    assert film["sha256"] == hashlib.sha256(data).hexdigest()
    assert film["blake3"] == blake3(data).hexdigest()
    assert (film["size_bytes"], film["lossless"]) == (len(data), False)
    assert (film["width"], film["height"]) == (98, 50), "even sides"
    assert film["duration_ns"] == 59 * FRAME_NS
    verified = json.loads(run("verify", folder, "--json")[1])
    for field in ("session_id", "recorder", "verdict", "root_hash", "tree_size", "signed_size"):
        assert account[field] == verified[field]
    assert account["trust"]["status"] == "no policy"
    assert account["shown"]["whole"] is True
    assert account["shown"]["t1_ns"] == 3600 * 10**9 + 9 * FRAME_NS
    assert [part["what"] for part in account["parts"]] == ["pictures", "gap", "pictures"]
    gap = account["parts"][1]
    assert (gap["reason"], gap["film1_ns"] - gap["film0_ns"]) == ("pause", 5 * 10**9)
    assert (account["proof"], account["damaged"]) == (None, [])
    assert account["software"].startswith("session-recorder/")
    assert "FFmpeg" in account["libraries"]


def test_the_film_of_a_part_has_its_proof_beside_it(run: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("export", folder, "film.mkv", "--from", "0.35", "--to", "0.5")
    assert code == 0
    assert "recorder verify film.mkv.clip" in out
    film = read_film(tmp_path / "film.mkv")
    pictures = recording().pictures
    assert all(map(np.array_equal, film.pictures, pictures[3:5]))
    assert film.times_s == [0, pytest.approx(0.05)]
    assert film.length_s == pytest.approx(0.15)
    account = json.loads((tmp_path / "film.mkv.json").read_bytes())
    assert account["proof"] == "film.mkv.clip"
    assert account["shown"]["t0_ns"] == 350_000_000
    code, out, _ = run("verify", "film.mkv.clip")
    assert code == EXIT_CODES[Verdict.CLIP]
    assert account["root_hash"] in out
    again = run("export", "film.mkv.clip", "again.mkv", "--from", "0.35", "--to", "0.5")
    assert again[0] == 0
    assert (tmp_path / "again.mkv").read_bytes() == (tmp_path / "film.mkv").read_bytes()
    assert json.loads((tmp_path / "again.mkv.json").read_bytes())["verdict"] == "CLIP"


def test_a_part_by_the_wall_clock_to_the_end_without_proof(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    ended = run("export", folder, "film.mkv", "--from", "2025-10-09T09:53:20.75Z", "--no-proof")
    assert ended[0] == 0
    account = json.loads((tmp_path / "film.mkv.json").read_bytes())
    assert account["shown"]["t0_ns"] == 3600 * 10**9 + 750_000_000
    assert account["shown"]["wall0_ns"] == WALL_NS + 3600 * 10**9 + 750_000_000
    assert account["proof"] is None
    assert there(tmp_path) == {"film.mkv", "film.mkv.json"}


def test_a_constant_rate_and_burnt_time(run: Run, folder: Path, tmp_path: Path) -> None:
    ended = run("export", folder, "film.mkv", "--fps", "20", "--burn-time", "--to", "0.6")
    assert ended[0] == 0
    film = read_film(tmp_path / "film.mkv")
    assert film.times_s == [pytest.approx(n / 20) for n in range(12)]
    assert film.pictures[0][40:].max() > 150, "the time is drawn at the bottom"
    assert not np.array_equal(film.pictures[0], film.pictures[1]), "and goes on"


def test_a_still_desktop_is_written_once_a_second(run: Run, tmp_path: Path) -> None:
    encoder = FrameEncoder()
    still = np.full((50, 70, 3), 90, np.uint8)
    plain = b"".join(
        encoder.encode(
            still, unit=n, t_ns=n * FRAME_NS, wall_ns=WALL_NS + n * FRAME_NS, keyframe=not n
        ).data
        for n in range(30)
    )
    made = Recording(checkpoint_every=1).open().chunk(30, plain=plain).seal()
    folder = write(tmp_path / "session", made.sealed())
    assert run("export", folder, "film.mp4")[0] == 0
    film = read_film(tmp_path / "film.mp4")
    assert film.times_s == [pytest.approx(n) for n in range(3)]
    assert film.length_s == pytest.approx(3, abs=0.01)
    assert run("export", folder, "film.mkv")[0] == 0
    assert len(read_film(tmp_path / "film.mkv").pictures) == 30, "a lossless film has them all"


@pytest.mark.parametrize("number", [1, 2])
def test_a_tampered_recording_is_refused(
    run: Run, folder: Path, tmp_path: Path, number: int
) -> None:
    tamper(folder, number)
    ended = run("export", folder, "film.mp4")
    assert ended[0] == EXIT_CODES[Verdict.TAMPERED]
    assert "found TAMPERED; nothing was made" in text(ended)
    assert there(tmp_path) == set()


def test_a_tampered_recording_is_shown_as_what_it_is_when_asked(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    tamper(folder, 1)
    ended = run("export", folder, "film.mkv", "--tampered-too", "--from", "0", "--to", "0.6")
    assert ended[0] == EXIT_CODES[Verdict.TAMPERED]
    assert "1 chunks" in text(ended)
    account = json.loads((tmp_path / "film.mkv.json").read_bytes())
    assert account["verdict"] == "TAMPERED"
    assert account["damaged"] == ["chunks/0000000001.zst"]
    assert account["proof"] is None
    whats = [part["what"] for part in account["parts"]]
    assert whats == ["not verified", "damaged", "unplayable"]
    assert len(read_film(tmp_path / "film.mkv").pictures) == 3
    assert there(tmp_path) == {"film.mkv", "film.mkv.json"}


def test_a_recording_by_another_key_than_the_trusted_is_refused(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    for seed, code in ((1, 0), (2, EXIT_UNTRUSTED)):
        key = device_key(seed).public_key().public_bytes_raw().hex()
        policy = tmp_path / f"trust-{seed}.yaml"
        policy.write_text(f'keys:\n  - name: lab 7\n    public_key: "{key}"\n')
        ended = run("export", folder, f"{seed}.mp4", "--trust", policy)
        assert ended[0] == code
    assert "one that is not as --trust asks; nothing was made" in text(ended)
    assert not (tmp_path / "2.mp4").exists()
    assert json.loads((tmp_path / "1.mp4.json").read_bytes())["trust"]["name"] == "lab 7"


def test_what_is_there_is_not_replaced_unless_asked(run: Run, folder: Path, tmp_path: Path) -> None:
    part = ("--from", "0", "--to", "0.3")
    assert run("export", folder, "film.mkv", *part)[0] == 0
    before = (tmp_path / "film.mkv").read_bytes()
    ended = run("export", folder, "film.mkv", *part)
    assert ended[0] == 65
    assert "let --force replace it" in text(ended)
    assert (tmp_path / "film.mkv").read_bytes() == before
    assert run("export", folder, "film.mkv", "--force", "--to", "0.6")[0] == 0
    assert (tmp_path / "film.mkv").read_bytes() != before
    assert run("verify", "film.mkv.clip")[0] == EXIT_CODES[Verdict.CLIP]
    assert run("export", folder, "film.mkv", "--force")[0] == 0
    assert there(tmp_path) == {"film.mkv", "film.mkv.json"}


def test_a_folder_of_somebody_else_is_never_removed(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mkv.clip").mkdir()
    (tmp_path / "film.mkv.clip" / "mine").write_text("mine")
    ended = run("export", folder, "film.mkv", "--force")
    assert ended[0] == 65
    assert "expected nothing there" in text(ended)
    assert (tmp_path / "film.mkv.clip" / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("film.avi",), 65, "ends in .mp4 or .mkv"),
        (("session/film.mp4",), 2, "outside of the recording"),
        (("no/film.mp4",), 74, "expected a folder to write to"),
        (("film.mp4", "--from", "x"), 2, "expected seconds"),
        (("film.mp4", "--from", "0.3", "--to", "0.2"), 65, "a time before"),
        (("film.mp4", "--to", "9999999"), 65, "a time up to"),
        (("film.mp4", "--fps", "0"), 2, "--fps"),
        (("film.mp4", "--from", "0", "--to", "2025-10-09T08:53:21Z"), 2, "one clock"),
    ],
)
def test_what_cannot_be_made_is_refused(
    run: Run, folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = run("export", folder, *arguments)
    assert ended[0] == code
    assert said in text(ended)
    assert there(tmp_path) == set()


def test_a_session_without_anything_gives_no_film(run: Run, tmp_path: Path) -> None:
    folder = write(tmp_path / "session", Recording(checkpoint_every=1).open().seal().sealed())
    ended = run("export", folder, "film.mp4")
    assert ended[0] == 65
    assert "at least one chunk or gap" in text(ended)


def test_a_session_of_gaps_alone_gives_a_film_of_cards(run: Run, tmp_path: Path) -> None:
    made = Recording(checkpoint_every=1).open().gap(9).seal()
    folder = write(tmp_path / "session", made.sealed())
    assert run("export", folder, "film.mp4")[0] == 0
    film = read_film(tmp_path / "film.mp4")
    assert (film.width, film.height, len(film.pictures)) == (1280, 720, 1)


def test_a_recording_that_goes_on_gives_a_film_of_what_is_there(run: Run, tmp_path: Path) -> None:
    made = Recording(checkpoint_every=1).open().chunk().beat().chunk()
    folder = write(tmp_path / "session", made.journal())
    assert run("export", folder, "film.mkv", "--from", "0.1")[0] == 0
    assert json.loads((tmp_path / "film.mkv.json").read_bytes())["verdict"] == "TRUNCATED"
    assert len(read_film(tmp_path / "film.mkv").pictures) == 5


def test_an_encrypted_recording_needs_an_identity(run: Run, tmp_path: Path) -> None:
    writer = sealed_base(SignatureStore(reference_vectors.MADE_ONCE))
    folder = write(tmp_path / "session", writer.seal().sealed())
    (tmp_path / "identity").write_text(IDENTITY_FILE)
    ended = run("export", folder, "film.mkv")
    assert ended[0] == 65
    assert "--identity: expected an identity" in text(ended)
    assert run("export", folder, "film.mkv", "--identity", "identity")[0] == 0
    _, out, _ = run("frames", folder, "--identity", "identity")
    digests = [line.split()[-1] for line in out.splitlines()]
    assert set(read_film(tmp_path / "film.mkv").digests()) >= set(digests)
    assert run("frame", folder, "one.png", "--unit", "0")[0] == 65
    assert run("frame", folder, "one.png", "--unit", "0", "-i", "identity")[0] == 0


def test_a_chunk_that_changes_after_it_was_verified_gives_no_film(
    folder: Path, tmp_path: Path
) -> None:
    reader = FolderRecording(folder)
    report = verify(reader)
    tamper(folder, 2)
    request = FilmRequest(
        target=tmp_path / "film.mp4",
        window=None,
        options=FilmOptions(fps=None, cursor=True, burn_time=False),
    )
    with pytest.raises(BlobDamagedError, match="it was changed"):
        export_film(reader, report, request, None, lambda *_: None)
    assert there(tmp_path) == set()


def test_a_person_sees_how_far_it_is_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    screen = SafeConsole(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr("recorder_worker.cli.progress_bar.err", screen)
    with ProgressBar() as bar:
        bar.tell("looking", 10, 10)
        for done in range(6):
            bar.tell("writing", done * 10**9, 10 * 10**9)
    text = shown.getvalue()
    assert "looking" in text
    assert "writing" in text
    assert " 50%" in text
    assert re.search(r"\d:\d\d:\d\d", text), "how much longer"


# --- frame ---------------------------------------------------------------------------------------


def test_one_picture_is_written_pixel_by_pixel(run: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("frame", folder, "one.png", "--at", "0.45", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["index"], told["t_ns"], told["wall_ns"]) == (
        4,
        4 * FRAME_NS,
        WALL_NS + 4 * FRAME_NS,
    )
    picture = pixels(tmp_path / "one.png")
    expected = recording().pictures[4]
    assert np.array_equal(picture, expected)
    assert told["blake3"] == blake3(expected.tobytes()).hexdigest()
    code, out, _ = run("frame", folder, "two.png", "--at", "2025-10-09T08:53:20.45Z", "--cursor")
    assert code == 0
    assert told["blake3"] in out
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "one.png").read_bytes()
    assert run("frame", folder, "one.png", "--unit", "12", "--force")[0] == 0
    picture = pixels(tmp_path / "one.png")
    assert np.array_equal(picture, recording().pictures[7])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "one of --at and --unit"),
        (("--at", "1", "--unit", "1"), 2, "one of --at and --unit"),
        (("--at", "1"), 65, "1 s, in a gap from 0.6 s to 3600.6 s (pause)"),
        (("--unit", "99"), 65, "--unit: expected one inside of what was recorded"),
        (("--at", "2025-10-09T07:53:20.45Z"), 65, "a time from"),
    ],
)
def test_a_picture_that_is_not_there_is_refused(
    run: Run, folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = run("frame", folder, "one.png", *arguments)
    assert ended[0] == code
    assert said in text(ended)
    assert there(tmp_path) == set()


def test_a_picture_of_a_damaged_chunk_is_refused_and_others_are_given(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    tamper(folder, 1)
    ended = run("frame", folder, "one.png", "--unit", "4")
    assert ended[0] == 65
    assert "it was changed: see what `recorder verify` says" in text(ended)
    assert there(tmp_path) == set()
    assert run("frame", folder, "one.png", "--unit", "11")[0] == 0
    assert run("frame", folder, "one.png", "--unit", "11")[0] == 65
