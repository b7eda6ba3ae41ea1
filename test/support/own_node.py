"""A machine of its own for a suite that takes a whole node: namespaces for processes, mounts, links, name and IPC.

The kubelet's fixed places (/var/lib/kubelet, /var/log/pods, ports on every address) are then nobody else's, and
everything that a run starts ends with the first process of its namespace, however the run ends. Cgroups and the
kernel's settings are not in a namespace: kubelet_host takes care of those.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import traceback
from pathlib import Path

ADDRESS = "10.231.0.1"
GATEWAY = "10.231.0.254"  # nobody: the API server looks for the address of a default route
BRIDGE = "node0"
KUBELET = "/var/lib/kubelet"
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class OwnNode:
    """A command in namespaces of its own. To end it ends all that it started."""

    def __init__(self, command: list[str]):
        unshare = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL",
                   "--mount-proc", "--propagation", "private"]
        # A session of its own: ^C reaches only the one that cleans up.
        self._child = subprocess.Popen([*unshare, *command], stdin=subprocess.DEVNULL, start_new_session=True,
                                       preexec_fn=_die_with_parent)

    def wait(self, timeout_s: float) -> int:
        return self._child.wait(timeout_s)

    def end(self) -> None:
        """Kills it if it runs, and returns when no process of it is left."""
        try:
            first = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children").read_text().split()
            pidfds = [os.pidfd_open(int(pid)) for pid in first]
        except OSError:
            pidfds = []
        self._child.kill()
        self._child.wait()
        # It takes the first process of the namespace along; the kernel lets that one end as the last.
        for pidfd in pidfds:
            select.select([pidfd], [], [])
            os.close(pidfd)


def as_init(work) -> int:
    """For the first process of the namespace: does `work` in a child and reaps whatever is left to it meanwhile."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work()
        except BaseException:  # noqa: BLE001: nothing of this process may go on above
            traceback.print_exc()
        os._exit(code)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _cover(point: str, directory: Path) -> None:
    """Lays a directory of ours over one of the machine's."""
    directory.mkdir(parents=True, exist_ok=True)
    _run("mount", "--bind", str(directory), point)


def furnish(work: Path, name: str, shared: dict[Path, Path]) -> None:
    """Inside: the mounts, the network and the host name of a node. `work` is on the machine's own disk.

    `shared`: directories of the machine, wherever they are, and under which path they are to be found inside.
    """
    # The kubelet's mounts have to reach containers that ask for it.
    _run("mount", "--make-rshared", "/")
    for outside, path in shared.items():
        path.mkdir()
        _run("mount", "--bind", str(outside), str(path))
    _run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    for part in ("upper", "work"):
        (work / "tmp" / part).mkdir(parents=True)
    (work / "tmp/upper").chmod(0o1777)
    # What lies in /tmp stays readable there, a source tree for instance; what is written lands in `work`.
    _run("mount", "-t", "overlay", "overlay", "-o",
         f"lowerdir=/tmp,upperdir={work}/tmp/upper,workdir={work}/tmp/work", "/tmp")
    _cover(KUBELET, work / "kubelet")
    _cover("/var/log", work / "log")
    # Names that are not in /etc/hosts are refused at once, not after a time-out.
    resolver = work / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
    _run("mount", "--bind", str(resolver), os.path.realpath("/etc/resolv.conf"))
    if not Path("/run/systemd/system").exists() and shutil.which("systemd-run"):
        # Installed, but it does not run: the suite would start the kubelet with it.
        nothing = work / "no-program"
        nothing.touch(0o644)
        _run("mount", "--bind", str(nothing), str(shutil.which("systemd-run")))
    _run("hostname", name)
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    _run("ip", "route", "add", "default", "via", GATEWAY, "dev", BRIDGE)
