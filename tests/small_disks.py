"""File systems that can be filled, made read-only, taken away and given back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """One in a new folder; skips the test where none may be mounted."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def image_disk(folder: Path, image: Path, size_bytes: int) -> Iterator[Path]:
    """An ext2 in a new sparse file, in a new folder; what it takes of room is that of the file."""
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    if shutil.which("mkfs.ext2") is None:
        pytest.skip("needs mkfs.ext2, to make a file system in a file")
    subprocess.run(["mkfs.ext2", "-q", str(image)], check=True)
    # Faults are returned to whoever writes, and not answered by making all of it read-only.
    _mount("-o", "loop,errors=continue", image, folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Take all the room there is but so much; the file that has it."""
    ballast = folder / "ballast"
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        free = os.statvfs(folder)
        with suppress(OSError):
            os.posix_fallocate(descriptor, 0, free.f_bavail * free.f_frsize - leave_bytes)
        os.lseek(descriptor, 0, os.SEEK_END)
        with suppress(OSError):
            while not leave_bytes:
                os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)
    return ballast


def remount(folder: Path, options: str) -> None:
    """Change a mounted file system: `ro`, `rw`, `size=…`."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def _mount(*arguments: object) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a file system")
    command = ["mount", *map(str, arguments)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a file system: {mounted.stderr.strip()}")


@contextmanager
def bound_folder(folder: Path, source: Path) -> Iterator[Path]:
    """A new folder that is another one as long as it is mounted; may be unmounted meanwhile."""
    folder.mkdir()
    source.mkdir()
    bind(folder, source)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def bind(folder: Path, source: Path) -> None:
    """Mount a folder on another one."""
    _mount("--bind", source, folder)


def unmount(folder: Path) -> None:
    """Take it away from under whoever uses it."""
    subprocess.run(["umount", "-l", str(folder)], check=True)
