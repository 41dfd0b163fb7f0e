"""Runs a command under the system call filter of a systemd unit, and under MemoryDenyWriteExecute.

    python systemd_sandbox.py UNIT COMMAND…

What systemd would do before it starts the service, without systemd: its filter as seccomp-BPF, and
the kernel's own form of MemoryDenyWriteExecute. For x86_64.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 22, 38, 65
SECCOMP_MODE_FILTER = 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # the second: with EPERM


def members(group: str) -> set[str]:
    """The system calls of a group such as @system-service, as this systemd has it."""
    command = ["systemd-analyze", "syscall-filter", "--no-pager", group]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: set[str] = set()
    for line in shown.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            found |= members(word) if word.startswith("@") else {word}
    return found


def allowed(unit: Path) -> set[str]:
    """What a unit's `SystemCallFilter=` lines allow, one after the other."""
    found: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit.read_text(), re.MULTILINE):
        names = line.removeprefix("~").split()
        given = {call for n in names for call in (members(n) if n.startswith("@") else {n})}
        found = found - given if line.startswith("~") else found | given
    return found


def program(unit: Path) -> bytes:
    """The filter: a call whose number is not in the list gets EPERM."""
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", NUMBERS.read_text()))
    wanted = sorted(int(numbers[name]) for name in allowed(unit) if name in numbers)
    steps = [struct.pack("<HBBI", LOAD, 0, 0, 0)]
    # Each compares with one number, and goes on to the next, or returns: jumps stay short.
    for number in wanted:
        steps.append(struct.pack("<HBBI", JUMP_IF_EQUAL, 0, 1, number))
        steps.append(struct.pack("<HBBI", RETURN, 0, 0, ALLOW))
    steps.append(struct.pack("<HBBI", RETURN, 0, 0, REFUSE))
    return b"".join(steps)


def confine(unit: Path) -> None:
    """This process, and all that it becomes or starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program(unit))
    length = len(code.raw) // 8
    header = struct.pack("HxxxxxxP", length, ctypes.addressof(code))
    filtered = ctypes.create_string_buffer(header)
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_MDWE, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filtered, 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl {arguments[0]}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
