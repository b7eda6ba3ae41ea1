"""Limits of containers and pods: in the cgroup's files at the start and after an update, whole or not at all."""

import os
import subprocess
from pathlib import Path

from bench import case, has_cgroup2
from davit_test import paths
from davit_test.grpc_client import CallFailed, pb

MIB = 1 << 20


def limits(box) -> dict[str, str]:
    """What the files of its cgroup say."""
    if has_cgroup2():
        quota, period = box.cgroup_value("cpu", "", "cpu.max").split()
        return {"memory": box.cgroup_value("memory", "", "memory.max"), "quota": quota, "period": period,
                "shares": box.cgroup_value("cpu", "", "cpu.weight"),
                "cpus": box.cgroup_value("cpuset", "", "cpuset.cpus")}
    return {"memory": box.cgroup_value("memory", "memory.limit_in_bytes", ""),
            "quota": box.cgroup_value("cpu", "cpu.cfs_quota_us", ""),
            "period": box.cgroup_value("cpu", "cpu.cfs_period_us", ""),
            "shares": box.cgroup_value("cpu", "cpu.shares", ""),
            "cpus": box.cgroup_value("cpuset", "cpuset.cpus", "")}


def swap_limit(box) -> int | None:
    """Memory and swap together; None where swap is not accounted."""
    if has_cgroup2():
        swap = box.cgroup("memory") / "memory.swap.max"
        return int(box.cgroup_value("memory", "", "memory.max")) + int(swap.read_text()) if swap.exists() else None
    swap = box.cgroup("memory") / "memory.memsw.limit_in_bytes"
    return int(swap.read_text()) if swap.exists() else None


def weight(shares: int) -> str:
    return str(1 + (shares - 2) * 9999 // 262142) if has_cgroup2() else str(shares)


def update(t, box, **resources) -> None:
    t.cri.UpdateContainerResources(container_id=box.id, linux=resources)


@case("resources", "limits of a new container are in its cgroup, and its first process is in that cgroup")
def at_create(t):
    box = t.run(resources={"cpu_shares": 300, "cpu_quota": 50_000, "cpu_period": 100_000, "cpuset_cpus": "0",
                           "memory_limit_in_bytes": 64 * MIB, "oom_score_adj": 500})
    assert limits(box) == {"memory": str(64 * MIB), "quota": "50000", "period": "100000", "shares": weight(300),
                           "cpus": "0"}
    assert swap_limit(box) in (None, 64 * MIB)  # a limit of memory alone means no swap
    assert str(box.cgroup("memory")).endswith(box.info()["cgroup"])
    assert box.proc("oom_score_adj").strip() == "500"
    shown = box.status().resources.linux
    assert (shown.cpu_shares, shown.cpu_quota, shown.memory_limit_in_bytes) == (300, 50_000, 64 * MIB)


# A runtime that changes what it was asked for, then is the usual one.
LAX = """#!/usr/bin/env python3
import json, os, sys
if "create" in sys.argv:
    path = sys.argv[sys.argv.index("--bundle") + 1] + "/config.json"
    with open(path) as file:
        config = json.load(file)
    {change}
    with open(path, "w") as file:
        json.dump(config, file)
os.execv("{runtime}", ["{runtime}", *sys.argv[1:]])
"""


@case("resources", "a runtime that leaves a limit out or takes another cgroup makes no container", config="[runtime]\n")
def lax_runtime(t):
    changes = {"unlimited": 'config["linux"]["resources"].pop("memory", None)',
               "elsewhere": 'config["linux"]["cgroupsPath"] += "-elsewhere"'}
    for name, change in changes.items():
        program = t.work / name
        program.write_text(LAX.format(change=change, runtime=paths.runtime_program(t.handler, t.engine.bin_dir)))
        program.chmod(0o755)
        t.engine.extra += f'[runtime.handlers.{name}]\npath = "{program}"\n'
    t.restart()
    limit = {"memory_limit_in_bytes": 64 * MIB}
    t.pod(handler="unlimited").refused("FAILED_PRECONDITION", "memory_limit_in_bytes", resources=limit)
    t.pod(handler="elsewhere").refused("INTERNAL", "instead of", resources=limit)
    assert limits(t.run(resources=limit))["memory"] == str(64 * MIB)


@case("resources", "an update takes effect in the cgroup and shows in ContainerStatus; what is not set stays")
def running(t):
    box = t.run(resources={"cpu_shares": 300, "memory_limit_in_bytes": 64 * MIB, "oom_score_adj": 500})
    update(t, box, cpu_quota=20_000, cpu_period=50_000, cpuset_cpus="0")
    assert limits(box) == {"memory": str(64 * MIB), "quota": "20000", "period": "50000", "shares": weight(300),
                           "cpus": "0"}
    update(t, box, memory_limit_in_bytes=128 * MIB, cpu_shares=500)
    update(t, box, memory_limit_in_bytes=32 * MIB)
    assert limits(box)["memory"] == str(32 * MIB) and limits(box)["shares"] == weight(500)
    assert swap_limit(box) in (None, 32 * MIB)
    update(t, box, memory_limit_in_bytes=64 * MIB, memory_swap_limit_in_bytes=96 * MIB)
    assert swap_limit(box) in (None, 96 * MIB)
    shown = box.status().resources.linux
    assert shown == pb.LinuxContainerResources(
        cpu_period=50_000, cpu_quota=20_000, cpu_shares=500, memory_limit_in_bytes=64 * MIB,
        memory_swap_limit_in_bytes=96 * MIB, cpuset_cpus="0", oom_score_adj=500), shown


@case("resources", "what the kernel enforces changes, not only the files")
def enforced(t):
    limit = 96 * MIB
    grow = "dd if=/dev/zero of=/dev/shm/f bs=1M count=48 2>/dev/null"
    box = t.run(resources={"memory_limit_in_bytes": limit, "memory_swap_limit_in_bytes": limit})
    assert box.exec_sync("sh", "-c", grow).exit_code == 0
    box.sh("rm /dev/shm/f")
    update(t, box, memory_limit_in_bytes=16 * MIB, memory_swap_limit_in_bytes=16 * MIB)
    assert box.exec_sync("sh", "-c", grow).exit_code != 0


@case("resources", "a container that is created and not started is updated too")
def created(t):
    box = t.pod().create("sleep", "1000", resources={"cpu_shares": 300})
    update(t, box, cpu_shares=400, memory_limit_in_bytes=64 * MIB)
    box.start()
    assert limits(box)["shares"] == weight(400) and limits(box)["memory"] == str(64 * MIB)


@case("resources", "an update of a container that has ended, or is not there, is refused")
def ended(t):
    box = t.run("true", resources={"cpu_shares": 300})
    box.wait_exit()
    t.cri.refused("UpdateContainerResources", "FAILED_PRECONDITION", "neither created nor running",
                  container_id=box.id, linux={"cpu_shares": 400})
    assert box.status().resources.linux.cpu_shares == 300
    t.cri.refused("UpdateContainerResources", "NOT_FOUND", "not found", container_id="f" * 64,
                  linux={"cpu_shares": 400})
    t.cri.refused("UpdateContainerResources", "INVALID_ARGUMENT", "linux", container_id=box.id)


@case("resources", "an update that cannot be whole changes nothing")
def whole_or_not(t):
    box = t.run("sh", "-c", "dd if=/dev/zero of=/dev/shm/f bs=1M count=48 2>/dev/null; echo filled; sleep 1000",
                resources={"cpu_shares": 300, "memory_limit_in_bytes": 128 * MIB,
                           "memory_swap_limit_in_bytes": 128 * MIB})
    t.wait_for("the memory is in use", lambda: "filled" in box.log())
    before, shown = limits(box), box.status().resources
    t.cri.refused("UpdateContainerResources", "FAILED_PRECONDITION", "memory_limit_in_bytes", container_id=box.id,
                  linux={"cpu_shares": 900, "cpu_quota": 10_000, "cpuset_cpus": "0",
                         "memory_limit_in_bytes": 16 * MIB, "memory_swap_limit_in_bytes": 16 * MIB})
    assert limits(box) == before and swap_limit(box) in (None, 128 * MIB)
    assert box.status().resources == shown and box.status().state == pb.CONTAINER_RUNNING


@case("resources", "bad values are refused by the name of the field, at create and at update, and change nothing")
def bad_values(t):
    pod = t.pod()
    box = pod.container(resources={"memory_limit_in_bytes": 64 * MIB})
    before = limits(box)
    bad = [({"cpu_period": 999}, "cpu_period"), ({"cpu_period": 1_000_001}, "cpu_period"),
           ({"cpu_quota": 999}, "cpu_quota"), ({"cpu_quota": -2}, "cpu_quota"), ({"cpu_shares": 1}, "cpu_shares"),
           ({"cpu_shares": 262_145}, "cpu_shares"), ({"cpu_shares": -1}, "cpu_shares"),
           ({"memory_limit_in_bytes": 1000}, "memory_limit_in_bytes"),
           ({"memory_limit_in_bytes": -2}, "memory_limit_in_bytes"),
           ({"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 32 * MIB}, "memory_swap_limit_in_bytes"),
           ({"oom_score_adj": 1001}, "oom_score_adj"), ({"cpuset_cpus": "0-"}, "cpuset_cpus"),
           ({"cpuset_cpus": "4000"}, "cpuset_cpus"), ({"cpuset_mems": "77"}, "cpuset_mems"),
           ({"hugepage_limits": [{"page_size": "3MB", "limit": 0}]}, "hugepage_limits"),
           ({"unified": {"cgroup.procs": "1"}}, "unified"), ({"unified": {"../x.y": "1"}}, "unified")]
    for fields, word in bad:
        t.cri.refused("UpdateContainerResources", "INVALID_ARGUMENT", f"linux.resources.{word}",
                      container_id=box.id, linux=fields)
        pod.refused("INVALID_ARGUMENT", f"linux.resources.{word}", resources=fields)
    pod.refused("INVALID_ARGUMENT", "memory_swap_limit_in_bytes", resources={"memory_swap_limit_in_bytes": 64 * MIB})
    assert limits(box) == before


@case("resources", "oom_score_adj stays as it was created: a resize of a burstable pod brings another one")
def oom_score(t):
    box = t.run(resources={"cpu_shares": 300, "oom_score_adj": 500})
    update(t, box, cpu_shares=400, oom_score_adj=700)
    assert box.proc("oom_score_adj").strip() == "500" and limits(box)["shares"] == weight(400)
    assert box.status().resources.linux.oom_score_adj == 500


@case("resources", "unified: the files of version 2, and refused on version 1")
def unified(t):
    pod = t.pod()
    if not has_cgroup2():
        pod.refused("INVALID_ARGUMENT", "linux.resources.unified", resources={"unified": {"memory.high": "50000000"}})
        return
    box = pod.container(resources={"unified": {"memory.high": "52428800"}})
    assert box.cgroup_value("memory", "", "memory.high") == "52428800"
    update(t, box, unified={"memory.high": "62914560"})
    assert box.cgroup_value("memory", "", "memory.high") == "62914560"
    # systemd, where it has a hand in it, keeps what was asked for at create and in an update.
    other = pod.container(resources={"unified": {"memory.low": "4096", "pids.max": "77"}})
    if systemd(t):
        subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert box.cgroup_value("memory", "", "memory.high") == "62914560"
    assert (other.cgroup_value("memory", "", "memory.low"), other.cgroup_value("pids", "", "pids.max")) == ("4096", "77")


@case("resources", "hugepages: the limit is in the cgroup and changes with an update")
def hugepages(t):
    if not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists():
        t.skip("this kernel has no pages of 2 MB")
    name = ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")
    box = t.run(resources={"hugepage_limits": [{"page_size": "2MB", "limit": 4 * MIB}]})
    try:
        assert box.cgroup_value("hugetlb", *name) == str(4 * MIB)
    except (FileNotFoundError, AssertionError) as error:
        if "no controller" in str(error) or isinstance(error, FileNotFoundError):
            t.skip("the hugetlb controller is not there")
        raise
    update(t, box, hugepage_limits=[{"page_size": "2MB", "limit": 8 * MIB}])
    assert box.cgroup_value("hugetlb", *name) == str(8 * MIB)


@case("resources", "updates at once are all done, equal ones together")
def concurrent(t):
    import threading
    box = t.run()
    failed: list[str] = []

    def one(shares: int) -> None:
        try:
            update(t, box, cpu_shares=shares)
        except CallFailed as error:
            failed.append(str(error))

    threads = [threading.Thread(target=one, args=(100 + n % 4,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failed, failed[:2]
    shown = box.status().resources.linux.cpu_shares
    assert 100 <= shown <= 103 and limits(box)["shares"] == weight(shown)


def systemd(t) -> bool:
    return t.cri.RuntimeConfig().linux.cgroup_driver == pb.SYSTEMD


def pod_file(pod, controller: str, v1: str, v2: str) -> Path:
    base = Path("/sys/fs/cgroup") if has_cgroup2() else Path("/sys/fs/cgroup") / controller
    return base / pod.info()["cgroup"].lstrip("/") / (v2 if has_cgroup2() else v1)


@case("resources", "a pod's own cgroup has its resources and overhead, and an update changes them")
def pod_limits(t):
    linux = {"resources": {"memory_limit_in_bytes": 64 * MIB, "cpu_quota": 50_000, "cpu_period": 100_000},
             "overhead": {"memory_limit_in_bytes": 16 * MIB, "cpu_quota": 10_000, "cpu_period": 100_000}}
    pod = t.pod(linux=linux)
    memory = pod_file(pod, "memory", "memory.limit_in_bytes", "memory.max")
    cpu = pod_file(pod, "cpu", "cpu.cfs_quota_us", "cpu.max")
    assert memory.read_text().strip() == str(80 * MIB)
    assert cpu.read_text().split()[0] == "60000"
    assert pod.info()["resources"]["memory_limit_bytes"] == 64 * MIB
    assert pod.info()["overhead"]["memory_limit_bytes"] == 16 * MIB
    pod.container()
    t.cri.UpdatePodSandboxResources(pod_sandbox_id=pod.id, resources={"memory_limit_in_bytes": 128 * MIB})
    assert memory.read_text().strip() == str(144 * MIB) and cpu.read_text().split()[0] == "60000"
    assert pod.info()["resources"] | {"memory_limit_bytes": 128 * MIB} == pod.info()["resources"]
    t.cri.refused("UpdatePodSandboxResources", "INVALID_ARGUMENT", "linux.resources.cpu_period",
                  pod_sandbox_id=pod.id, resources={"cpu_period": 5, "memory_limit_in_bytes": 32 * MIB})
    assert memory.read_text().strip() == str(144 * MIB)
    t.refused_pod("INVALID_ARGUMENT", "linux.overhead.memory_limit_in_bytes",
                  linux={"overhead": {"memory_limit_in_bytes": -1}})


@case("resources", "with a cgroup_parent the pod's cgroup is the kubelet's: values are kept and shown only")
def pod_of_kubelet(t):
    parent = f"davitconformance{os.getpid()}.slice" if systemd(t) else f"/davit-conformance-{os.getpid()}"
    pod = t.pod(linux={"cgroup_parent": parent, "resources": {"memory_limit_in_bytes": 64 * MIB}})
    pod.container()
    memory = pod_file(pod, "memory", "memory.limit_in_bytes", "memory.max")
    before = memory.read_text()
    assert before.strip() != str(64 * MIB)
    t.cri.UpdatePodSandboxResources(pod_sandbox_id=pod.id, resources={"memory_limit_in_bytes": 128 * MIB})
    assert memory.read_text() == before
    assert pod.info()["resources"]["memory_limit_bytes"] == 128 * MIB
    if systemd(t):
        # Made for this pod by its name, and the kubelet's to stop.
        pod.stop()
        subprocess.run(["systemctl", "stop", parent], check=True)


@case("resources", "an update of a pod that is stopped, or is not there, is refused")
def pod_ended(t):
    pod = t.pod()
    pod.stop()
    t.cri.refused("UpdatePodSandboxResources", "FAILED_PRECONDITION", "not ready", pod_sandbox_id=pod.id,
                  resources={"cpu_shares": 100})
    t.cri.refused("UpdatePodSandboxResources", "NOT_FOUND", "not found", pod_sandbox_id="f" * 64)


@case("resources", "limits outlive a restart of davitd", config="log_level = \"debug\"\n")
def restart(t):
    box = t.run(resources={"cpu_shares": 300})
    update(t, box, cpu_shares=400)
    t.engine.kill()
    t.start_engine()

    def running() -> bool:
        try:
            return box.status().state == pb.CONTAINER_RUNNING
        except CallFailed:  # the client has yet to notice that its connection is gone
            return False
    t.wait_for("the container is there", running)
    assert box.status().resources.linux.cpu_shares == 400 and limits(box)["shares"] == weight(400)
    update(t, box, cpu_quota=20_000)
    assert limits(box)["quota"] == "20000"
