"""What one step finds while the records pass by: the first of each kind in words, all counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recorder_worker.core.errors import RecorderError, UnsupportedError
from recorder_worker.core.printable import printable
from recorder_worker.core.verify.report import StepResult
from recorder_worker.core.verify.steps import TITLES, Status, Step, StepFailedError
from recorder_worker.core.verify.verdicts import PRECEDENCE, Verdict

MAX_SHOWN = 3
MAX_WARNINGS = 20


class Texts:
    """The first texts of many, and how many there were."""

    def __init__(self, limit: int) -> None:
        self.first: list[str] = []
        self.count = 0
        self._limit = limit

    def add(self, text: str) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < self._limit:
            self.first.append(text)

    @property
    def more(self) -> int:
        """How many are not among the first."""
        return self.count - len(self.first)


class Findings:
    """The failures and warnings of one step.

    Where it fails in several ways, the first verdict of `PRECEDENCE` is the step's. A step that
    has failed in none and has a reason to be left out is not reached; the first reason stands.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self._failures: dict[Verdict | None, Texts] = {}
        self._warnings = Texts(MAX_WARNINGS)
        self._reason = ""

    @property
    def failed(self) -> bool:
        """Whether anything was found that must not be."""
        return bool(self._failures)

    @property
    def reached(self) -> bool:
        """Whether nothing speaks against doing the step."""
        return not self._reason

    def fail(self, verdict: Verdict | None, text: str) -> None:
        """Something must not be; what it means. None: it is of trust, not of integrity."""
        self._failures.setdefault(verdict, Texts(MAX_SHOWN)).add(text)

    def tampered(self, text: str) -> None:
        """The failure of most steps."""
        self.fail(Verdict.TAMPERED, text)

    def warn(self, text: str) -> None:
        """Something is odd, and changes nothing in the verdict."""
        self._warnings.add(text)

    def leave_out(self, reason: str) -> None:
        """The step cannot be done, or not to its end, or need not be."""
        self._reason = self._reason or reason

    def caught(self, what: str, error: Exception) -> None:
        """Something was raised while files were read: no bytes whatever may stop a verification."""
        if isinstance(error, StepFailedError):
            self.fail(error.verdict, error.detail)
        elif isinstance(error, UnsupportedError):
            self.fail(Verdict.UNSUPPORTED, about(what, str(error)))
        elif isinstance(error, RecorderError):
            self.tampered(about(what, str(error)))
        else:
            self.tampered(f"{what}: cannot be read: {error!r}")

    @contextmanager
    def catching(self, what: str) -> Iterator[None]:
        """Whatever is raised inside is a finding, and stops nothing else."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  (no bytes whatever may stop a verification)
            self.caught(what, error)

    def result(self, detail: str) -> StepResult:
        """How the step ended; `detail` is what to say where all is well."""
        status, verdict = Status.OK, None
        if self._failures:
            status = Status.FAILED
            verdict = next((v for v in PRECEDENCE if v in self._failures), None)
            texts = self._failures[verdict]
            detail = "; ".join(texts.first) + (f"; and {texts.more} more" if texts.more else "")
        elif self._reason:
            status, detail = Status.NOT_REACHED, self._reason
        return StepResult(
            number=self.step,
            title=TITLES[self.step],
            status=status,
            detail=printable(detail),
            verdict=verdict,
        )

    def warnings(self) -> list[str]:
        """The first warnings, and how many more there were."""
        shown = [printable(text) for text in self._warnings.first]
        if self._warnings.more:
            shown.append(f"step {self.step:d}: {self._warnings.more} more warnings")
        return shown


def about(what: str, text: str) -> str:
    """A text with what it is about in front, once."""
    return text if text.startswith(f"{what}:") else f"{what}: {text}"
