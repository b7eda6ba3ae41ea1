"""A program on a terminal of ours: what it writes is gathered, its window has a size, keys are typed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

PATIENCE_S = 30


class Terminal:
    def __init__(self, command: list[str], env: dict[str, str], rows: int = 30, columns: int = 100):
        self.seen = b""
        self.command = " ".join(command)
        self.code: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execvpe(command[0], command, env)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def _gather(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # the other end has gone
            return False
        self.seen += piece
        return bool(piece)

    def until(self, pattern: bytes, seconds: float = PATIENCE_S) -> None:
        """Until it has been written; what came before it is forgotten."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            alive = self._gather(0.2)
            if not alive and not re.search(pattern, self.seen):
                raise AssertionError(f"{self.command}: ended without {pattern!r}: {self.seen[-500:]!r}")
            assert time.monotonic() < deadline, f"{self.command}: no {pattern!r} in {self.seen[-500:]!r}"
        self.seen = self.seen[found.end():]

    def ask_until(self, keys: bytes, pattern: bytes) -> None:
        """Types again and again, since what decides the answer comes by another way."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.type(keys)
            try:
                return self.until(pattern, 1)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def end(self) -> int:
        """Its exit status."""
        deadline = time.monotonic() + PATIENCE_S
        while self.code is None:
            assert time.monotonic() < deadline, f"{self.command}: does not end: {self.seen[-500:]!r}"
            self._gather(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code
