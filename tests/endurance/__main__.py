"""`make outage`: store, server and disk fail for an hour, and everything has to be there behind it.

    make outage
    make outage OUTAGE_S=60
    make outage OUTAGE="store bus"

Three recorders, each with a trouble of its own at the same time: a second store that is away, a
nats-server that is away, a disk that is full; or those of them that are named. `OUTAGE_S` (3600)
is how long. Needs root, for the small disk, and Xvfb. Exit code 1 where anything is wrong.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from endurance.bus_away import BusAway
from endurance.disk_full import DiskFull
from endurance.plan import HOUR_S, Plan
from endurance.report import show
from endurance.site import Site
from endurance.store_away import StoreAway

SITES: dict[str, Callable[[Plan], Site]] = {
    "store": StoreAway,
    "bus": BusAway,
    "disk": DiskFull,
}


async def run_outage(plan: Plan, names: Sequence[str]) -> list[str]:
    """All at once; what is wrong."""
    begin_s = time.monotonic()
    async with AsyncExitStack() as stack:
        sites = [await stack.enter_async_context(SITES[name](plan)) for name in names]
        await asyncio.gather(*(site.settle() for site in sites))
        await asyncio.sleep(plan.scaled(60, 3.0))
        plan.begin()
        # A judge of one finds what it finds, also where the others have failed.
        for step in ("outage", "judge"):
            ended = await asyncio.gather(
                *(getattr(site, step)() for site in sites), return_exceptions=True
            )
            for site, error in zip(sites, ended, strict=True):
                if isinstance(error, Exception):
                    plan.need(held=False, text=f"{type(site).__name__}.{step}: {error!r}")
        show(plan, {type(site).__name__: site.watch for site in sites}, time.monotonic() - begin_s)
    return plan.wrong


def main() -> int:
    """Run in a temporary folder, which stays where something is wrong."""
    # As Ctrl-C: else servers and a mounted disk would be left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outage_s = float(os.environ.get("OUTAGE_S", str(HOUR_S)))
    folder = Path(tempfile.mkdtemp(prefix="outage-"))
    names = sys.argv[1:] or list(SITES)
    wrong = asyncio.run(run_outage(Plan(outage_s, folder), names))
    for text in wrong:
        print(f"WRONG: {text}")
    print("nothing is missing" if not wrong else f"{len(wrong)} things are wrong: {folder}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
