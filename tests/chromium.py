"""A real Chromium, the one of the system, for tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest
from playwright.async_api import Page, async_playwright

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DEADLINE_MS = 60_000.0
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium: scripts/setup-system.sh installs it"
)
Scheme = Literal["light", "dark"]


@asynccontextmanager
async def open_page(
    url: str, *, width: int, height: int, scheme: Scheme = "light"
) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page that is loaded, and the list of whatever its console says from now on."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=DEADLINE_MS
        )
        context = await browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        context.set_default_timeout(DEADLINE_MS)
        page = await context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        await page.goto(url)
        yield page, said
        await browser.close()
