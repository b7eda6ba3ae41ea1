#!/usr/bin/env python3
"""Whatever is accepted can be taken away: every field at its edges, made, killed, recovered and removed.

A request that is refused is as good, unless it leaves something. After each case the node is as it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.cri import CallError, Client, container_config, pod_config  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

LONG = "x" * 200
MAPPING = {"host_id": 300_000, "container_id": 0, "length": 65_536}
NAMESPACES = [{"pid": pid, "network": network, "ipc": ipc} for pid in (0, 1, 2) for network in (0, 2) for ipc in (0, 2)]


def security(**fields) -> dict:
    return {"linux": {"security_context": {"namespace_options": {"pid": 1}, **fields}}}


def parent(path: str) -> dict:
    return {"linux": {"cgroup_parent": path, "security_context": {"namespace_options": {"pid": 1}}}}


# What a PodSandboxConfig may say beyond the usual.
PODS: list[tuple[str, dict]] = [
    *((f"cgroup_parent {path!r}", parent(path)) for path in (
        "/", "//", "/.", "/..", "/a/", "/davit-edge", "/davit-edge/b/c", "/davit edge", "/davit-ü", "davit-edge",
        "davit-edge.slice", "/davit-edge.slice", "/" + LONG, "/davit-edge:b", "/davit-edge\\n")),
    *((f"namespaces {value}", security(namespace_options=value)) for value in NAMESPACES),
    ("user namespace", security(namespace_options={"pid": 1, "userns_options": {
        "mode": 0, "uids": [MAPPING], "gids": [MAPPING]}})),
    ("privileged", security(privileged=True)),
    ("readonly rootfs, user and groups", security(readonly_rootfs=True, run_as_user={"value": 65_534},
                                                  run_as_group={"value": 65_534}, supplemental_groups=[0, 4_294_967_294])),
    ("seccomp and apparmor", security(seccomp={"profile_type": 1}, apparmor={"profile_type": 1})),
    ("hostname", {"hostname": "h" * 64}), ("hostname too long", {"hostname": "h" * 65}),
    ("dns", {"dns_config": {"servers": ["192.0.2.1"] * 40, "searches": ["a." + "b" * 60] * 40, "options": ["ndots:9"]}}),
    ("ports", {"port_mappings": [{"container_port": 65_535, "host_port": 18_777}, {"protocol": 1, "container_port": 1,
                                                                                    "host_port": 18_778}]}),
    ("labels and annotations", {"labels": {LONG: LONG, "": ""}, "annotations": {f"k{i}": LONG for i in range(100)}}),
    ("resources", {"linux": {"resources": {"cpu_shares": 2, "memory_limit_in_bytes": 64 << 20}, "overhead": {
        "cpu_quota": 1000, "cpu_period": 1000}, "security_context": {"namespace_options": {"pid": 1}}}}),
    ("sysctls", {"linux": {"sysctls": {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1"},
                           "security_context": {"namespace_options": {"pid": 1}}}}),
    ("names", {"metadata": {"name": "../" + LONG, "namespace": "a/b", "uid": "../../u", "attempt": 4_294_967_295}}),
]

# And a ContainerConfig.
CONTAINERS: list[tuple[str, dict]] = [
    *((f"name {name[:20]!r}", {"metadata": {"name": name, "attempt": 1}}) for name in ("../..", "a/b", "ü", LONG, "-rf")),
    *((f"log_path {path[:20]!r}", {"log_path": path}) for path in ("a/b/c.log", "./x.log", "-", LONG + ".log", "ü.log")),
    *((f"working_dir {path!r}", {"working_dir": path}) for path in ("/no/such", "relative", "/..", "/proc")),
    ("terminal and stdin", {"tty": True, "stdin": True, "stdin_once": True}),
    ("environment", {"envs": [{"key": f"K{i}", "value": LONG} for i in range(200)]}),
    ("limits", {"linux": {"resources": {"memory_limit_in_bytes": 8 << 20, "cpu_quota": 1000, "cpu_period": 100_000,
                                        "cpu_shares": 2, "oom_score_adj": 1000, "cpuset_cpus": "0"}}}),
    ("unified", {"linux": {"resources": {"unified": {"pids.max": "5"}}}}),
    ("privileged", {"linux": {"security_context": {"privileged": True}}}),
    ("capabilities", {"linux": {"security_context": {"capabilities": {"add_capabilities": ["ALL"],
                                                                       "drop_capabilities": ["NET_RAW"]}}}}),
    ("mounts", {"mounts": [{"host_path": "/etc/hostname", "container_path": "/etc/x"},
                           {"host_path": "/tmp", "container_path": "/deep/er/and/deeper", "readonly": True},
                           {"host_path": "/proc/sys", "container_path": "/p", "readonly": True}]}),
    ("an image as a volume", {"mounts": [{"container_path": "/i", "image": {"image": BUSYBOX}, "image_sub_path": "bin"}]}),
    ("devices", {"devices": [{"host_path": "/dev/null", "container_path": "/dev/mine", "permissions": "r"}]}),
    ("a command that is not there", {"command": ["/no/such"]}), ("one that ends", {"command": ["true"]}),
    ("stop signal", {"stop_signal": 64}),
]


class Cycle:
    """Makes, kills davitd, starts it again, and removes."""

    def __init__(self, stage: Stage, client: Client):
        self.stage, self.client = stage, client
        self.accepted = 0

    def run(self, pod_fields: dict, container_fields: dict) -> None:
        before = self.stage.engine.snapshot()
        pod = {**pod_config("edge", log_directory=str(self.stage.logs("edge"))), **pod_fields}
        box = {**container_config("main", BUSYBOX, "sleep", "100000", log_path="main.log"), **container_fields}
        try:
            made = self.client.run_pod(pod)
            self.accepted += 1
            try:
                self.client.start(self.client.create(made, box, pod))
            except CallError:
                pass
        except CallError:
            pass
        self.stage.engine.kill()
        self.stage.engine.start()
        for pod_id in [p["id"] for p in self.client.pods()]:
            self.client.stop_pod(pod_id)
            self.client.remove_pod(pod_id)
        assert not self.client.pods() and not self.client.containers()
        self.stage.engine.check_leaks(before)


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("removable")
    with reported(report), stage_of("removable", args) as stage:
        stage.engine.start()
        client = stage.client()
        client.pull(BUSYBOX)
        cycle = Cycle(stage, client)
        for name, fields in PODS:
            report.run(f"pod: {name}", lambda: cycle.run(fields, {}))
        for name, fields in CONTAINERS:
            report.run(f"container: {name}", lambda: cycle.run({}, fields))

        def most() -> None:
            assert cycle.accepted > len(PODS + CONTAINERS) // 2, f"only {cycle.accepted} were accepted: nothing was tried"
        report.run("most of them were accepted", most)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
