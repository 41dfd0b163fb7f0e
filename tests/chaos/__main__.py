"""`make chaos`: breaks a whole recorder at random, and says whether anything was lost.

Exit codes: 0 nothing must be mended; 1 something must; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from chaos.run import Options, run_chaos
from chaos.storm import fresh_seed
from chaos.table import show
from rich.console import Console


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="draw this plan again; else a new one")
    parser.add_argument("--faults", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=240.0, help="no fault begins later")
    parser.add_argument("--cluster", type=int, choices=(1, 3), default=1, help="nats-servers")
    parser.add_argument("--sessions", type=int, default=4, help="at once")
    parser.add_argument("--together", action="store_true", help="stages share processes")
    parser.add_argument("--out", type=Path, help="an empty or new folder; else one in /tmp")
    given = parser.parse_args()
    options = Options(
        seed=fresh_seed() if given.seed is None else given.seed,
        faults=given.faults,
        seconds=given.seconds,
        servers=given.cluster,
        sessions=given.sessions,
        together=given.together,
    )
    folder = given.out or Path(tempfile.mkdtemp(prefix="chaos-"))
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"--out: expected an empty or new folder, found files in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=110 if not sys.stdout.isatty() else None)
    console.print(f"seed {options.seed}; plan, logs and recordings are in {folder}")
    outcome = asyncio.run(run_chaos(options, folder.resolve()))
    show(outcome, console)
    return 1 if outcome.all_problems else 0


if __name__ == "__main__":
    sys.exit(main())
