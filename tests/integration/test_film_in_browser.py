"""An exported film plays in a real Chromium: it loads, is as long and large, seeks, has colours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from chromium import needs_chromium, open_page
from films import write_film
from packet_recordings import Film, PacketRecording
from recording_files import write
from recordings import FRAME_NS, WALL_NS, Recording
from worker_process import run_recorder

from recorder_worker.core.frames.encoder import FrameEncoder

SIZE = (321, 181)
COLOURS = [(200, 40, 30), (20, 180, 60), (40, 50, 220), (128, 128, 128)]
"""BGR, one a second. With the matrix of another standard some are off by more than twenty."""
PAGE = """<!doctype html><meta charset="utf-8"><title>film</title><link rel="icon" href="data:,">
<video src="film.mp4" muted preload="auto"></video><script>
const video = document.querySelector("video");
function said(name) {
  return new Promise((done, failed) => {
    video.addEventListener(name, done, { once: true });
    video.addEventListener("error", () => failed(new Error(video.error.message)), { once: true });
  });
}
async function loaded() {
  if (video.readyState < 2) await said("loadeddata");
  return [video.videoWidth, video.videoHeight, video.duration];
}
async function colourAt(seconds, x, y) {
  const there = said("seeked");
  video.currentTime = seconds;
  await there;
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0);
  return Array.from(context.getImageData(x, y, 1, 1).data);
}
async function playedThrough() {
  video.currentTime = 0;
  video.playbackRate = 8;
  const ended = said("ended");
  await video.play();
  await ended;
  return video.getVideoPlaybackQuality().totalVideoFrames;
}
</script>"""


def coloured(tmp_path: Path) -> Path:
    """Four seconds, each of one colour with a dark corner, at 10 frames a second."""
    encoder = FrameEncoder()
    plain = b""
    for unit in range(40):
        picture = np.full((SIZE[1], SIZE[0], 3), COLOURS[unit // 10], np.uint8)
        picture[:40, :40] = unit
        t_ns = unit * FRAME_NS
        plain += encoder.encode(
            picture, unit=unit, t_ns=t_ns, wall_ns=WALL_NS + t_ns, keyframe=not unit
        ).data
    made = Recording(checkpoint_every=1).open().chunk(40, plain=plain, size=SIZE).gap(3)
    return write(tmp_path / "session", made.chunk(2, size=SIZE).seal().sealed())


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """The folder over HTTP on loopback, with ranges, as any web server gives files."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/index.html"
    finally:
        await runner.cleanup()


@needs_chromium
async def test_an_exported_film_plays_and_seeks_in_a_browser(tmp_path: Path) -> None:
    ended = run_recorder("export", str(coloured(tmp_path)), "film.mp4", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (tmp_path / "index.html").write_text(PAGE, encoding="utf-8")
    async with (
        served(tmp_path) as url,
        open_page(url, width=800, height=600) as (page, said),
    ):
        width, height, length_s = await page.evaluate("loaded()")
        assert (width, height) == (322, 182)
        assert length_s == pytest.approx(4 + 3 + 0.2, abs=0.02)
        for second in (2, 0, 3, 1):
            for at in (second + 0.05, second + 0.95):
                red, green, blue, alpha = await page.evaluate(f"colourAt({at}, 200, 100)")
                found = (blue, green, red)
                assert np.abs(np.subtract(found, COLOURS[second])).max() <= 12, (at, found)
                assert alpha == 255
        card = await page.evaluate("colourAt(5.5, 5, 5)")
        assert np.abs(np.subtract(card, (38, 46, 58, 255))).max() <= 8, "the card of the gap"
        assert await page.evaluate("playedThrough()") > 10
        assert said == []


@needs_chromium
async def test_a_film_of_copied_packets_plays_over_a_gap_in_a_browser(tmp_path: Path) -> None:
    film = Film(write_film(tmp_path / "source.mp4"))
    made = PacketRecording(checkpoint_every=1)
    made.open()
    made.packets(film, 0, 1).gap(3, duration_ns=3 * 10**9)
    write(tmp_path / "session", made.packets(film, 2, 3).seal().sealed())
    ended = run_recorder("export", str(tmp_path / "session"), "film.mp4", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (tmp_path / "index.html").write_text(PAGE, encoding="utf-8")
    async with (
        served(tmp_path) as url,
        open_page(url, width=800, height=600) as (page, said),
    ):
        width, height, length_s = await page.evaluate("loaded()")
        assert (width, height) == (96, 64)
        assert length_s == pytest.approx(1 + 3 + 1, abs=0.1)
        # Unit 9 begins at 63 from the left, and stays until unit 10 comes at 70 behind the gap.
        shown = [await page.evaluate(f"colourAt({at}, 66, 30)") for at in (0.95, 2.5, 4.05)]
        assert np.abs(np.subtract(shown[0], shown[1])).max() <= 8, shown
        assert np.abs(np.subtract(shown[1], shown[2])).max() > 40, shown
        assert await page.evaluate("playedThrough()") > 5
        assert said == []
