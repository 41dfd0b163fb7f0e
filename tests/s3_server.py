"""A real S3 server of its own, SeaweedFS, to be killed and started again where it was."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self

import botocore.exceptions
from ports import free_port

from recorder_worker.adapters.s3.client import S3Place, s3_client

DEADLINE_S = 60.0
TRIES = 3
"""It takes 4 s, and more where the machine has more to do; what it never does is on other ports."""
PROGRAM = Path(sys.executable).parent / "weed"
BUCKET = "recordings"
OWNER = ("owner-key", "owner-secret")
READER = ("reader-key", "reader-secret")
"""May look, and not write."""
SOCKETS = Path("/tmp")
"""Where it puts one for each port, wherever its data is, and leaves them behind."""
_PORTS = ("master", "volume", "filer", "s3")


class S3Server:
    """`with` starts it, with a bucket, and ends it; `kill` is SIGKILL."""

    def __init__(self, folder: Path, *, volumes: int = 60) -> None:
        self._folder = folder
        self._volumes = volumes
        self._ports = _free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "s3.json").write_text(
            json.dumps(
                {
                    "identities": [
                        _identity("owner", OWNER, "Admin", "Read", "Write", "List", "Tagging"),
                        _identity("reader", READER, "Read", "List"),
                    ]
                }
            )
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3.port']}"

    def __enter__(self) -> Self:
        for _ in range(TRIES - 1):
            try:
                self.start()
                break
            except AssertionError:
                self.kill()
                self._ports = _free_ports()
        else:
            self.start()
        s3_client(self.place()).create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def place(
        self, prefix: str = "", login: tuple[str, str] = OWNER, bucket: str = BUCKET
    ) -> S3Place:
        """The bucket, as whom, below a prefix."""
        return S3Place(
            url=self.url,
            bucket=bucket,
            prefix=prefix,
            access_key_id=login[0],
            secret_access_key=login[1],
            timeout_s=10.0,
        )

    def start(self) -> None:
        """Start it and wait until it stores."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(PROGRAM),
                    "-logtostderr=true",
                    "server",
                    f"-dir={self._folder}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    "-filer",
                    "-s3",
                    "-master.telemetry=false",
                    "-s3.iam=false",
                    "-s3.autoCreateBucket=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    f"-s3.config={self._folder / 's3.json'}",
                    f"-volume.max={self._volumes}",
                    "-volume.minFreeSpace=1MiB",
                    "-master.volumeSizeLimitMB=256",
                    *(f"-{name}={port}" for name, port in self._ports.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)
            self._process = None
        for port in self._ports.values():
            for left in SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def _wait(self) -> None:
        """Its gateway answers before it knows who may ask, and before there is a volume."""
        deadline = time.monotonic() + DEADLINE_S
        client = s3_client(self.place())
        while True:
            try:
                client.list_buckets()
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self._ports['master.port']}/dir/assign", timeout=5
                ) as answer:
                    if "fid" in json.load(answer):
                        return
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError):
                pass
            assert self._process is not None
            assert self._process.poll() is None, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.1)

    def _said(self) -> str:
        log = (self._folder / "log").read_text(errors="replace")
        return f"the S3 server does not start: {log[-2000:]}"


def _free_ports() -> dict[str, int]:
    return {f"{name}.port{kind}": free_port() for name in _PORTS for kind in ("", ".grpc")}


def _identity(name: str, login: tuple[str, str], *actions: str) -> dict[str, object]:
    key = {"accessKey": login[0], "secretKey": login[1]}
    return {"name": name, "credentials": [key], "actions": list(actions)}
