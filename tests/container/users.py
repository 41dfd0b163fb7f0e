"""The NATS users of compose.yaml, made by the line that its head has, and their logins."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from container.engine import ROOT, SmokeError

from recorder_worker.client import Login

HEAD = "#   recorder nats-conf "
CLIENT, ADMIN = "kiosk", "admin"


class Users:
    """A folder of `recorder nats-conf` that is nobody else's, until `forget`."""

    def __init__(self, port: int) -> None:
        self._parent = Path(tempfile.mkdtemp(prefix="recorder-smoke-users-"))
        self.folder = self._parent / "nats-conf"
        self._url = f"nats://127.0.0.1:{port}"
        compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
        (line,) = [one for one in compose.splitlines() if one.startswith(HEAD)]
        program = str(Path(sys.executable).with_name("recorder"))
        command = [program, "nats-conf", *line.removeprefix(HEAD).split()]
        done = subprocess.run(
            command, cwd=self._parent, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SmokeError(f"recorder nats-conf: exit {done.returncode}\n{done.stderr}")

    def login(self, user: str) -> Login:
        """As somebody on this machine logs in."""
        text = (self.folder / "users" / f"{user}.env").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        found = dict(line.split("=", 1) for line in lines)
        return Login(
            servers=(self._url,),
            user=found["RECORDER_NATS__USER"],
            password=found["RECORDER_NATS__PASSWORD"],
            api_prefix=found["RECORDER_NATS__API_PREFIX"],
            owner=found.get("RECORDER_NATS__OWNER", ""),
        )

    def forget(self) -> None:
        """Take the passwords away."""
        shutil.rmtree(self._parent)
