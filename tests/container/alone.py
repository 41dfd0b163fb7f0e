"""One container with everything in it: no network, no shell, nothing to write but its volume."""

from __future__ import annotations

import json

from container.engine import Engine, SmokeError, until
from container.image import NAME, expect

HARDENED = (
    *("--read-only", "--tmpfs", "/tmp:size=64m", "--cap-drop", "ALL", "--pids-limit", "256"),
    *("--security-opt", "no-new-privileges", "--user", "65532:65532", "--memory", "1g"),
)
INSIDE = """
import os, subprocess
try:
    code = subprocess.run("exit 0", shell=True).returncode
except FileNotFoundError:
    code = 127
# Emulated, a program that is not there is no error, and only its exit code tells.
if code != 127:
    raise SystemExit("expected no shell in the image, found one")
for folder in ("/", "/app", "/usr", "/home/nonroot"):
    try:
        open(folder + "/written", "w")
    except OSError:
        continue
    raise SystemExit("expected that nothing can be written in " + folder)
open("/data/written", "w").close()
os.remove("/data/written")
raise SystemExit(0 if (os.getuid(), os.getgid()) == (65532, 65532) else "expected user 65532")
"""
EX_CONFIG = 78


def check_hardened(engine: Engine, image: str = NAME) -> None:
    """From within: no shell, no place to write but /data, not root."""
    engine("run", "--rm", "--network", "none", *HARDENED, "--volume", "/data",
           "--entrypoint", "/usr/bin/python3", image, "-c", INSIDE)  # fmt: skip


def check_wrong_setting(engine: Engine, image: str = NAME) -> None:
    """A setting that is wrong is named, and the container ends with the code for that."""
    code, said = engine.answer("run", "--rm", "--network", "none", *HARDENED,
                               "--env", "RECORDER_NATS__PORT=banana", image)  # fmt: skip
    expect(EX_CONFIG, code, "exit code with RECORDER_NATS__PORT=banana")
    for words in ("nats.port", "'banana' in RECORDER_NATS__PORT", "<= 65535"):
        if words not in said:
            raise SmokeError(f"message of a wrong setting: expected {words}, found: {said}")


def record(engine: Engine, name: str) -> None:
    """All stages and the embedded server in one locked-down container; verified inside of it."""
    engine("run", "--detach", "--name", name, "--network", "none", *HARDENED,
           "--volume", f"{name}:/data", NAME)  # fmt: skip
    try:
        until("the container is healthy", lambda: engine.health(name) == "healthy")
        started = engine("exec", name, "recorder", "start", "pattern", "--frames", "50",
                         "--pace", "fast", "--json")  # fmt: skip
        session_id = json.loads(started)["session_id"]

        def is_sealed() -> bool:
            rows = json.loads(engine("exec", name, "recorder", "ls", "--json"))
            return any(row["state"] == "sealed" for row in rows)

        until("the session is sealed", is_sealed)
        folder = f"/data/sessions/{session_id}"
        report = json.loads(engine("exec", name, "recorder", "verify", folder, "--json"))
        expect("COMPLETE", report["verdict"], "verdict inside the container")
        expect(50, report["totals"]["frame_count"], "frames recorded inside the container")
        engine("stop", "--time", "30", name)
        expect(0, engine.inspect(name)["State"]["ExitCode"], "exit code after stop")
    finally:
        engine("rm", "--force", name)
        engine("volume", "rm", "--force", name)
