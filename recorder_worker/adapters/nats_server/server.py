"""Starts, watches and stops the embedded nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import signal
import socket
from collections import deque

import structlog

from recorder_worker.adapters.nats_server.binary import find_program
from recorder_worker.adapters.nats_server.config import (
    FREE_PORT,
    HOST,
    NatsServerOptions,
    write_config,
)
from recorder_worker.adapters.nats_server.lifeline import bound_command, take_lock
from recorder_worker.adapters.nats_server.probe import jetstream_answers, read_port
from recorder_worker.adapters.nats_server.write_faults import WriteFaults
from recorder_worker.core.errors import BusUnavailableError, SettingsError

_POLL_S = 0.02
_PROBE_TIMEOUT_S = 2.0
_RESTART_WAITS_S = (0.2, 1.0, 2.0, 5.0, 10.0)
_STEADY_S = 60.0
_TAIL_LINES = 8
_LINE = re.compile(r"^(?:\[\d+\] )?\[(?P<level>[A-Z]{3})\] ?(?P<text>.*)$")
_LEVELS = {"WRN": logging.WARNING, "ERR": logging.WARNING, "FTL": logging.WARNING}
"""No more than warnings: what it could not do is asked for again, or it ends and that is said."""

log = structlog.get_logger("nats-server")


class NatsServer:
    """One embedded server.

    `start` from the event loop of the main thread, so that the server dies with us. When it exits
    unasked it is started again on the same port, to which clients reconnect by themselves; so it
    is when its disk was full and has room again.
    """

    def __init__(self, options: NatsServerOptions) -> None:
        self._options = options
        self._port = options.port
        self._lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._faults = WriteFaults(options.folder)
        self._mending: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._ready = False
        self.restarts = 0

    @property
    def url(self) -> str:
        """Where clients connect, without credentials. Raises RuntimeError before `start`."""
        if self._port == FREE_PORT:
            raise RuntimeError("nats-server: the port is known after start(); await it first")
        return f"nats://{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the server runs and JetStream has answered since it started."""
        return self._ready

    async def start(self) -> None:
        """Start the server and wait until JetStream answers.

        Raises:
            SettingsError: the port or the folder is taken or unusable, or there is no program.
            BusUnavailableError: the server does not come up; the text has its last lines.
        """
        try:
            self._options.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = await take_lock(self._options.lock_file)
        except OSError as error:
            raise SettingsError(
                f"data_dir: expected to write {self._options.folder}, found: {error.strerror}; "
                f"give this user the right, or set RECORDER_DATA_DIR"
            ) from error
        try:
            await self._launch()
        except OSError as error:
            await self.stop()
            raise BusUnavailableError(
                f"nats-server: expected to start it in {self._options.folder}, found: {error}; "
                f"correct that, or set RECORDER_NATS__URL to a server that runs"
            ) from error
        except BaseException:
            await self.stop()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="nats-server")
        self._mending = asyncio.create_task(self._mend(), name="nats-server-mending")

    async def stop(self) -> None:
        """Stop the server and let go of its folder; harmless when repeated."""
        watching = [task for task in (self._mending, self._supervisor) if task is not None]
        self._mending = self._supervisor = None
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        await self._terminate()
        reading, self._reading = self._reading, None
        if reading is not None:
            await asyncio.gather(reading, return_exceptions=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _launch(self) -> None:
        program = find_program()
        _refuse_taken_port(self._port)
        config = write_config(self._options, self._port)
        command, before_exec = bound_command([str(program), "-c", str(config.absolute())])
        self._tail.clear()
        self._process = await asyncio.create_subprocess_exec(
            *command,
            # And nothing else: the keys and tokens of ours are none of its business.
            env={"GOMEMLIMIT": str(self._options.memory_bytes)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=() if self._lock is None else (self._lock,),
            preexec_fn=before_exec,
            # Ctrl-C reaches a whole session: we stop first, then the server that we need for it.
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read_log(self._process), name="nats-server-log")
        try:
            self._port = await self._until_ready(self._process)
        except BaseException:
            await self._terminate()
            raise
        self._ready = True
        log.info("NatsServerStarted", url=self.url, pid=self._process.pid)

    async def _until_ready(self, process: asyncio.subprocess.Process) -> int:
        """Wait until JetStream answers; returns the port."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.ready_timeout_s):
                while process.returncode is None:
                    port = read_port(self._options.ports_folder, process.pid)
                    if port is not None and await self._answers(port):
                        return port
                    await asyncio.sleep(_POLL_S)
        await asyncio.sleep(_POLL_S)  # let its last lines arrive
        state = (
            f"it did not answer within {self._options.ready_timeout_s:g} s"
            if process.returncode is None
            else f"it exited with code {process.returncode}"
        )
        raise BusUnavailableError(
            f"nats-server: expected it to start on {HOST}:{self._port}, but {state}; its last "
            f"lines: {' | '.join(self._tail) or 'none'}"
        )

    async def _answers(self, port: int) -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                return await jetstream_answers(port, self._options)
        except TimeoutError:
            return False

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is None:
            raise RuntimeError("nats-server: started without a pipe for its log")
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                continue  # a line over the reader's limit; what follows it is read
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            self._faults.hear(process.pid, text)
            _log_line(text)

    async def _supervise(self) -> None:
        """Start the server again whenever it exits unasked, waiting longer each time."""
        failures = 0
        clock = asyncio.get_running_loop()
        while True:
            began_s = clock.time()
            if self._process is not None:
                code = await self._process.wait()
                self._ready, self._process = False, None
                # WARN, not ERROR: what was acknowledged is on the disk and will be back.
                log.warning("NatsServerExited", code=code, last_lines=list(self._tail))
            if clock.time() - began_s > _STEADY_S:
                failures = 0
            await asyncio.sleep(_RESTART_WAITS_S[min(failures, len(_RESTART_WAITS_S) - 1)])
            failures += 1
            try:
                await self._launch()
            except (SettingsError, BusUnavailableError, OSError) as error:
                log.error("NatsServerNotRestarted", reason=str(error), attempt=failures)  # noqa: TRY400  (the text says it all)
            else:
                self.restarts += 1

    async def _mend(self) -> None:
        """End a server that can write no more; the supervisor starts it again."""
        while True:
            pid = await self._faults.cured()
            process = self._process
            if process is not None and process.pid == pid:
                log.warning("NatsServerRestarted", pid=pid, why="its disk takes files again")
                await self._end(process)

    async def _terminate(self) -> None:
        process, self._process = self._process, None
        self._ready = False
        if process is not None:
            await self._end(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._options.stop_timeout_s):
                await process.wait()
        except TimeoutError:
            log.warning("NatsServerKilled", after_s=self._options.stop_timeout_s)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _log_line(text: str) -> None:
    found = _LINE.match(text)
    if found is None:
        log.info("NatsServerSaid", text=text)
    elif found["text"].strip():
        # Its [INF] is a banner of twenty lines at every start.
        level = _LEVELS.get(found["level"], logging.DEBUG)
        log.log(level, "NatsServerSaid", text=found["text"])


def _refuse_taken_port(port: int) -> None:
    """Say clearly what nats-server would only log. Raises SettingsError."""
    if port == FREE_PORT:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            found = "another program listens there" if error.errno == errno.EADDRINUSE else error
            raise SettingsError(
                f"nats.port: expected {HOST}:{port} to be free, found: {found}; set "
                f"RECORDER_NATS__URL=nats://{HOST}:{port} if that is the nats-server to use, or "
                f"RECORDER_NATS__PORT=-1 for a free port"
            ) from error
