"""Logging, configured once: one line per event on stderr, JSON in production.

The standard library's loggers (FastStream, nats-py, aiohttp) come out in the same form. What
was bound with `structlog.contextvars` (session_id, stage) is on every line. Secrets are taken
out twice: values by the name of their key, and passwords in URLs wherever they stand in a line,
tracebacks included.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from recorder_worker.core.printable import printable_lines
from recorder_worker.service.settings.tree import LogSettings

HIDDEN = "***"

_SECRET_KEY = re.compile(
    r"(^|[_\-. ])(password|passwd|token|secret|authorization|api_?key|private_?key|seed)s?$",
    re.IGNORECASE,
)
_URL_CREDENTIALS = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.\-]*://)[^\s/@\"']+@", re.IGNORECASE)

# FastStream gives these handlers of their own and stops propagation; their lines would come out
# twice or in another form.
_OWN_HANDLERS = ("faststream",)


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send all logging to a stream; calling it again replaces what was configured.

    Args:
        settings: level and format.
        stream: where lines go; None means stderr, so that stdout stays for a command's output.
    """
    stream = sys.stderr if stream is None else stream
    console = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=_rendering(console=console, colors=stream.isatty()),
            foreign_pre_chain=_annotating(),
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _OWN_HANDLERS:
        adopt(logging.getLogger(name))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_annotating(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def adopt(logger: logging.Logger) -> None:
    """Let a library's logger come out as everything else does: for loggers made later."""
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    logger.propagate = True


def _annotating() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _rendering(*, console: bool, colors: bool) -> list[Processor]:
    chain: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if console:
        chain.append(_harmless)
        renderer: Processor = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=_harmless_traceback
        )
    else:
        chain.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(default=repr, ensure_ascii=False)
    return [*chain, redact, renderer, _redact_line]


def _harmless(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Control characters as what they are: a terminal must not do what a client's text says."""
    return {
        key: printable_lines(value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _harmless_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(printable_lines(text.getvalue()))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace values whose key names a secret, at any depth."""
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


def _redacted(key: str, value: Any) -> Any:  # noqa: ANN401  (log values are of any type)
    if _SECRET_KEY.search(key):
        return HIDDEN if value else value
    if isinstance(value, Mapping):
        return {name: _redacted(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", item) for item in value]
    return value


def without_credentials(text: str) -> str:
    """The text with user and password taken out of every URL in it."""
    return _URL_CREDENTIALS.sub(rf"\g<scheme>{HIDDEN}@", text)


def _redact_line(_logger: WrappedLogger, _method: str, line: Any) -> Any:  # noqa: ANN401  (as above)
    return without_credentials(line) if isinstance(line, str) else line
