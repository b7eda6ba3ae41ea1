"""What a kubelet changes of the machine that it runs on, whatever it is told, and how that is undone."""

from __future__ import annotations

import os
from pathlib import Path

# What it sets for the whole machine.
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
           "kernel/keys/root_maxbytes")
# Directories that it makes outside of its own.
STRAY = ("/var/log/containers", "/var/lib/kubelet", "/usr/libexec/kubernetes")


def read_sysctls() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text().strip() for name in SYSCTLS if Path("/proc/sys", name).exists()}


def restore_sysctls(before: dict[str, str]) -> None:
    for name, value in before.items():
        if Path("/proc/sys", name).read_text().strip() != value:
            Path("/proc/sys", name).write_text(value)


def cgroup_roots() -> list[Path]:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(line[1]) for line in lines if line[2] in ("cgroup", "cgroup2")]


def make_cgroups(name: str) -> None:
    """The cgroup /NAME in every hierarchy, with the processors and memory of the root."""
    for root in cgroup_roots():
        made = root
        for part in Path(name).parts:
            made = made / part
            made.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if (made / setting).exists() and not (made / setting).read_text().strip():
                    (made / setting).write_text((made.parent / setting).read_text())


def enter_cgroups(name: str, pid: int) -> None:
    for root in cgroup_roots():
        (root / name / "cgroup.procs").write_text(str(pid))


def remove_cgroups(name: str) -> None:
    """The cgroup /NAME of every hierarchy with all below it; nothing may run in them any more."""
    for root in cgroup_roots():
        top = root / name
        for directory in sorted((Path(d) for d, _, _ in os.walk(top)), reverse=True) if top.exists() else ():
            directory.rmdir()
