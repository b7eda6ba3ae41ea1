#!/usr/bin/env python3
"""davitd as systemd's service: which cgroups it makes, what outlives a restart, what is left. In the machine only."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.cri import Client, container_config, pod_config  # noqa: E402
from davit_test.engine import CNI_BIN_DIRS, PodNetwork, answers, wait_for  # noqa: E402
from davit_test.grpc_client import GrpcClient, pb  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX  # noqa: E402

import images  # noqa: E402
from oci_image import Pusher  # noqa: E402
from registry import Registry  # noqa: E402

SOCKET = Path("/run/davit/davit.sock")
CGROUPS = Path("/sys/fs/cgroup")
DROP_IN = Path("/etc/davit/davit.toml.d/test.toml")


def run(*command: str, check: bool = True, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout + (done.stderr if not check else "")


def prop(unit: str, name: str) -> str:
    return run("systemctl", "show", "-p", name, "--value", unit).strip()


def units(pattern: str) -> list[str]:
    listed = run("systemctl", "list-units", "--all", "--no-legend", "--plain", pattern)
    return [line.split()[0] for line in listed.splitlines() if line.strip()]


def cgroup_of(pid: int) -> str:
    text = Path(f"/proc/{pid}/cgroup").read_text().strip()
    assert text.startswith("0::"), text
    return text[3:]


def members(cgroup: str) -> list[int]:
    found = []
    for procs in (CGROUPS / cgroup.lstrip("/")).rglob("cgroup.procs"):
        found += [int(word) for word in procs.read_text().split()]
    return found


def wait_ready(timeout_s: float = 60) -> None:
    wait_for("davitd answers", lambda: prop("davitd", "ActiveState") == "active" and answers(SOCKET), timeout_s, 0.2)


class Service:
    def __init__(self, work: Path, handler: str, mirror: str):
        self.handler = handler
        self.network = PodNetwork(work)
        self.client = Client(f"unix://{SOCKET}", 120)
        bins = ", ".join(json.dumps(d) for d in CNI_BIN_DIRS)
        text = [f'[runtime]\ndefault = "{handler}"',
                f'[network]\nconf_dir = "{self.network.conf_dir}"\nbin_dirs = [{bins}]']
        text += [f'[image.registries."{host}"]\nmirrors = ["{mirror}"]\nfallback = false' for host in images.HOSTS]
        DROP_IN.parent.mkdir(exist_ok=True)
        DROP_IN.write_text("\n".join(text) + "\n")

    def start(self) -> None:
        run("systemctl", "start", "davitd")
        wait_ready()
        self.client.pull(BUSYBOX)

    # ---- Shorthand ----
    def pod(self, name: str, parent: str = "", **options: object) -> tuple[str, dict]:
        config = pod_config(f"{name}-{self.handler}", **options)
        if parent:
            config["linux"]["cgroup_parent"] = parent
        return self.client.run_pod(config), config

    def container(self, pod: str, config: dict, *command: str, **resources: int) -> str:
        wanted = container_config(f"c{uuid.uuid4().hex[:6]}", BUSYBOX, *command)
        if resources:
            wanted["linux"]["resources"] = resources
        container = self.client.create(pod, wanted, config)
        self.client.start(container)
        return container

    def end(self, *pods: str) -> None:
        for pod in pods:
            self.client.stop_pod(pod)
            self.client.remove_pod(pod)

    # ---- Cases ----
    def answers_systemd(self) -> None:
        with GrpcClient(SOCKET) as cri:
            driver = cri.RuntimeConfig().linux.cgroup_driver
        assert driver == pb.SYSTEMD, driver
        assert prop("davitd", "Type") == "notify" and prop("davitd", "SubState") == "running"

    def contradictions_are_refused(self) -> None:
        config = Path("/run/contradiction.toml")
        config.write_text('root = "/run/nothing/root"\nstate = "/run/nothing/state"\n'
                          '[api]\nlisten = "/run/nothing/sock"\n[runtime]\ncgroup_driver = "systemd"\n')
        no_bus = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
        said = run("timeout", "30", "/usr/bin/davitd", "--config", str(config), check=False, env=no_bus)
        assert "start dbus.socket" in said and "/usr/bin/davitd" not in said, said
        hidden = run("unshare", "--mount", "sh", "-c",
                     f"mount -t tmpfs none /run/systemd && exec timeout 30 /usr/bin/davitd --config {config}", check=False)
        assert "systemd is not process 1" in hidden, hidden

    def a_pod_is_a_slice_and_a_container_a_scope(self) -> None:
        pod, config = self.pod("own", shared_pid=True)
        container = self.container(pod, config, "sleep", "1000")
        pid = self.client.container_pid(container)
        slice_path = f"/davit.slice/davit-pod{pod}.slice"
        assert cgroup_of(pid) == f"{slice_path}/davit-{container}.scope", cgroup_of(pid)
        for scope in (f"davit-{container}.scope", f"davit-init-{pod}.scope"):
            assert prop(scope, "ActiveState") == "active", scope
            assert prop(scope, "Slice") == f"davit-pod{pod}.slice", scope
            assert prop(scope, "Delegate") == "yes", scope
        inits = members(f"{slice_path}/davit-init-{pod}.scope")
        assert len(inits) == 1 and Path(f"/proc/{inits[0]}/comm").read_text().strip() == "davit-init", inits
        # The container sees its own cgroup as the root, and process 1 is the pod's init.
        assert self.client.exec_sync(container, "cat", "/proc/self/cgroup").strip() == "0::/"
        assert "davit-init" in self.client.exec_sync(container, "cat", "/proc/1/comm")
        # Monitors are in nobody's pod.
        assert set(members(slice_path)) >= {pid, inits[0]}
        for member in members(slice_path):
            assert not Path(f"/proc/{member}/comm").read_text().startswith("davit-monitor")
        monitors = [int(word) for word in run("pgrep", "-f", f"davit-monitor.*{container}", check=False).split()]
        monitors += [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and (p / "comm").exists()
                     and (p / "comm").read_text().startswith("davit-monitor")]
        assert monitors and all(cgroup_of(m) == "/system.slice/davitd.service" for m in monitors), monitors
        self.end(pod)
        assert not units(f"davit-{container}.scope") and not units(f"davit-init-{pod}.scope")
        assert prop(f"davit-pod{pod}.slice", "ActiveState") == "inactive"
        assert not (CGROUPS / slice_path.lstrip("/")).exists()

    def the_kubelets_slice_is_expanded_and_left(self) -> None:
        uid = uuid.uuid4().hex
        name = f"kubepods-besteffort-pod{uid}.slice"
        path = f"/kubepods.slice/kubepods-besteffort.slice/{name}"
        for parent in (name, path):
            pod, config = self.pod("kube", parent)
            container = self.container(pod, config, "sleep", "1000")
            assert cgroup_of(self.client.container_pid(container)) == f"{path}/davit-{container}.scope"
            self.end(pod)
            assert prop(name, "ActiveState") == "active", "the kubelet's slice is not ours to stop"
            assert not members(path)
        run("systemctl", "stop", name)

    def what_is_no_slice_is_refused(self) -> None:
        config = pod_config("bad")
        for parent, word in (("/kubepods/pod1", "does not end with"), ("a--b.slice", "empty part"),
                             ("/x.slice/a-b.slice", "/a.slice/a-b.slice")):
            config["linux"]["cgroup_parent"] = parent
            said = self.client.refuse("runp", self.client.write("bad.json", config))
            assert "InvalidArgument" in said and "linux.cgroup_parent" in said and word in said, said

    def limits_and_numbers_are_the_scopes(self) -> None:
        pod, config = self.pod("limits")
        container = self.container(pod, config, "sh", "-c", "while :; do :; done", memory_limit_in_bytes=67108864,
                                   cpu_period=100000, cpu_quota=20000, cpu_shares=512)
        cgroup = CGROUPS / cgroup_of(self.client.container_pid(container)).lstrip("/")
        assert (cgroup / "memory.max").read_text().strip() == "67108864"
        assert (cgroup / "cpu.max").read_text().split() == ["20000", "100000"]
        assert (cgroup / "cpu.weight").read_text().strip() == "20"
        assert self.client.exec_sync(container, "cat", "/sys/fs/cgroup/memory.max").strip() == "67108864"
        self.client.call("update", "--memory", "134217728", "--cpu-quota", "30000", container)
        assert (cgroup / "memory.max").read_text().strip() == "134217728"
        assert (cgroup / "cpu.max").read_text().split() == ["30000", "100000"]
        # systemd must not put its own idea of them back.
        run("systemctl", "daemon-reload")
        assert (cgroup / "memory.max").read_text().strip() == "134217728"
        with GrpcClient(SOCKET) as cri:
            stats = cri.ContainerStats(container_id=container).stats
        used = int(re.search(r"usage_usec (\d+)", (cgroup / "cpu.stat").read_text()).group(1)) * 1000
        assert 0 < stats.cpu.usage_core_nano_seconds.value <= used, (stats.cpu, used)
        assert stats.memory.working_set_bytes.value > 0
        self.end(pod)

    def a_pods_limits_are_its_slices(self) -> None:
        config = pod_config(f"pod-limits-{self.handler}")
        config["linux"]["resources"] = {"memory_limit_in_bytes": 104857600, "cpu_period": 100000, "cpu_quota": 50000}
        pod = self.client.run_pod(config)
        unit = f"davit-pod{pod}.slice"
        cgroup = CGROUPS / "davit.slice" / unit
        self.container(pod, config, "sleep", "1000")

        def expect(memory: int, quota: int) -> None:
            assert (cgroup / "memory.max").read_text().strip() == str(memory)
            assert (cgroup / "cpu.max").read_text().split() == [str(quota), "100000"]
            assert prop(unit, "MemoryMax") == str(memory), prop(unit, "MemoryMax")

        expect(104857600, 50000)
        with GrpcClient(SOCKET) as cri:
            cri.UpdatePodSandboxResources(pod_sandbox_id=pod, resources={
                "memory_limit_in_bytes": 209715200, "cpu_period": 100000, "cpu_quota": 70000})
        expect(209715200, 70000)
        run("systemctl", "daemon-reload")
        expect(209715200, 70000)
        self.end(pod)
        assert not cgroup.exists() and prop(unit, "ActiveState") == "inactive"

    def every_oom_kill_is_told(self) -> None:
        """systemd removes a scope at once when it is empty: the monitor must have read its counter by then."""
        pod, config = self.pod("oom")
        for _ in range(5):
            container = self.container(pod, config, "sh", "-c", "x=a; while :; do x=$x$x; done",
                                       memory_limit_in_bytes=16777216)
            wait_for("the end", lambda: self.client.container_status(container)["state"] == "CONTAINER_EXITED", 120, 0.2)
            status = self.client.container_status(container)
            assert (status["reason"], status["exitCode"]) == ("OOMKilled", 137), status
            self.client.remove(container)
        self.end(pod)

    def devices_are_denied(self) -> None:
        pod, config = self.pod("devices")
        container = self.container(pod, config, "sleep", "1000")
        said = self.client.exec_sync(container, "sh", "-c",
                                     "mknod /tmp/disk b 254 0 && dd if=/tmp/disk of=/dev/null count=1 2>&1; "
                                     "head -c 4 /dev/zero | wc -c")
        assert "Operation not permitted" in said and said.strip().endswith("4"), said
        self.end(pod)

    def a_restart_loses_nothing(self) -> None:
        pod, config = self.pod("restart", shared_pid=True)
        lives = self.container(pod, config, "sleep", "1000")
        dies = self.container(pod, config, "sleep", "1000")
        pids = [self.client.container_pid(c) for c in (lives, dies)]
        run("systemctl", "restart", "davitd")
        wait_ready()
        assert self.client.container_pid(lives) == pids[0] and cgroup_of(pids[0]).endswith(f"davit-{lives}.scope")
        assert self.client.exec_sync(lives, "echo", "here").strip() == "here"
        run("systemctl", "stop", "davitd")
        assert all(Path(f"/proc/{pid}").exists() for pid in pids), "a container ended with davitd"
        os.kill(pids[1], signal.SIGTERM)  # sleep as a second process of a pid namespace dies of it
        wait_for("the death", lambda: not Path(f"/proc/{pids[1]}").exists(), 30)
        run("systemctl", "start", "davitd")
        wait_ready()
        status = self.client.container_status(dies)
        assert (status["state"], status["exitCode"]) == ("CONTAINER_EXITED", 143), status
        before = prop("davitd", "MainPID")
        run("systemctl", "kill", "--kill-who=main", "-s", "KILL", "davitd")
        wait_for("a new davitd", lambda: prop("davitd", "MainPID") not in (before, "0"), 60, 0.2)
        wait_ready()
        assert self.client.exec_sync(lives, "echo", "here").strip() == "here"
        self.end(pod)

    def nothing_is_left(self) -> None:
        left = [unit for unit in units("davit-*") if unit.endswith((".scope", ".slice"))]
        assert not left, left
        failed = run("systemctl", "--failed", "--no-legend", "--plain").strip()
        assert "davit" not in failed, failed
        stray = [str(path) for path in (CGROUPS / "davit.slice").glob("*/")] if (CGROUPS / "davit.slice").exists() else []
        assert not stray, stray

    def stop(self) -> None:
        run("systemctl", "stop", "davitd", check=False)
        self.network.remove()
        DROP_IN.unlink()


CASES = (Service.answers_systemd, Service.contradictions_are_refused,
         Service.a_pod_is_a_slice_and_a_container_a_scope, Service.the_kubelets_slice_is_expanded_and_left,
         Service.what_is_no_slice_is_refused, Service.limits_and_numbers_are_the_scopes,
         Service.a_pods_limits_are_its_slices, Service.every_oom_kill_is_told, Service.devices_are_denied, Service.a_restart_loses_nothing,
         Service.nothing_is_left)


def main() -> int:
    report = Report("service")
    if Path("/proc/1/comm").read_text().strip() != "systemd":
        report.add_skip("all", "systemd is not process 1 here; test/vm/run starts this in its machine")
        return report.finish()
    with tempfile.TemporaryDirectory(prefix="davit-service-") as place, Registry(Path(place) / "registry") as registry:
        images.push_all(Pusher(registry.url))
        for handler in ("crun", "runc"):
            (Path(place) / handler).mkdir()
            service = Service(Path(place) / handler, handler, registry.url)
            if report.run(f"{handler}: starts", service.start):
                for case in CASES:
                    if not report.run(f"{handler}: {case.__name__.replace('_', ' ')}", lambda: case(service)):
                        service.client.remove_everything()
            service.stop()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
