"""A process that the kernel ends as soon as it, or a library in it, opens a socket of the internet (Linux)."""

import ctypes
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Of seccomp and of the system call, by `platform.machine()`."""

AVAILABLE = sys.platform == "linux" and platform.machine() in SOCKET

_SET_SECCOMP, _FILTER, _NO_NEW_PRIVILEGES = 22, 2, 38  # prctl
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # instructions of a filter: a word, a jump, the answer
_KILL, _ALLOW = 0x80000000, 0x7FFF0000
_CALL, _ARCHITECTURE, _FAMILY = 0, 4, 16  # where these stand in what a filter sees
_INET, _INET6 = 2, 10


def refuse_internet() -> None:
    """From now on, this process and its children die by SIGSYS at socket(AF_INET) and socket(AF_INET6)."""
    architecture, call = SOCKET[platform.machine()]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, 6, architecture),
        (_LOAD, 0, 0, _CALL),
        (_EQUAL, 0, 4, call),
        (_LOAD, 0, 0, _FAMILY),
        (_EQUAL, 1, 0, _INET),
        (_EQUAL, 0, 1, _INET6),
        (_RETURN, 0, 0, _KILL),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    held = ctypes.create_string_buffer(code)
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(held)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, head, 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def without_internet(
    *words: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with these words so."""
    return subprocess.run(
        [sys.executable, str(Path(__file__)), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=None if environment is None else dict(environment),
    )


if __name__ == "__main__":
    refuse_internet()
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
