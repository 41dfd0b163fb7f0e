"""The `recorder` command as a later version: what it publishes and stores has the next number.

`python tests/newer_recorder.py run` beside `recorder run` is a fleet of two versions.
"""

from __future__ import annotations

from recorder_worker.core import model

# Before anything else is imported: the default of every event is taken when its type is made.
model.SCHEMA_VERSION += 1

from recorder_worker.cli.main import main  # noqa: E402  (behind the change above)

if __name__ == "__main__":
    main()
