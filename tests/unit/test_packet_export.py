"""`recorder export` and `frame` of copied packets: bit by bit, and what cannot be shown."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from blake3 import blake3
from called_recorder import Run, pixels, text, there
from films import decoded, packets, times, write_film
from packet_recordings import Film, PacketRecording
from read_films import read_film
from recording_files import write
from recordings import FRAME_NS, WALL_NS

from recorder_worker.adapters.folder import FolderRecording
from recorder_worker.core.errors import BlobDamagedError
from recorder_worker.core.model import GapReason
from recorder_worker.core.screening.account import FilmOptions
from recorder_worker.core.verify import verify
from recorder_worker.core.verify.verdicts import EXIT_CODES, Verdict
from recorder_worker.service.films.export import FilmRequest
from recorder_worker.service.films.packet_export import export_packets


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Six groups of five pictures, and sound."""
    return Film(write_film(tmp_path_factory.mktemp("film") / "a.mp4"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Without sound, and with pictures in another order than they are shown in."""
    path = tmp_path_factory.mktemp("film") / "b.mp4"
    return Film(write_film(path, audio=None, reorder=2))


def recording() -> PacketRecording:
    made = PacketRecording(checkpoint_every=1)
    made.open()
    return made


@pytest.fixture
def folder(film: Film, tmp_path: Path) -> Path:
    """1 units 0-9, 2 units 10-14, 3 a gap of an hour, 4 units 20-29 behind 5 lost ones."""
    made = recording().packets(film, 0, 1).packets(film, 2)
    made.gap(5, GapReason.SOURCE_LOST, duration_ns=3600 * 10**9)
    return write(tmp_path / "session", made.packets(film, 3, 4).seal().sealed())


def account_of(film: Path) -> dict[str, Any]:
    account: dict[str, Any] = json.loads(film.with_name(film.name + ".json").read_bytes())
    return account


def damage(folder: Path, number: int) -> None:
    path = folder / "chunks" / f"{number:010d}.raw"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("form", ["mp4", "mov", "mkv"])
def test_a_film_has_the_packets_that_were_recorded(
    run: Run, film: Film, tmp_path: Path, form: str
) -> None:
    made = recording().packets(film, 0, 1).packets(film, 2, 3, split=2).packets(film, 4, 5)
    folder = write(tmp_path / "session", made.seal().sealed())
    ended = run("export", folder, f"film.{form}")
    assert ended[0] == 0, ended
    path = tmp_path / f"film.{form}"
    assert packets(path) == film.packets()
    assert packets(path, "audio") == film.packets(video=False)
    assert [float(each) for each in times(path)] == [pytest.approx(n / 10) for n in range(30)]
    assert decoded(path.read_bytes()) == 30
    assert "COMPLETE" in ended[1]
    account = account_of(path)
    assert account["film"]["frame_count"] == 30
    assert account["film"]["duration_ns"] == 3 * 10**9
    assert account["film"]["codec"] == "H.264, AAC 44100 Hz, packets as recorded"
    assert (account["sound_count"], account["sound_left_out"]) == (
        len(film.packets(video=False)),
        0,
    )
    assert account["options"] == {"fps": None, "cursor": False, "burn_time": False}
    assert there(tmp_path) == {path.name, f"{path.name}.json"}


@pytest.mark.parametrize("form", ["mp4", "mkv"])
def test_pictures_in_another_order_than_they_are_shown_keep_it(
    run: Run, other: Film, tmp_path: Path, form: str
) -> None:
    made = recording().packets(other, 0, 1, 2).packets(other, 3, 4, 5)
    folder = write(tmp_path / "session", made.seal().sealed())
    assert run("export", folder, f"film.{form}")[0] == 0
    path = tmp_path / f"film.{form}"
    assert packets(path) == other.packets()
    shown = [packet.pts - other.groups[0][0].pts for group in other.groups for packet in group]
    tick = other.tracks.tick
    assert [float(each) for each in times(path)] == [pytest.approx(float(t * tick)) for t in shown]


def test_a_gap_stays_as_time_without_pictures(
    run: Run, folder: Path, film: Film, tmp_path: Path
) -> None:
    ended = run("export", folder, "film.mp4")
    assert ended[0] == 0, ended
    assert "1.500 s to 3601.500 s (source lost)" in text(ended)
    path = tmp_path / "film.mp4"
    assert packets(path) == film.packets()[:25]
    shown = [float(each) for each in times(path)]
    assert shown[14:16] == [pytest.approx(1.4), pytest.approx(3601.5)]
    account = account_of(path)
    assert account["verdict"] == "COMPLETE_WITH_GAPS"
    assert account["shown"]["whole"] is True
    told = [(p["what"], p["film0_ns"], p["film1_ns"], p["t0_ns"]) for p in account["parts"]]
    second = 10**9
    assert told == [
        ("pictures", 0, 15 * FRAME_NS, 0),
        ("gap", 15 * FRAME_NS, 3600 * second + 15 * FRAME_NS, 15 * FRAME_NS),
        (
            "pictures",
            3600 * second + 15 * FRAME_NS,
            3600 * second + 25 * FRAME_NS,
            3600 * second + 15 * FRAME_NS,
        ),
    ]
    assert account["parts"][1]["lost_units"] == 5
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        at = [
            float((packet.pts or 0) * (packet.time_base or Fraction(1)))
            for packet in container.demux(sound)
            if packet.size
        ]
    assert min(abs(each - 3601.5) for each in at) < 0.1, "the sound goes on with the pictures"


@pytest.mark.parametrize(
    ("asked", "units", "shown"),
    [
        (("0.6", "0.9"), (5, 10), (5, 10)),
        (("0.5", "1.0"), (5, 10), (5, 10)),
        (("0.7", "1.1"), (5, 15), (5, 15)),
        (("1.2", "1.3"), (10, 15), (10, 15)),
        (("0", "0.1"), (0, 5), (0, 5)),
    ],
)
def test_a_part_is_cut_at_keyframes_and_proved(
    run: Run,
    folder: Path,
    film: Film,
    tmp_path: Path,
    asked: tuple[str, str],
    units: tuple[int, int],
    shown: tuple[int, int],
) -> None:
    ended = run("export", folder, "film.mp4", "--from", asked[0], "--to", asked[1])
    assert ended[0] == 0, ended
    path = tmp_path / "film.mp4"
    assert packets(path) == film.packets()[units[0] : units[1]]
    assert decoded(path.read_bytes()) == units[1] - units[0]
    account = account_of(path)
    reach = account["shown"]
    assert (reach["t0_ns"], reach["t1_ns"]) == (shown[0] * FRAME_NS, shown[1] * FRAME_NS)
    assert reach["whole"] is False
    assert account["asked"]["begin_ns"] == round(float(asked[0]) * 1e9)
    exact = (float(asked[0]) * 10, float(asked[1]) * 10) == shown
    assert ("at keyframes" in text(ended)) is not exact
    heard = packets(path, "audio")
    assert heard == [each for each in film.packets(video=False) if each in heard]
    code, out, _ = run("verify", "film.mp4.clip")
    assert code == EXIT_CODES[Verdict.CLIP]
    assert account["root_hash"] in out
    again = run("export", "film.mp4.clip", "again.mp4", "--from", asked[0], "--to", asked[1])
    assert again[0] == 0, again
    assert (tmp_path / "again.mp4").read_bytes() == path.read_bytes()


def test_a_part_by_the_wall_clock_says_what_was_asked(
    run: Run, folder: Path, film: Film, tmp_path: Path
) -> None:
    asked = ("--from", "2025-10-09T08:53:20.6Z", "--to", "2025-10-09T08:53:20.9Z", "--no-proof")
    ended = run("export", folder, "film.mp4", *asked)
    assert ended[0] == 0, ended
    assert packets(tmp_path / "film.mp4") == film.packets()[5:10]
    account = account_of(tmp_path / "film.mp4")
    assert account["asked"] == {
        "begin_ns": WALL_NS + 6 * FRAME_NS,
        "end_ns": WALL_NS + 9 * FRAME_NS,
        "wall": True,
    }
    assert account["shown"]["wall0_ns"] == WALL_NS + 5 * FRAME_NS
    assert account["shown"]["wall1_ns"] == WALL_NS + 10 * FRAME_NS
    assert there(tmp_path) == {"film.mp4", "film.mp4.json"}


def test_sound_that_a_source_gave_twice_is_there_once(run: Run, tmp_path: Path) -> None:
    twice = Film(write_film(tmp_path / "a.mp4"))
    whole = [each.data for group in twice.groups[:2] for each in group if not each.video]
    last = [packet for packet in twice.groups[0] if not packet.video][-2:]
    first = next(at for at, packet in enumerate(twice.groups[1]) if not packet.video)
    twice.groups[1][first:first] = last
    made = recording().packets(twice, 0).packets(twice, 1)
    folder = write(tmp_path / "session", made.seal().sealed())
    ended = run("export", folder, "film.mp4")
    assert ended[0] == 0, ended
    assert "2 packets of sound that were there twice" in text(ended)
    assert packets(tmp_path / "film.mp4", "audio") == whole
    assert account_of(tmp_path / "film.mp4")["sound_left_out"] == 2


def test_a_part_that_ends_within_chunks_without_keyframes_goes_on_to_the_next(
    run: Run, film: Film, tmp_path: Path
) -> None:
    made = recording().packets(film, 0, split=2).packets(film, 1)
    folder = write(tmp_path / "session", made.seal().sealed())
    assert run("export", folder, "film.mkv", "--from", "0.05", "--to", "0.15")[0] == 0
    assert packets(tmp_path / "film.mkv") == film.packets()[:5]
    assert run("export", folder, "end.mkv", "--from", "0.35")[0] == 0
    assert packets(tmp_path / "end.mkv") == film.packets()[:10]


def test_a_part_that_begins_in_a_gap_begins_with_the_keyframe_behind_it(
    run: Run, folder: Path, film: Film, tmp_path: Path
) -> None:
    assert run("export", folder, "film.mp4", "--from", "3600", "--to", "3601.6")[0] == 0
    assert packets(tmp_path / "film.mp4") == film.packets()[15:20]
    account = account_of(tmp_path / "film.mp4")
    assert [part["what"] for part in account["parts"]] == ["gap", "pictures"]
    assert [part["film0_ns"] for part in account["parts"]] == [0, 0]
    assert account["shown"]["t0_ns"] == 3600 * 10**9
    assert account["shown"]["t1_ns"] == 3602 * 10**9
    ended = run("export", folder, "none.mp4", "--from", "10", "--to", "20")
    assert ended[0] == 65
    assert "a part with a keyframe" in text(ended)


def test_a_tampered_chunk_is_refused_or_left_out_and_said(
    run: Run, folder: Path, film: Film, tmp_path: Path
) -> None:
    damage(folder, 1)
    ended = run("export", folder, "film.mp4")
    assert ended[0] == EXIT_CODES[Verdict.TAMPERED]
    assert there(tmp_path) == set()
    ended = run("export", folder, "film.mp4", "--tampered-too", "--to", "1.5")
    assert ended[0] == EXIT_CODES[Verdict.TAMPERED], ended
    assert "chunks/0000000001.raw was changed" in text(ended)
    assert packets(tmp_path / "film.mp4") == film.packets()[10:15]
    account = account_of(tmp_path / "film.mp4")
    assert account["damaged"] == ["chunks/0000000001.raw"]
    assert account["proof"] is None
    assert [part["what"] for part in account["parts"]] == ["damaged", "pictures"]


def test_what_builds_on_a_tampered_chunk_is_left_out_with_it(
    run: Run, film: Film, tmp_path: Path
) -> None:
    made = recording().packets(film, 0).packets(film, 1, split=2).packets(film, 2)
    folder = write(tmp_path / "session", made.seal().sealed())
    damage(folder, 2)
    assert run("export", folder, "film.mp4", "--tampered-too")[0] != 0
    assert packets(tmp_path / "film.mp4") == film.packets()[:5] + film.packets()[10:15]
    account = account_of(tmp_path / "film.mp4")
    whats = [part["what"] for part in account["parts"]]
    assert whats == ["pictures", "damaged", "unplayable", "pictures"]
    assert account["parts"][-1]["film0_ns"] == 10 * FRAME_NS


def test_a_chunk_that_is_changed_behind_the_verification_is_not_parsed(
    folder: Path, tmp_path: Path
) -> None:
    reader = FolderRecording(folder)
    report = verify(reader)
    damage(folder, 4)
    request = FilmRequest(
        target=tmp_path / "film.mp4",
        window=None,
        options=FilmOptions(fps=None, cursor=False, burn_time=False),
        packets=True,
    )
    with pytest.raises(BlobDamagedError, match="it was changed"):
        export_packets(reader, report, request, None, lambda *_: None)
    damage(folder, 4)

    def changes(what: str, done_ns: int, total_ns: int) -> None:
        assert done_ns <= total_ns
        if what == "writing" and not changed:
            changed.append(what)
            damage(folder, 4)

    changed: list[str] = []
    with pytest.raises(BlobDamagedError, match="it was changed"):
        export_packets(reader, report, request, None, changes)
    assert changed == ["writing"]
    assert there(tmp_path) == set()


def test_other_codecs_in_mid_recording_are_refused_with_the_place(
    run: Run, film: Film, other: Film, tmp_path: Path
) -> None:
    made = recording().packets(film, 0)
    made.gap(0, GapReason.SOURCE_LOST, duration_ns=FRAME_NS)
    folder = write(tmp_path / "session", made.packets(other, 0, 1).seal().sealed())
    ended = run("export", folder, "film.mp4")
    assert ended[0] == 65
    assert "from unit 5 on, at 0.600 s: H.264 96x64, before it H.264 96x64, AAC" in text(ended)
    assert "one with --to 600000000ns, one with --from 600000000ns" in text(ended)
    assert there(tmp_path) == set()
    assert run("export", folder, "1.mp4", "--to", "600000000ns")[0] == 0
    assert run("export", folder, "2.mp4", "--from", "600000000ns")[0] == 0
    assert packets(tmp_path / "1.mp4") == film.packets()[:5]
    assert packets(tmp_path / "2.mp4") == other.packets()[:10]


def test_sound_that_mp4_has_no_name_for_asks_for_another_form(run: Run, tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mov", "mjpeg", "pcm_mulaw", rate=8000)
    film = Film(path)
    folder = write(tmp_path / "session", recording().packets(film, *range(10)).seal().sealed())
    path.unlink()
    for form in ("mp4", "mkv"):
        ended = run("export", folder, f"film.{form}")
        assert ended[0] == 65
        assert "a name that ends in .mov, for sound in G.711 (mu-law)" in text(ended)
        assert there(tmp_path) == set()
    assert run("export", folder, "film.mov")[0] == 0
    assert packets(tmp_path / "film.mov") == film.packets()[:10]
    heard = b"".join(packets(tmp_path / "film.mov", "audio"))
    assert len(heard) > 7000
    assert b"".join(film.packets(video=False)).startswith(heard)


@pytest.mark.parametrize(("form", "code"), [("mp4", 0), ("mkv", 0), ("mov", 65)])
def test_a_container_that_has_no_name_for_a_codec_refuses_it(
    run: Run, tmp_path: Path, form: str, code: int
) -> None:
    path = write_film(tmp_path / "a.mkv", "libx265", "libopus", rate=48_000)
    film = Film(path)
    folder = write(tmp_path / "session", recording().packets(film, 0, 1).seal().sealed())
    path.unlink()
    ended = run("export", folder, f"film.{form}")
    assert ended[0] == code, ended
    if code:
        assert "a container that holds H.265 96x64 Opus" in text(ended)
        assert there(tmp_path) == set()
    else:
        assert packets(tmp_path / f"film.{form}") == film.packets()[: 2 * 5]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("film.mp4", "--fps", "5"), 65, "--fps: expected nothing that changes a picture"),
        (("film.mp4", "--burn-time"), 65, "--burn-time: expected nothing"),
        (("film.mp4", "--cursor"), 65, "--cursor: expected nothing"),
        (("film.avi",), 65, "ends in .mp4, .mov or .mkv"),
        (("film.mp4", "--from", "0.3", "--to", "0.2"), 65, "a time before"),
        (("film.mp4", "--to", "9999999"), 65, "a time up to"),
    ],
)
def test_what_cannot_be_made_is_refused(
    run: Run, folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = run("export", folder, *arguments)
    assert ended[0] == code, ended
    assert said in text(ended)
    assert there(tmp_path) == set()


def test_no_cursor_asks_for_nothing_that_packets_cannot_do(run: Run, folder: Path) -> None:
    assert run("export", folder, "film.mp4", "--no-cursor")[0] == 0
    assert run("export", folder, "film.mp4")[0] == 65, "the name is taken"
    assert run("export", folder, "film.mp4", "--force")[0] == 0


# --- frame ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reorder", [0, 2])
def test_one_picture_is_the_one_that_a_player_shows(run: Run, tmp_path: Path, reorder: int) -> None:
    path = write_film(tmp_path / "a.mp4", audio=None, reorder=reorder, group=10)
    film = Film(path)
    made = recording().packets(film, 0).packets(film, 1, split=4).packets(film, 2)
    folder = write(tmp_path / "session", made.seal().sealed())
    shown = read_film(path)
    groups = [each for group in film.groups for each in group]
    order = sorted(range(30), key=lambda unit: groups[unit].pts)
    for unit in (0, 3, 13, 16, 29):
        ended = run("frame", folder, f"{unit}.png", "--unit", unit, "--json")
        assert ended[0] == 0, ended
        told = json.loads(ended[1])
        assert (told["index"], told["t_ns"]) == (unit, unit * FRAME_NS)
        expected = shown.pictures[order.index(unit)]
        assert told["blake3"] == blake3(expected.tobytes()).hexdigest()
        assert np.array_equal(pixels(tmp_path / f"{unit}.png"), expected)
    assert "as FFmpeg decodes them" in run("frame", folder, "s.png", "--at", "1.35")[1]
    assert json.loads(run("frame", folder, "t.png", "--at", "1.35", "--json")[1])["index"] == 13
    assert json.loads(run("frame", folder, "u.png", "--at", "1.4", "--json")[1])["index"] == 14


def test_a_picture_out_of_a_gap_or_of_a_damaged_chunk_is_refused(run: Run, folder: Path) -> None:
    ended = run("frame", folder, "a.png", "--at", "100")
    assert ended[0] == 65
    assert "in a gap from" in text(ended)
    damage(folder, 2)
    ended = run("frame", folder, "a.png", "--at", "1.2")
    assert ended[0] == 65
    assert "it was changed" in text(ended)
    assert run("frame", folder, "a.png", "--at", "0.3")[0] == 0
