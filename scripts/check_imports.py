#!/usr/bin/env python3
"""Imports every module of the recorder: what a build of the image does in both of its stages.

Better asked then than at the first recording. Where the image leaves libxcb out (X11=0), the
modules that load it are allowed to fail, and no others.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import recorder_worker


def main() -> None:
    """Exits with a line for each module that cannot be imported, or says how many can."""
    may_miss_x11 = os.environ.get("X11") == "0"
    failed = []
    count = 0
    for module in pkgutil.walk_packages(recorder_worker.__path__, "recorder_worker."):
        try:
            importlib.import_module(module.name)
        except (ImportError, OSError) as error:
            if not (may_miss_x11 and "xcb" in str(error)):
                failed.append(f"{module.name}: {error}")
        else:
            count += 1
    if failed:
        sys.exit("expected every module to be imported, failed:\n" + "\n".join(failed))
    sys.stdout.write(f"Python {sys.version.split()[0]} imports {count} modules\n")


if __name__ == "__main__":
    main()
