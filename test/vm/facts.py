#!/usr/bin/env python3
"""What this machine is, checked: systemd as pid 1, pure cgroup v2, a security module, a bus that answers."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test.report import Report  # noqa: E402


def read(path: str) -> str:
    try:
        return Path(path).read_text().strip("\0\n ")
    except OSError as error:
        return f"({error.strerror})"


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout or done.stderr).strip()


def main() -> int:
    report = Report("facts")
    print(f"kernel {platform.release()}, {output('systemctl', '--version').splitlines()[0]}")
    print(f"runtimes: {output('crun', '--version').splitlines()[0]}; {output('runc', '--version').splitlines()[0]}")
    print(f"security modules: {read('/sys/kernel/security/lsm')}")
    print(f"controllers: {read('/sys/fs/cgroup/cgroup.controllers')}")

    def check(name: str, value: str, expected: bool) -> None:
        print(f"{name}: {value}")
        if expected:
            report.passed += 1
        else:
            report.add_failure(name, value)

    one = read("/proc/1/comm")
    check("process 1", one, one == "systemd")
    kind = output("stat", "-f", "-c", "%T", "/sys/fs/cgroup")
    v1 = [line for line in read("/proc/mounts").splitlines() if line.split()[2] == "cgroup"]
    check("cgroup file system", f"{kind}, {len(v1)} of version 1", kind == "cgroup2fs" and not v1)
    version = output("busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                     "org.freedesktop.systemd1.Manager", "Version")
    check("bus", version, version.startswith("s "))
    enforce = read("/sys/fs/selinux/enforce")
    module = read("/sys/module/apparmor/parameters/enabled")
    check("security module", f"apparmor {module}, selinux enforce {enforce}", module == "Y" or enforce in "01")
    state = output("systemctl", "is-system-running")
    failed = output("systemctl", "--failed", "--no-legend", "--plain")
    print(f"system: {state} {failed}")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
