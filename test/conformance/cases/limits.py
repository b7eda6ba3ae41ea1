"""Resources of a container, read from its cgroup and from /proc."""

import os
from pathlib import Path

from bench import case, has_cgroup2

MIB = 1 << 20


def number(text: str) -> int:
    return int(text) if text != "max" else -1


@case("limits", "cpu_shares, cpu_quota, cpu_period")
def cpu(t):
    pod = t.pod()
    box = pod.container(resources={"cpu_shares": 2048, "cpu_quota": 50_000, "cpu_period": 200_000})
    if has_cgroup2():
        # kernel's conversion of shares to weight, as every runtime does it
        assert box.cgroup_value("cpu", "", "cpu.weight") == str(1 + (2048 - 2) * 9999 // 262142)
        assert box.cgroup_value("cpu", "", "cpu.max") == "50000 200000"
    else:
        assert box.cgroup_value("cpu", "cpu.shares", "") == "2048"
        assert box.cgroup_value("cpu", "cpu.cfs_quota_us", "") == "50000"
        assert box.cgroup_value("cpu", "cpu.cfs_period_us", "") == "200000"
    plain = pod.container()
    assert plain.cgroup_value("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in ("-1", "max")
    shown = box.status().resources.linux
    assert (shown.cpu_shares, shown.cpu_quota, shown.cpu_period) == (2048, 50_000, 200_000)


@case("limits", "cpu_quota holds a busy container down")
def quota_effect(t):
    box = t.run("sh", "-c", "while :; do :; done", resources={"cpu_quota": 10_000, "cpu_period": 100_000})
    stat = "cpu.stat"

    def throttled() -> int:
        for line in (box.cgroup("cpu") / stat).read_text().splitlines():
            if line.startswith("nr_throttled"):
                return int(line.split()[1])
        return 0

    t.wait_for("the kernel holds it down", lambda: throttled() > 2)


@case("limits", "cpuset_cpus and cpuset_mems")
def cpuset(t):
    last = max(os.sched_getaffinity(0))
    box = t.run("sleep", "1000", resources={"cpuset_cpus": str(last), "cpuset_mems": "0"})
    assert box.cgroup_value("cpuset", "cpuset.cpus", "cpuset.cpus") == str(last)
    assert box.cgroup_value("cpuset", "cpuset.mems", "cpuset.mems") == "0"
    assert box.proc_status("Cpus_allowed_list") == str(last) and box.exec("nproc") == "1"


@case("limits", "memory_limit_in_bytes and memory_swap_limit_in_bytes")
def memory(t):
    pod = t.pod()
    box = pod.container(resources={"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 96 * MIB})
    assert number(box.cgroup_value("memory", "memory.limit_in_bytes", "memory.max")) == 64 * MIB
    # v1 counts memory and swap together, as CRI does; v2 counts swap alone.
    both = 32 * MIB if has_cgroup2() else 96 * MIB
    assert number(box.cgroup_value("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")) == both
    shown = box.status().resources.linux
    assert (shown.memory_limit_in_bytes, shown.memory_swap_limit_in_bytes) == (64 * MIB, 96 * MIB)
    plain = pod.container()
    free = number(plain.cgroup_value("memory", "memory.limit_in_bytes", "memory.max"))
    assert free == -1 or free > 1 << 50, free


@case("limits", "a memory limit kills what takes more: OOMKilled, 137; its neighbour goes on")
def oom(t):
    pod = t.pod()
    other = pod.container()
    box = pod.create("sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1",
                     resources={"memory_limit_in_bytes": 24 * MIB, "memory_swap_limit_in_bytes": 24 * MIB})
    box.start()
    status = box.wait_exit(60)
    assert (status.reason, status.exit_code) == ("OOMKilled", 137), status
    assert other.exec("true") == ""


@case("limits", "oom_score_adj, as far as the node may lower it")
def oom_score(t):
    pod = t.pod()
    own = int(Path(f"/proc/{t.engine.pid}/oom_score_adj").read_text())
    for asked in (0, 500, 1000, -500):
        box = pod.container(resources={"oom_score_adj": asked})
        have = int(box.proc("oom_score_adj"))
        assert have == asked or (asked < own and have == own), f"asked {asked}, got {have}, the engine's is {own}"
        # crun 1.8 gives a command in the container the monitor's value.
        if asked >= own and t.handler != "crun":
            assert int(box.sh("cat /proc/self/oom_score_adj")) == asked
        box.remove()


@case("limits", "hugepage_limits")
def hugepages(t):
    sizes = [p.name for p in Path("/sys/kernel/mm/hugepages").iterdir()]
    if "hugepages-2048kB" not in sizes:
        t.skip("this kernel has no 2 MiB pages")
    box = t.run("sleep", "1000", resources={"hugepage_limits": [{"page_size": "2MB", "limit": 8 * MIB}]})
    value = box.cgroup_value("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")
    assert int(value) == 8 * MIB, value


@case("limits", "unified: written on cgroup v2, refused by name where there is none")
def unified(t):
    pod = t.pod()
    if not has_cgroup2():
        pod.refused("INVALID_ARGUMENT", "linux.resources.unified", resources={"unified": {"memory.high": "1000000"}})
        return
    box = pod.container(resources={"unified": {"memory.high": str(32 * MIB), "pids.max": "77"}})
    assert (box.cgroup() / "memory.high").read_text().strip() == str(32 * MIB)
    assert (box.cgroup() / "pids.max").read_text().strip() == "77"
    pod.refused("", "unified", resources={"unified": {"no.such": "1"}})


@case("limits", "pids: runtime.pids_limit of the configuration holds every container", config="[runtime]\npids_limit = 20\n")
def pids(t):
    box = t.run()
    assert box.cgroup_value("pids", "pids.max", "pids.max") == "20"
    answer = box.exec_sync("sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21; do sleep 5 & done")
    assert b"can't fork" in answer.stderr or answer.exit_code != 0, answer


@case("limits", "every process of a container is in its cgroup, in every hierarchy, below its pod's")
def membership(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    t.wait_for("its children start", lambda: len(box.exec("ps", "-o", "pid").split()) >= 4)
    mine = box.info()["cgroup"]
    assert mine.startswith(pod.info()["cgroup"] + "/")
    for line in box.proc("cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and names != "name=systemd":
            assert path == mine, line
    inside = (box.cgroup("memory") / "cgroup.procs").read_text().split()
    assert len(inside) >= 3 and str(box.pid) in inside


@case("limits", "annotations of an update are read over: the container keeps its own")
def update_annotations(t):
    box = t.pod().container(annotations={"own": "1"}, resources={"cpu_shares": 100})
    t.cri.UpdateContainerResources(container_id=box.id, linux={"cpu_shares": 200},
                                   annotations={"own": "2", "run.oci.hooks.stdout": str(t.folder("update") / "x")})
    status = box.status()
    assert dict(status.annotations) == {"own": "1"} and status.resources.linux.cpu_shares == 200, status
    assert "run.oci.hooks" not in str(box.info()["runtimeSpec"].get("annotations"))
