"""`recorder export` of what a real worker recorded; and what a kill leaves."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from read_films import read_film
from worker_process import (
    DEADLINE_S,
    WorkerProcess,
    run_recorder,
)

from recorder_worker.client import RecorderClient

LENGTH_S = 12
DEADLY = """
import os, signal
from itertools import count
from recorder_worker.service.films import export

put, frames = export.FilmWriter.put, count(1)


def deadly(self, *frame):
    put(self, *frame)
    if next(frames) == 100:
        os.kill(os.getpid(), signal.SIGKILL)


export.FilmWriter.put = deadly
"""
SOURCE = {
    "kind": "pattern",
    "width": 300,
    "height": 201,
    "frames": LENGTH_S * 10,
    "resize_every": 50,
    "pace": "fast",
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a session in which the size of the picture changes twice, over two chunks."""
    env = {"RECORDER_DISK__FLOOR_BYTES": "1"}
    with WorkerProcess(tmp_path_factory.mktemp("worker"), env=env) as worker:
        session = asyncio.run(sealed(worker.nats_url))
        yield worker.data_dir / "sessions" / session


async def sealed(url: str) -> str:
    async with RecorderClient.connect(url) as client:
        started = await client.start(SOURCE, timeout_s=DEADLINE_S)
        await client.wait_sealed(started.session_id, timeout_s=DEADLINE_S)
        return started.session_id


def test_a_lossless_film_of_a_real_session_has_every_pixel(recorded: Path, tmp_path: Path) -> None:
    ended = run_recorder("frames", str(recorded), "--json", folder=tmp_path)
    frames = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(frames) == LENGTH_S * 10
    ended = run_recorder("export", str(recorded), "film.mkv", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    film = read_film(tmp_path / "film.mkv")
    sizes = {(frame["width"], frame["height"]) for frame in frames}
    assert len(sizes) > 1
    assert (film.width, film.height) == tuple(map(max, zip(*sizes, strict=True)))
    for frame, picture, shown_s in zip(frames, film.pictures, film.times_s, strict=True):
        pixels = picture[: frame["height"], : frame["width"]].tobytes()
        assert blake3(pixels).hexdigest() == frame["blake3"]
        assert shown_s == pytest.approx(frame["t_ns"] / 1e9, abs=1e-3)
    assert film.length_s == pytest.approx(LENGTH_S)


def test_the_proof_of_a_part_and_one_picture_of_it_agree(recorded: Path, tmp_path: Path) -> None:
    part = ("--from", "10.5", "--to", "11")
    ended = run_recorder("export", str(recorded), "part.mkv", *part, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert run_recorder("verify", "part.mkv.clip", folder=tmp_path).returncode == 11
    picture = ("frame", "part.mkv.clip", "one.png", "--at", "10.55", "--json")
    told = json.loads(run_recorder(*picture, folder=tmp_path).stdout)
    film = read_film(tmp_path / "part.mkv")
    pixels = film.pictures[0][: told["height"], : told["width"]].tobytes()
    assert blake3(pixels).hexdigest() == told["blake3"]


def test_a_kill_leaves_nothing_under_the_final_names(recorded: Path, tmp_path: Path) -> None:
    # Planted from outside, so that it dies in the middle, however quick it is.
    hook = tmp_path / ".hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(DEADLY)
    words = ("export", str(recorded), "film.mp4", "--fps", "120", "--from", "0")
    killed = run_recorder(*words, folder=tmp_path, env={"PYTHONPATH": str(hook)})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(tmp_path.glob(".film.mp4-*"))
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    again = run_recorder("export", str(recorded), "film.mp4", "--from", "0", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert names == {"film.mp4", "film.mp4.json", "film.mp4.clip"}
