"""What a program and all that it starts use: a cgroup of its own, and a fresh ext4 in RAM that it writes to."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
SECTOR = 512


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}: {(done.stderr + done.stdout)[-800:]}")
    return done.stdout


class Group:
    """CPU seconds and anonymous memory of every process below it, also of those that have ended. Version 1 or 2."""

    def __init__(self) -> None:
        name = f"davit-bench-{secrets.token_hex(4)}"
        self.unified = (CGROUPS / "cgroup.controllers").exists()
        if self.unified:
            (CGROUPS / "cgroup.subtree_control").write_text("+cpu +memory")
        self.paths = [CGROUPS / name] if self.unified else [CGROUPS / kind / name for kind in ("cpuacct", "memory")]
        for path in self.paths:
            path.mkdir()

    def wrapped(self, command: list[str]) -> list[str]:
        """The command, begun inside."""
        enter = "".join(f"echo $$ >{path}/cgroup.procs; " for path in self.paths)
        return ["sh", "-c", enter + 'exec "$@"', "sh", *command]

    def cpu_seconds(self) -> float:
        if self.unified:
            fields = dict(line.split() for line in (self.paths[0] / "cpu.stat").read_text().splitlines())
            return int(fields["usage_usec"]) / 1e6
        return int((self.paths[0] / "cpuacct.usage").read_text()) / 1e9

    def anonymous_bytes(self) -> int:
        """Without the page cache, which any writer of files fills."""
        key = "anon" if self.unified else "total_rss"
        for line in (self.paths[-1] / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
        return 0

    def processes(self) -> list[int]:
        return [int(word) for word in (self.paths[-1] / "cgroup.procs").read_text().split()]

    def remove(self) -> None:
        end = time.monotonic() + 10
        for path in self.paths:
            while path.exists() and time.monotonic() < end:
                try:
                    path.rmdir()
                except OSError:
                    time.sleep(0.05)


class RamDisk:
    """A new ext4 on a loop device over a file in a tmpfs of its own. Everything that it needs was written at its making."""

    def __init__(self, work: Path, gigabytes: int):
        self.memory, self.path = work / "memory", work / "disk"
        for path in (self.memory, self.path):
            path.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={gigabytes + 1}g", "tmpfs", self.memory)
        image = self.memory / "ext4"
        with open(image, "wb") as file:
            file.truncate(gigabytes << 30)
        run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        self.loop = run("losetup", "--find", "--show", image).strip()
        run("mount", "-o", "noatime", self.loop, self.path)

    def sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            subprocess.run(["sync", "-f", str(self.path)], check=True)
        finally:
            os.close(fd)

    def written_bytes(self) -> int:
        """By the device: data, metadata and the file system's own journal, whoever has asked for them."""
        return int(Path(f"/sys/block/{Path(self.loop).name}/stat").read_text().split()[6]) * SECTOR

    def remove(self) -> None:
        for command in (["umount", "-l", str(self.path)], ["losetup", "-d", self.loop], ["umount", "-l", str(self.memory)]):
            subprocess.run(command, capture_output=True)


@dataclass
class Figures:
    wall_s: float  # until the command came back
    synced_s: float  # and until the disk had all of it
    cpu_s: float
    peak_mb: float  # anonymous memory of all processes
    helper_mb: float  # the largest davit-pull, of everything that is resident; 0: none
    written_mb: float


class Sampler(threading.Thread):
    """Looks often enough for a pull of a tenth of a second, and costs little beside it."""

    EACH_S = 0.005

    def __init__(self, group: Group):
        super().__init__(daemon=True)
        self.group, self.ended = group, threading.Event()
        self.peak = self.helper = 0

    def run(self) -> None:
        while not self.ended.wait(self.EACH_S):
            self.peak = max(self.peak, self.group.anonymous_bytes())
            for pid in self.group.processes():
                try:
                    if Path(f"/proc/{pid}/comm").read_text().startswith("davit-pull"):
                        status = Path(f"/proc/{pid}/status").read_text()
                        self.helper = max(self.helper, int(status.split("VmHWM:")[1].split()[0]) << 10)
                except (OSError, IndexError):
                    continue  # it has ended


def measure(group: Group, disk: RamDisk, action) -> Figures:
    disk.sync()
    sampler = Sampler(group)
    cpu, written = group.cpu_seconds(), disk.written_bytes()
    sampler.start()
    begin = time.monotonic()
    action()
    wall = time.monotonic() - begin
    disk.sync()
    synced = time.monotonic() - begin
    sampler.ended.set()
    sampler.join()
    return Figures(wall, synced, group.cpu_seconds() - cpu, sampler.peak / 1e6, sampler.helper / 1e6,
                   (disk.written_bytes() - written) / 1e6)
