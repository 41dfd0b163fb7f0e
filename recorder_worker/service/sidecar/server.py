"""The HTTP sidecar: health, metrics and a page to look at. Everything else is on the bus."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from recorder_worker.core.errors import SettingsError
from recorder_worker.service.observing.health import Check, Health
from recorder_worker.service.observing.metrics import CONTENT_TYPE, Metrics
from recorder_worker.service.settings.tree import SidecarSettings
from recorder_worker.service.sidecar.page import status_routes
from recorder_worker.service.sidecar.status import About, Status

OFF = -1

__all__ = ["About", "Sidecar"]


class Report(msgspec.Struct, frozen=True):
    """The body of every JSON answer. `failing` names the checks that are not well."""

    ok: bool
    failing: tuple[str, ...]
    checks: tuple[Check, ...]


class FullReport(msgspec.Struct, frozen=True):
    """The body of `/health`.

    `dead_letters_waiting`: that nobody has dealt with, of all stages; None where this process may
    not look. It is told and does not count: a restart would not help.
    """

    ok: bool
    version: str
    node: str
    stages: tuple[str, ...]
    sessions_active: int
    dead_letters_waiting: int | None
    failing: tuple[str, ...]
    checks: tuple[Check, ...]


class Sidecar:
    """Answers `/livez`, `/readyz`, `/health`, `/metrics` and, where there is one, `/status`.

    `before_scrape` is awaited before metrics are rendered, for gauges that are read on demand.
    `status` gives what the page shows; None: there is no page.
    """

    def __init__(
        self,
        settings: SidecarSettings,
        *,
        about: About,
        health: Health,
        metrics: Metrics,
        sessions_active: Callable[[], int],
        dead_letters_waiting: Callable[[], int | None] = lambda: None,
        before_scrape: Callable[[], Awaitable[None]] | None = None,
        status: Callable[[], Awaitable[Status]] | None = None,
    ) -> None:
        self._settings = settings
        self.about = about
        self._health = health
        self._metrics = metrics
        self._sessions_active = sessions_active
        self._dead_letters_waiting = dead_letters_waiting
        self._before_scrape = before_scrape
        self._status = status
        self._runner: web.AppRunner | None = None
        self._port = OFF

    @property
    def port(self) -> int:
        """The port that is listened on; -1 where the sidecar is off or not started."""
        return self._port

    async def start(self) -> None:
        """Listen, unless the port is -1.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        host, port = self._settings.host, self._settings.port
        if port == OFF:
            return
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/health", self._full),
                web.get("/metrics", self._scrape),
            ]
        )
        if self._status is not None:
            app.add_routes(status_routes(self._status))
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise _cannot_listen(host, port, error) from error
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; harmless when repeated."""
        runner, self._runner, self._port = self._runner, None, OFF
        if runner is not None:
            await runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        check = self._health.live()
        return _answer(_report(check.ok, [check]))

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(_report(*self._health.ready()))

    async def _full(self, _request: web.Request) -> web.Response:
        report = _report(*self._health.ready())
        full = FullReport(
            ok=report.ok,
            version=self.about.version,
            node=self.about.node,
            stages=self.about.stages,
            sessions_active=self._sessions_active(),
            dead_letters_waiting=self._dead_letters_waiting(),
            failing=report.failing,
            checks=report.checks,
        )
        # 200 in any case: whoever asks for the whole report wants to read it, /readyz judges.
        return _answer(full, status=200)

    async def _scrape(self, _request: web.Request) -> web.Response:
        self._metrics.sessions_active(self._sessions_active())
        if self._before_scrape is not None:
            await self._before_scrape()
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})


def _report(ok: bool, checks: list[Check]) -> Report:  # noqa: FBT001  (unpacked from ready())
    failing = tuple(check.name for check in checks if not check.ok)
    return Report(ok, failing, tuple(checks))


def _answer(body: Report | FullReport, status: int | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status or (200 if body.ok else 503),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _cannot_listen(host: str, port: int, error: OSError) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        found = "that another program listens there"
    else:
        found = error.strerror or str(error)
    return SettingsError(
        f"sidecar.port: expected to listen on {host}:{port}, found {found}; "
        f"stop that program or set RECORDER_SIDECAR__PORT (0: a free port, -1: no sidecar)"
    )
