"""Engines under test: davitd, and containerd as the reference on which the suites prove themselves."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import paths
from .node import Snapshot, Watch, check_leaks, leaks, unmount_below

CNI_BIN_DIRS = ("/usr/lib/cni", "/opt/cni/bin")


class EngineError(RuntimeError):
    """The engine did not start, stopped early, or did not stop."""


def wait_for(what: str, condition, timeout_s: float, interval_s: float = 0.05):
    """Polls until the condition is true; returns its value."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise EngineError(f"{what}: not within {timeout_s} s")
        time.sleep(interval_s)


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
            return True
        except OSError:
            return False


class PodNetwork:
    """A CNI configuration of its own: bridge, subnet and lease directory that no one else uses."""

    def __init__(self, work: Path):
        self.bridge = f"dvt{random.randrange(16**6):06x}"
        self.subnet = f"10.{random.randrange(90, 250)}.{random.randrange(256)}.0/24"
        self.conf_dir = work / "cni"
        self.leases = work / "ipam"
        self.conf_dir.mkdir(parents=True, exist_ok=True)
        self.write()

    def write(self) -> None:
        (self.conf_dir / "10-davit-test.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": f"net-{self.bridge}", "plugins": [
                {"type": "bridge", "bridge": self.bridge, "isGateway": True, "ipMasq": True, "hairpinMode": True,
                 "ipam": {"type": "host-local", "dataDir": str(self.leases), "routes": [{"dst": "0.0.0.0/0"}],
                          "ranges": [[{"subnet": self.subnet}]]}},
                {"type": "portmap", "capabilities": {"portMappings": True}}]}, indent=1))

    def remove(self) -> None:
        """The bridge, and what the plugins made for pods that were never torn down."""
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)
        rules = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True).stdout
        mine = [line for line in rules.splitlines() if line.startswith("-A ") and f'"net-{self.bridge}\\"' in line]
        chains = {found.group(1) for line in mine for found in [re.search(r"-j (CNI-[0-9a-f]+)$", line)] if found}
        for line in mine:
            subprocess.run(["iptables", "-t", "nat", "-D", *shlex.split(line)[1:]], capture_output=True)
        for chain in chains:
            for verb in ("-F", "-X"):
                subprocess.run(["iptables", "-t", "nat", verb, chain], capture_output=True)


class Engine:
    """One engine process with everything it writes below `work`."""

    name = "engine"

    def __init__(self, work: Path, *, mirrors: dict[str, str] | None = None, handler: str = "crun",
                 env: dict[str, str] | None = None):
        self.work = work
        # Registry host -> URL of the local registry that answers for it.
        self.mirrors = dict(mirrors or {})
        self.handler = handler
        self.env = dict(env or {})
        self.root = work / "root"
        self.state = work / "state"
        self.socket = work / "e.sock"
        self.log = work / f"{self.name}.log"
        self.network = PodNetwork(work)
        self._child: subprocess.Popen[bytes] | None = None

    # What a subclass says about itself.
    def command(self) -> list[str]:
        raise NotImplementedError

    def configure(self) -> None:
        raise NotImplementedError

    def watch(self) -> Watch:
        raise NotImplementedError

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self, timeout_s: float = 30, env: dict[str, str] | None = None) -> None:
        """Starts the engine and waits until its socket answers. `env` is for this start only."""
        self.configure()
        with open(self.log, "ab") as log:
            try:
                self._child = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                               env={**os.environ, **self.env, **(env or {})}, start_new_session=True)
            except OSError as error:
                raise EngineError(f"{self.name}: {error}") from None
        try:
            wait_for(f"{self.name} answers on {self.socket}",
                     lambda: answers(self.socket) or not self.alive(), timeout_s)
        except EngineError as error:
            self.kill()
            raise EngineError(f"{error}\n{self.log_tail()}") from None
        if not self.alive():
            raise EngineError(f"{self.name} ended with {self._child.returncode}\n{self.log_tail()}")

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM and wait; returns the exit code. Falls back to SIGKILL and then raises."""
        if self._child is None:
            return 0
        self._child.terminate()
        try:
            code = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise EngineError(f"{self.name} did not stop within {timeout_s} s of SIGTERM") from None
        self._child = None
        return code

    def end(self) -> int:
        """Stops it and takes its network away, which stays otherwise; returns the exit code."""
        code = self.stop()
        self.network.remove()
        return code

    def snapshot(self) -> Snapshot:
        return Snapshot.take(self.watch())

    def leaks(self, before: Snapshot) -> list[str]:
        """What is new since `before` and not meant to stay."""
        return leaks(before, self.watch(), ignore=self._stays())

    def check_leaks(self, before: Snapshot) -> None:
        check_leaks(before, self.watch(), ignore=self._stays())

    def _stays(self) -> tuple[str, ...]:
        """The bridge by CNI's design, as long as the engine runs; after it what holds its images."""
        return (self.network.bridge,) if self.alive() else (f"mount {self.root}",)

    def kill(self) -> None:
        if self._child is not None:
            if self._child.poll() is None:
                self._child.send_signal(signal.SIGKILL)
            self._child.wait()
            self._child = None

    def wait_killed(self, timeout_s: float = 60) -> bool:
        """True when the engine ended by SIGKILL within the time: what a fault point does."""
        assert self._child is not None
        try:
            code = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._child = None
        return code == -signal.SIGKILL

    def log_tail(self, lines: int = 30) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def destroy(self) -> None:
        """Ends everything and removes every trace, whatever state the engine is in."""
        try:
            self.stop(10)
        except EngineError:
            pass
        for pid in self._strays():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        unmount_below(self.work)
        self.network.remove()

    def _strays(self) -> list[int]:
        """Monitors and shims, which name our directory on their command line, and containers' processes."""
        marker = str(self.work).encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes().split(b"\0")
                    mounts = (entry / "mountinfo").read_bytes().splitlines()
                except OSError:
                    continue
                # A container's root is an overlay whose options name our directory.
                if any(line.split()[4] == b"/" and marker in line.partition(b" - ")[2] for line in mounts):
                    found.append(int(entry.name))
                    continue
                program = os.path.basename(command[0].decode(errors="replace"))
                if program.startswith(("davit", "crun", "runc", "containerd", "conmon")) and \
                        any(marker in word for word in command[1:]):
                    found.append(int(entry.name))
        return found


class Davitd(Engine):
    name = "davitd"

    def __init__(self, work: Path, bin_dir: Path, *, extra: str = "", log_level: str = "debug", **options):
        super().__init__(work, **options)
        self.bin_dir = bin_dir
        self.extra = extra
        self.log_level = log_level
        self.config = work / "davit.toml"
        # Set for whole suites: the same tests with networks that the plugins make.
        self.builtin_network = os.environ.get("DAVIT_TEST_PLUGINS", "") != "1"

    def command(self) -> list[str]:
        return [str(self.bin_dir / "davitd"), "--config", str(self.config), "--root", str(self.root),
                "--state", str(self.state), "--listen", str(self.socket), "--log-level", self.log_level]

    def destroy(self) -> None:
        super().destroy()
        # Bridges of networks of standalone pods stay for good, as they should: the default one cannot be removed.
        for file in (self.root / "networks").glob("*.conflist"):
            try:
                bridge = json.loads(file.read_text())["davit"]["interface"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            subprocess.run(["ip", "link", "delete", bridge], capture_output=True)

    def configure(self) -> None:
        bins = ", ".join(json.dumps(d) for d in CNI_BIN_DIRS)
        lines = [f"root = {json.dumps(str(self.root))}", f"state = {json.dumps(str(self.state))}",
                 f"log_level = {json.dumps(self.log_level)}",
                 "[api]", f"listen = {json.dumps(str(self.socket))}",
                 "[stream]", 'address = "127.0.0.1"', "port = 0",
                 "[runtime]", f"default = {json.dumps(self.handler)}",
                 # Set for whole suites, by test/vm: the same tests under either driver.
                 f"cgroup_driver = {json.dumps(os.environ.get('DAVIT_TEST_CGROUP_DRIVER') or 'auto')}",
                 "[network]", f"conf_dir = {json.dumps(str(self.network.conf_dir))}", f"bin_dirs = [{bins}]",
                 f"builtin = {json.dumps(self.builtin_network)}"]
        for runtime in ("crun", "runc"):
            program = shutil.which(runtime)
            if program:
                lines += [f"[runtime.handlers.{runtime}]", f"path = {json.dumps(program)}"]
        for host, mirror in self.mirrors.items():
            lines += [f"[image.registries.{json.dumps(host)}]", f"mirrors = [{json.dumps(mirror)}]",
                      "fallback = false"]
        self.config.write_text(with_settings("\n".join(lines) + "\n", self.extra))

    def watch(self) -> Watch:
        shared = os.environ.get("DAVIT_TEST_SHARED_NODE")
        return Watch(folders=(self.state / "pods", self.state / "containers"), leases=(self.network.leases,),
                     markers=(str(self.work), self.network.bridge) if shared else ())


def with_settings(text: str, more: str) -> str:
    """The TOML text with another laid over it: a table may be in both, and a key of the second wins."""
    tables: dict[str, list[str]] = {}
    for source in (text, more):
        table = ""
        for line in source.splitlines():
            header = re.fullmatch(r"\[(.+)\]", line.strip())
            if header:
                table = header.group(1)
            lines = tables.setdefault(table, [])
            key = line.partition("=")[0].strip()
            if not header and "=" in line:
                lines[:] = [old for old in lines if old.partition("=")[0].strip() != key]
            if not header and line.strip():
                lines.append(line)
    return "".join((f"[{name}]\n" if name else "") + "".join(f"{line}\n" for line in lines)
                   for name, lines in tables.items())


class Containerd(Engine):
    """Debian's containerd: the suites and images are proved on it before they judge Davit."""

    name = "containerd"

    def __init__(self, work: Path, **options):
        super().__init__(work, **options)
        self.config = work / "containerd.toml"
        self._pins = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()

    def command(self) -> list[str]:
        return ["containerd", "--config", str(self.config), "--log-level", "info"]

    def configure(self) -> None:
        if not shutil.which("containerd"):
            raise paths.Skip("containerd is not installed (tools/bootstrap --bench)")
        hosts = self.work / "certs.d"
        for host, mirror in self.mirrors.items():
            (hosts / host).mkdir(parents=True, exist_ok=True)
            (hosts / host / "hosts.toml").write_text(
                f'server = "{mirror}"\n[host."{mirror}"]\ncapabilities = ["pull", "resolve"]\n')
        bin_dir = next((d for d in CNI_BIN_DIRS if os.path.isdir(d)), CNI_BIN_DIRS[0])
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        self.config.write_text(f"""version = 2
root = "{self.root}"
state = "{self.state}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
address = "{self.socket}"
[{cri}]
sandbox_image = "registry.k8s.io/pause:3.9"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[{cri}.cni]
bin_dir = "{bin_dir}"
conf_dir = "{self.network.conf_dir}"
[{cri}.registry]
config_path = "{hosts}"
[{cri}.containerd]
default_runtime_name = "{self.handler}"
[{cri}.containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.crun.options]
BinaryName = "crun"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
BinaryName = "runc"
""")

    def destroy(self) -> None:
        super().destroy()
        for name in set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else ():
            # Its pins have no directory of their own: ours are those that came since the start.
            if name.startswith("cni-") and name not in self._pins:
                subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    def watch(self) -> Watch:
        return Watch(programs=("containerd-shim", "crun", "runc"), leases=(self.network.leases,),
                     markers=(str(self.work), self.network.bridge))


def remove_scratch(work: Path) -> None:
    """Removes a scratch directory, refusing while something is still mounted below it."""
    unmount_below(work)
    shutil.rmtree(work, ignore_errors=True)
