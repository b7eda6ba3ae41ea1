"""Statistics: against the cgroup's own files, and against load made inside the container."""

import os
import time
from pathlib import Path

from bench import case, has_cgroup2
from davit_test.grpc_client import pb

from oci_image import Entry, Image, Layer

MIB = 1 << 20


def of(t, box):
    return t.cri.ContainerStats(container_id=box.id).stats


def of_pod(t, pod):
    return t.cri.PodSandboxStats(pod_sandbox_id=pod.id).stats


def number(path: Path) -> int:
    return int(path.read_text())


def cpu_nanos(directory_of) -> int:
    """From the file: `directory_of` maps a controller to a directory."""
    if not has_cgroup2():
        return number(directory_of("cpuacct") / "cpuacct.usage")
    for line in (directory_of("cpu") / "cpu.stat").read_text().splitlines():
        if line.startswith("usage_usec "):
            return int(line.split()[1]) * 1000
    raise AssertionError("no usage_usec")


def memory_stat(directory: Path) -> dict[str, int]:
    pairs = {}
    for line in (directory / "memory.stat").read_text().splitlines():
        key, value = line.split()
        pairs[key] = int(value)
    return pairs


def near(got: int, want: int, slack: int) -> None:
    assert abs(got - want) <= slack, f"{got}, the cgroup says {want}"


@case("stats", "CPU is that of the cgroup, and its rate that of the load")
def cpu(t):
    box = t.run("sh", "-c", "while :; do :; done")
    of(t, box)  # the sample that the rate is counted from
    time.sleep(2)
    before = cpu_nanos(box.cgroup)
    stats = of(t, box)
    after = cpu_nanos(box.cgroup)
    assert before <= stats.cpu.usage_core_nano_seconds.value <= after, \
        f"{stats.cpu.usage_core_nano_seconds.value} is not in {before}..{after}"
    rate = stats.cpu.usage_nano_cores.value
    assert 5 * 10**7 < rate < 12 * 10**8, f"one busy loop uses {rate / 1e9:.2f} cores"
    assert abs(stats.cpu.timestamp - time.time_ns()) < 5 * 10**9
    pod = of_pod(t, box.pod)
    assert pod.linux.cpu.usage_core_nano_seconds.value >= after, "the pod used less than its container"


@case("stats", "an idle container has a rate near nothing")
def idle(t):
    box = t.run()
    of(t, box)
    time.sleep(1.2)
    stats = of(t, box)
    assert stats.cpu.HasField("usage_nano_cores"), "no rate after two samples"
    assert stats.cpu.usage_nano_cores.value < 10**8, f"{stats.cpu.usage_nano_cores.value} nanocores asleep"


@case("stats", "memory is that of the cgroup: usage, working set, rss, faults, what is left of the limit")
def memory(t):
    limit = 256 * MIB
    # 64 MiB of anonymous memory, held.
    box = t.pod().container("sh", "-c", "dd if=/dev/zero bs=64M count=1 2>/dev/null | (sleep 1; exec sleep 10000) & "
                            "x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo held; sleep 10000; true",
                            resources={"memory_limit_in_bytes": limit})
    t.wait_for("the shell holds its memory", lambda: "held" in box.log())
    directory = box.cgroup("memory")
    stats = of(t, box).memory
    pairs = memory_stat(directory)
    if has_cgroup2():
        usage, rss, inactive = number(directory / "memory.current"), pairs["anon"], pairs["inactive_file"]
        faults = pairs["pgfault"]
    else:
        usage, rss = number(directory / "memory.usage_in_bytes"), pairs["total_rss"]
        inactive, faults = pairs["total_inactive_file"], pairs["total_pgfault"]
    assert stats.rss_bytes.value >= 32 * MIB, f"{stats.rss_bytes.value} bytes rss with 32 MiB in a variable"
    near(stats.usage_bytes.value, usage, 2 * MIB)
    near(stats.rss_bytes.value, rss, 2 * MIB)
    near(stats.working_set_bytes.value, usage - min(inactive, usage), 2 * MIB)
    near(stats.page_faults.value, faults, 1000)
    assert stats.available_bytes.value == limit - stats.working_set_bytes.value
    pod = of_pod(t, box.pod).linux.memory
    assert pod.usage_bytes.value >= stats.usage_bytes.value - 2 * MIB, "the pod uses less than its container"


@case("stats", "without a memory limit nothing is said to be available")
def unlimited(t):
    box = t.run()
    assert not of(t, box).memory.HasField("available_bytes")


@case("stats", "swap: usage, and what is left of a limit")
def swap(t):
    box = t.pod().container(resources={"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 96 * MIB})
    stats = of(t, box)
    directory = box.cgroup("memory")
    limit_file = directory / ("memory.swap.max" if has_cgroup2() else "memory.memsw.limit_in_bytes")
    if not limit_file.exists():
        t.skip("this kernel does not account swap")
    assert stats.HasField("swap") and stats.swap.timestamp > 0
    left = stats.swap.swap_available_bytes.value
    assert left == 32 * MIB - stats.swap.swap_usage_bytes.value, f"{left} bytes of swap left"


@case("stats", "pressure is that of the cgroup that the processes are in, or absent")
def pressure(t):
    box = t.pod().container("sh", "-c", "while :; do :; done & while :; do :; done & while :; do :; done",
                            resources={"cpu_quota": 20000, "cpu_period": 100000})
    for line in box.proc("cgroup").splitlines():
        if line.startswith("0::"):
            mounts = [m.split()[4] for m in Path("/proc/self/mountinfo").read_text().splitlines() if "cgroup2" in m]
            directory = Path(mounts[0]) / line[3:].lstrip("/")
            break
    else:
        t.skip("no cgroup2 on this node")
    time.sleep(1)
    file = directory / "cpu.pressure"
    inside = str(box.pid) in (directory / "cgroup.procs").read_text().split() and box.id in str(directory)
    stats = of(t, box)
    if not inside or not file.exists():
        assert not stats.cpu.HasField("psi"), "pressure of a cgroup that the container is not in"
        t.skip("the container is in no cgroup2 cgroup of its own here: pressure is absent, as it must be")

    def total(kind):
        return next(int(line.rpartition("total=")[2]) * 1000 for line in file.read_text().splitlines()
                    if line.startswith(kind))
    before = total("some")
    stats = of(t, box)
    after = total("some")
    assert before <= stats.cpu.psi.Some.Total <= after, f"{stats.cpu.psi.Some.Total} ns is not in {before}..{after}"
    assert stats.cpu.psi.Some.Total > 0, "three loops in a fifth of a core never waited"
    assert stats.io.HasField("psi") and stats.memory.HasField("psi")


@case("stats", "the writable layer is what the container wrote, without a walk on the call")
def writable(t):
    box = t.run()
    box.sh("dd if=/dev/zero of=/data bs=1M count=8 2>/dev/null; mkdir /many; for i in 1 2 3 4 5; do echo > /many/$i; done")

    def measured():
        layer = of(t, box).writable_layer
        return layer if layer.used_bytes.value >= 8 * MIB else None
    # The first question after the write may still get the older value, which its time tells.
    layer = t.wait_for("the layer is measured again", measured, timeout_s=30)
    upper = t.engine.root / "containers" / box.id / "upper"
    used, inodes = 0, 0
    for directory, folders, files in os.walk(upper):
        for path in [directory] + [os.path.join(directory, name) for name in files]:
            info = os.lstat(path)
            used += info.st_blocks * 512
            inodes += 1
    assert (layer.used_bytes.value, layer.inodes_used.value) == (used, inodes), f"{layer}, du says {used}, {inodes}"
    assert abs(layer.timestamp - time.time_ns()) < 60 * 10**9


@case("stats", "the first value of a writable layer comes soon after the start")
def first_value(t):
    box = t.run()
    t.wait_for("a first measurement", lambda: of(t, box).HasField("writable_layer"), timeout_s=5)


@case("stats", "network bytes are those that went through the pod's interface")
def network(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "nc -l -p 7000 > /dev/null; sleep 10000")
    before = of_pod(t, pod).linux.network
    assert before.default_interface.name == "eth0" and before.timestamp > 0
    assert [i.name for i in before.interfaces] == ["eth0"], f"{before.interfaces}"
    payload = 4 * MIB
    t.wait_for("nc listens", lambda: ":1B58 " in box.sh("cat /proc/net/tcp /proc/net/tcp6"))
    sender = Path("/proc/net/dev")
    assert sender.exists()
    import socket
    with socket.create_connection((pod.ip, 7000), timeout=10) as conn:
        conn.sendall(b"x" * payload)
    inside = lambda: [int(x) for x in next(  # noqa: E731
        line for line in box.sh("cat /proc/net/dev").splitlines() if "eth0:" in line).split(":")[1].split()]
    t.wait_for("the bytes arrive", lambda: inside()[0] >= payload)
    counted = inside()
    after = of_pod(t, pod).linux.network.default_interface
    assert after.rx_bytes.value - before.default_interface.rx_bytes.value >= payload
    near(after.rx_bytes.value, counted[0], 4096)
    near(after.tx_bytes.value, counted[8], 4096)
    assert after.tx_bytes.value > before.default_interface.tx_bytes.value, "no acknowledgement was counted"


@case("stats", "a pod on the node's network has no network numbers")
def host_network(t):
    pod = t.pod(namespaces={"network": pb.NODE})
    pod.container()
    stats = of_pod(t, pod).linux
    assert not stats.HasField("network"), "the node's traffic is not the pod's"
    assert stats.HasField("cpu") and len(stats.containers) == 1


@case("stats", "stopping a pod does not wait for its counters, and lets its namespace go")
def namespace_goes(t):
    pod = t.pod()
    box = pod.container()
    inode = os.stat(f"/proc/{box.pid}/ns/net").st_ino
    of_pod(t, pod)

    def kept() -> int:
        count = 0
        for fd in Path(f"/proc/{t.engine.pid}/fd").iterdir():
            try:
                count += os.readlink(fd).endswith("/net/dev")
            except FileNotFoundError:
                continue
        return count
    assert kept() == 1, "the counters are not kept open: this case proves nothing"
    pod.stop()
    assert kept() == 0, "a stopped pod's counters are still open"
    assert not any(os.stat(entry).st_ino == inode for entry in Path("/proc").glob("[0-9]*/ns/net")
                   if entry.exists()), "somebody is still in the namespace"


@case("stats", "processes of a pod are processes, not threads")
def processes(t):
    pod = t.pod()
    one = pod.container("sh", "-c", "sleep 10000 & sleep 10000 & wait")
    two = pod.container("sleep", "10000")
    t.wait_for("three processes of the first", lambda: len(
        (one.cgroup("pids") / "cgroup.procs").read_text().split()) == 3)
    assert of_pod(t, pod).linux.process.process_count.value == 4
    two.stop()
    assert of_pod(t, pod).linux.process.process_count.value == 3


@case("stats", "a pod's numbers are its cgroup's, and it lists its running containers")
def pod_totals(t):
    pod = t.pod()
    a, b = pod.container(), pod.container()
    ended = pod.container("true")
    ended.wait_exit()
    stats = of_pod(t, pod)
    assert stats.attributes.id == pod.id and stats.attributes.metadata == pod.config.metadata
    assert {c.attributes.id for c in stats.linux.containers} == {a.id, b.id}
    cpu_sum = sum(c.cpu.usage_core_nano_seconds.value for c in stats.linux.containers)
    assert stats.linux.cpu.usage_core_nano_seconds.value >= cpu_sum
    directory = a.cgroup("memory").parent
    usage = number(directory / ("memory.current" if has_cgroup2() else "memory.usage_in_bytes"))
    near(stats.linux.memory.usage_bytes.value, usage, 2 * MIB)


@case("stats", "pods that share a cgroup do not count each other")
def shared_cgroup(t):
    if has_cgroup2() and Path("/run/systemd/system").exists():
        t.skip("a parent that is no slice is not for the systemd driver")
    parent = f"/davit-conformance-{os.getpid()}"
    busy, calm = (t.pod(linux={"cgroup_parent": parent}) for _ in range(2))
    burner = busy.container("sh", "-c", "while :; do :; done")
    calm.container()
    time.sleep(1)
    calm_cpu = of_pod(t, calm).linux.cpu.usage_core_nano_seconds.value
    busy_cpu = of_pod(t, busy).linux.cpu.usage_core_nano_seconds.value
    assert calm_cpu < busy_cpu / 2, f"a sleeping pod used {calm_cpu} ns, the busy one beside it {busy_cpu}"
    assert busy_cpu <= cpu_nanos(burner.cgroup)
    for pod in (calm, busy):  # neither hinders the other's end, and nothing of the parent stays
        pod.stop()
        pod.remove()
    assert not list(Path("/sys/fs/cgroup").glob(f"*{parent}")), "the parent is still there"


@case("stats", "lists and their filters: id, pod, labels; what has ended is left out")
def lists(t):
    pod_a = t.pod(labels={"tier": "a"})
    pod_b = t.pod(labels={"tier": "b"})
    box_a = pod_a.container(labels={"app": "one"})
    box_b = pod_b.container(labels={"app": "two"})
    done = pod_b.container("true")
    done.wait_exit()

    def containers(**f):
        return {s.attributes.id for s in t.cri.ListContainerStats(filter=f).stats}

    def pods(**f):
        return {s.attributes.id for s in t.cri.ListPodSandboxStats(filter=f).stats}
    assert containers() == {box_a.id, box_b.id}
    assert containers(id=box_a.id[:12]) == {box_a.id}
    assert containers(pod_sandbox_id=pod_b.id) == {box_b.id}
    assert containers(label_selector={"app": "two"}) == {box_b.id}
    assert containers(label_selector={"app": "three"}) == set()
    assert pods() == {pod_a.id, pod_b.id}
    assert pods(id=pod_a.id) == {pod_a.id}
    assert pods(label_selector={"tier": "b"}) == {pod_b.id}
    pod_b.stop()
    assert pods() == {pod_a.id} and containers() == {box_a.id}
    t.cri.refused("PodSandboxStats", "FAILED_PRECONDITION", "not ready", pod_sandbox_id=pod_b.id)
    t.cri.refused("PodSandboxStats", "NOT_FOUND", "nothing", pod_sandbox_id="nothing")
    t.cri.refused("ContainerStats", "NOT_FOUND", "nothing", container_id="nothing")


@case("stats", "streams give each item of the lists once")
def streams(t):
    pods = [t.pod() for _ in range(3)]
    boxes = [pod.container() for pod in pods for _ in range(2)]
    got = [s.attributes.id for m in t.cri.StreamContainerStats() for s in m.container_stats]
    assert sorted(got) == sorted(b.id for b in boxes)
    got = [s.attributes.id for m in t.cri.StreamPodSandboxStats() for s in m.pod_sandbox_stats]
    assert sorted(got) == sorted(p.id for p in pods)
    got = [m.pod_sandbox_id for message in t.cri.StreamPodSandboxMetrics() for m in message.pod_sandbox_metrics]
    assert sorted(got) == sorted(p.id for p in pods)
    only = t.cri.StreamContainerStats(filter={"id": boxes[0].id})
    assert [s.attributes.id for m in only for s in m.container_stats] == [boxes[0].id]
    pods[0].stop()
    left = [s.attributes.id for m in t.cri.StreamPodSandboxStats() for s in m.pod_sandbox_stats]
    assert sorted(left) == sorted(p.id for p in pods[1:])


@case("stats", "a restart of the engine loses no numbers")
def restart(t):
    box = t.run("sh", "-c", "while :; do :; done")
    before = of_pod(t, box.pod).linux
    t.engine.stop()
    t.start_engine()
    after = of_pod(t, box.pod).linux
    assert after.cpu.usage_core_nano_seconds.value >= before.cpu.usage_core_nano_seconds.value
    assert after.network.default_interface.rx_bytes.value >= before.network.default_interface.rx_bytes.value
    t.wait_for("the writable layer is measured", lambda: of(t, box).HasField("writable_layer"), timeout_s=10)


@case("stats", "ImageFsInfo is what the store has on the disk")
def image_fs(t):
    info = t.cri.ImageFsInfo()
    image, containers = info.image_filesystems[0], info.container_filesystems[0]
    assert image.fs_id.mountpoint == str(t.engine.root) and image.timestamp > 0
    inodes = 0
    for folder in ("layers", "content"):
        for directory, _, files in os.walk(t.engine.root / folder):
            inodes += 1 + len(files)
    assert image.inodes_used.value <= inodes, f"{image.inodes_used.value} inodes, the disk has {inodes}"
    before = image.used_bytes.value
    size = 6 * MIB
    t.image("large", Image([Layer.of([Entry("/big", data=os.urandom(size))])], {"Cmd": ["/big"]}))
    grown = t.cri.ImageFsInfo().image_filesystems[0].used_bytes.value - before
    assert size <= grown <= 3 * size, f"6 MiB of random bytes made it grow by {grown}"
    t.cri.RemoveImage(image={"image": "registry.k8s.io/conformance/large:1"})
    shrunk = t.cri.ImageFsInfo().image_filesystems[0].used_bytes.value
    assert abs(shrunk - before) < MIB, f"{shrunk} after the image was removed, {before} before it came"
    assert containers.fs_id.mountpoint == image.fs_id.mountpoint
