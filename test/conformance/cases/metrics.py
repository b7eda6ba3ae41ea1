"""Pod metrics (KEP-2371): what the kubelet serves as /metrics/cadvisor, against the cgroup's files; and davitd's own
metrics for Prometheus."""

import os
import re
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench import case, has_cgroup2
from davit_test.grpc_client import pb

MIB = 1 << 20
BASE = ["container", "id", "image", "name", "namespace", "pod"]


def samples(t, pod, box=None) -> dict[tuple, int]:
    """{(name, *extra labels): value} of the pod itself, or of a container."""
    keys = {d.name: list(d.label_keys) for d in t.cri.ListMetricDescriptors().descriptors}
    for entry in t.cri.ListPodSandboxMetrics().pod_metrics:
        if entry.pod_sandbox_id != pod.id:
            continue
        metrics = entry.metrics
        if box is not None:
            metrics = next(c.metrics for c in entry.container_metrics if c.container_id == box.id)
        found = {}
        for metric in metrics:
            assert metric.name in keys, f"{metric.name} has no descriptor"
            assert len(metric.label_values) == len(keys[metric.name]), f"{metric.name}: {metric.label_values}"
            assert keys[metric.name][:6] == BASE
            labels = dict(zip(keys[metric.name], metric.label_values))
            assert labels["namespace"] == "conformance" and labels["pod"] == pod.config.metadata.name
            assert labels["container"] == (box.config.metadata.name if box else "")
            assert labels["name"] == (box.id if box else pod.id)
            key = (metric.name, *metric.label_values[6:])
            assert key not in found, f"{key} comes twice"
            assert abs(metric.timestamp - time.time_ns()) < 10 * 10**9
            found[key] = metric.value.value
        return found
    raise AssertionError("the pod has no metrics")


def number(path: Path) -> int:
    return int(path.read_text())


@case("metrics", "descriptors are unique, explained, and have cAdvisor's labels")
def descriptors(t):
    all_of_them = t.cri.ListMetricDescriptors().descriptors
    names = [d.name for d in all_of_them]
    assert len(names) == len(set(names)) and all(d.help for d in all_of_them)
    # What dashboards and the kubelet's own consumers read.
    for name in ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_memory_rss",
                 "container_network_receive_bytes_total", "container_fs_usage_bytes", "container_start_time_seconds",
                 "container_oom_events_total", "container_spec_memory_limit_bytes", "container_processes",
                 "container_pressure_cpu_waiting_seconds_total", "container_last_seen"):
        assert name in names, f"{name} is missing"


@case("metrics", "CPU, quota and throttling are the cgroup's")
def cpu(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "while :; do :; done",
                        resources={"cpu_quota": 20000, "cpu_period": 100000, "cpu_shares": 512})
    time.sleep(6)  # a fifth of a core, seconds are whole
    got = samples(t, pod, box)
    throttled = dict(line.split() for line in (box.cgroup("cpu") / "cpu.stat").read_text().splitlines())
    used = got["container_cpu_usage_seconds_total", "total"]
    assert 1 <= used <= 3, f"{used} s of CPU in 6 s at a fifth of a core"
    split = got["container_cpu_user_seconds_total",] + got["container_cpu_system_seconds_total",]
    assert used - 2 <= split <= used + 1
    assert 0 <= int(throttled["nr_throttled"]) - got["container_cpu_cfs_throttled_periods_total",] <= 20
    assert got["container_cpu_cfs_throttled_periods_total",] > 10
    assert got["container_cpu_cfs_periods_total",] >= got["container_cpu_cfs_throttled_periods_total",]
    held_back = int(throttled["throttled_usec"]) // 10**6 if has_cgroup2() else int(throttled["throttled_time"]) // 10**9
    assert 0 <= held_back - got["container_cpu_cfs_throttled_seconds_total",] <= 1
    assert got["container_spec_cpu_quota",] == 20000 and got["container_spec_cpu_period",] == 100000
    if not has_cgroup2():
        assert got["container_spec_cpu_shares",] == 512
    pod_used = samples(t, pod)["container_cpu_usage_seconds_total", "total"]
    assert pod_used >= used


@case("metrics", "memory, limits and OOM kills are the cgroup's")
def memory(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo held; sleep 10000; true",
                        resources={"memory_limit_in_bytes": 160 * MIB})
    t.wait_for("the shell holds its memory", lambda: "held" in box.log())
    directory = box.cgroup("memory")
    faults = r"^pgfault (\d+)$" if has_cgroup2() else r"^total_pgfault (\d+)$"
    before = int(re.search(faults, (directory / "memory.stat").read_text(), re.M).group(1))
    got = samples(t, pod, box)
    after = int(re.search(faults, (directory / "memory.stat").read_text(), re.M).group(1))
    usage = number(directory / ("memory.current" if has_cgroup2() else "memory.usage_in_bytes"))
    assert abs(got["container_memory_usage_bytes",] - usage) < 2 * MIB
    assert got["container_memory_rss",] >= 32 * MIB
    assert got["container_memory_working_set_bytes",] <= got["container_memory_usage_bytes",]
    assert got["container_spec_memory_limit_bytes",] == 160 * MIB
    assert got["container_memory_max_usage_bytes",] >= got["container_memory_rss",]
    # How many pages a fault brings is the node's affair (transparent huge pages).
    assert 0 < before <= got["container_memory_failures_total", "pgfault", "hierarchy"] <= after
    assert got["container_oom_events_total",] == 0
    # A second process that wants more than there is: the kernel ends it, the container goes on.
    answer = box.exec_sync("sh", "-c", "y=$(head -c 201326592 /dev/zero | tr '\\0' x); echo ${#y}")
    assert answer.exit_code != 0, "192 MiB fit into 160"
    if box.status().state != pb.CONTAINER_RUNNING:
        t.skip("the kernel chose the container's first process")
    assert samples(t, pod, box)["container_oom_events_total",] >= 1


@case("metrics", "processes, threads, descriptors and sockets are those in the container")
def processes(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "nc -l -p 7001 & sleep 10000 & exec 7</dev/null 8</dev/null; wait")
    t.wait_for("nc listens", lambda: ":1B59 " in box.sh("cat /proc/net/tcp /proc/net/tcp6"))
    pids = (box.cgroup("pids") / "cgroup.procs").read_text().split()
    assert len(pids) == 3
    got = samples(t, pod, box)
    descriptors_open = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
    assert got["container_processes",] == 3
    assert got["container_threads",] == number(box.cgroup("pids") / "pids.current")
    assert got["container_file_descriptors",] == descriptors_open
    assert got["container_sockets",] == 1
    soft = re.search(r"Max open files\s+(\d+)", box.proc("limits"))
    assert got["container_ulimits_soft", "max_open_files"] == int(soft.group(1))


@case("metrics", "network counters are the interface's")
def network(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "nc -l -p 7002 > /dev/null; sleep 10000")
    t.wait_for("nc listens", lambda: ":1B5A " in box.sh("cat /proc/net/tcp /proc/net/tcp6"))
    before = samples(t, pod)["container_network_receive_bytes_total", "eth0"]
    with socket.create_connection((pod.ip, 7002), timeout=10) as conn:
        conn.sendall(b"x" * MIB)

    def row() -> list[int]:
        line = next(x for x in box.sh("cat /proc/net/dev").splitlines() if "eth0:" in x)
        return [int(x) for x in line.split(":")[1].split()]
    t.wait_for("the bytes arrive", lambda: row()[0] >= MIB)
    counted = row()
    got = samples(t, pod)
    assert got["container_network_receive_bytes_total", "eth0"] - before >= MIB
    assert abs(got["container_network_receive_bytes_total", "eth0"] - counted[0]) < 4096
    assert abs(got["container_network_receive_packets_total", "eth0"] - counted[1]) < 20
    assert abs(got["container_network_transmit_bytes_total", "eth0"] - counted[8]) < 4096
    assert ("container_network_receive_bytes_total", "lo") not in got
    assert not any(key[0].startswith("container_network") for key in samples(t, pod, box))


@case("metrics", "times: start is the container's, last seen is now")
def times(t):
    pod = t.pod()
    box = pod.container()
    got = samples(t, pod, box)
    assert got["container_start_time_seconds",] == box.status().started_at // 10**9
    assert abs(got["container_last_seen",] - time.time()) < 5


@case("metrics", "bytes written to a disk are counted for their device")
def disk(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "dd if=/dev/zero of=/data bs=1M count=8 conv=fsync 2>/dev/null; echo done; sleep 10000")
    t.wait_for("the bytes are on the disk", lambda: "done" in box.log())
    got = samples(t, pod, box)
    written = {key[1]: value for key, value in got.items() if key[0] == "container_fs_writes_bytes_total"}
    if has_cgroup2():
        text = (box.cgroup("io") / "io.stat").read_text()
        kernel = sum(int(x) for x in re.findall(r"wbytes=(\d+)", text))
    else:
        text = (box.cgroup("blkio") / "blkio.throttle.io_service_bytes_recursive").read_text()
        kernel = sum(int(x) for x in re.findall(r"^\d+:\d+ Write (\d+)$", text, re.M))
    assert sum(written.values()) == kernel, f"{written}, the cgroup says {kernel}"
    assert all(name.startswith("/dev/") for name in written), f"{written}"
    limit = [value for key, value in got.items() if key[0] == "container_fs_limit_bytes"]
    import os
    info = os.statvfs(t.engine.root)
    assert limit == [info.f_blocks * info.f_frsize]


def fetch(address: str, path: str, timeout: float = 5) -> tuple[int, str, str]:
    """(code, content type, body) from "host:port"."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=timeout) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def parse(text: str) -> dict[str, float]:
    values, typed = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed, f"the family {name} comes twice"
            typed.add(name)
        if line.startswith("#") or not line:
            continue
        match = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^}]*\})?) (\S+)', line)
        assert match, f"no sample: {line!r}"
        base = re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", match.group(1))
        assert base in typed or match.group(1).split("{")[0] in typed, f"{line!r} has no TYPE before it"
        assert match.group(1) not in values, f"{match.group(1)} comes twice"
        values[match.group(1)] = float(match.group(2))
    return values


ADDRESS = "127.0.0.1:39537"


@case("metrics", "davitd's own: calls by method and code, objects, process", config=f'[metrics]\naddress = "{ADDRESS}"\n')
def own(t):
    code, kind, body = fetch(ADDRESS, "/metrics")
    assert code == 200 and kind.startswith("text/plain; version=0.0.4"), f"{code} {kind}"
    before = parse(body)
    box = t.run()
    for _ in range(3):
        t.cri.ListContainers()
    t.cri.refused("ExecSync", "NOT_FOUND", "", container_id="nothing", cmd=["true"])
    after = parse(fetch(ADDRESS, "/metrics")[2])

    def grown(series: str) -> float:
        return after.get(series, 0) - before.get(series, 0)
    calls = 'davitd_cri_calls_total{{service="runtime.v1.RuntimeService",method="{}",code="{}"}}'.format
    assert grown(calls("ListContainers", "OK")) == 3
    assert grown(calls("RunPodSandbox", "OK")) == 1
    assert grown(calls("ExecSync", "NOT_FOUND")) == 1
    labels = 'service="runtime.v1.RuntimeService",method="RunPodSandbox"'
    assert grown(f"davitd_cri_call_duration_seconds_count{{{labels}}}") == 1
    assert 0 < grown(f"davitd_cri_call_duration_seconds_sum{{{labels}}}") < 60
    assert after[f'davitd_cri_call_duration_seconds_bucket{{{labels},le="+Inf"}}'] == \
        after[f"davitd_cri_call_duration_seconds_count{{{labels}}}"]
    assert after['davitd_pods{phase="ready"}'] == 1 and after['davitd_containers{phase="running"}'] == 1
    assert after['davitd_image_pulls_total{result="success"}'] >= 1
    assert after["davitd_image_pulled_bytes_total"] > 0
    resident = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{t.engine.pid}/status").read_text()).group(1)) * 1024
    assert abs(after["process_resident_memory_bytes"] - resident) < 16 * MIB
    assert abs(after["process_open_fds"] - len(list(Path(f"/proc/{t.engine.pid}/fd").iterdir()))) <= 5
    box.stop()
    assert parse(fetch(ADDRESS, "/metrics")[2])["davitd_container_exits_total"] == 1
    assert fetch(ADDRESS, "/healthz")[::2] == (200, "ok\n")
    assert fetch(ADDRESS, "/other")[0] == 404


@case("metrics", "the metrics port answers only what it should, and nobody can hold it",
      config=f'[metrics]\naddress = "{ADDRESS}"\n')
def port_abuse(t):
    host, port = ADDRESS.split(":")
    assert len(listeners(t.engine.pid)) == 2, "the streaming server and the metrics"

    def ask(data: bytes) -> bytes:
        with socket.create_connection((host, int(port)), timeout=20) as conn:
            conn.sendall(data)
            answer = b""
            while chunk := conn.recv(65536):
                answer += chunk
            return answer
    assert b" 405 " in ask(b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").split(b"\r\n")[0]
    assert b" 400 " in ask(b"nonsense\r\n\r\n").split(b"\r\n")[0]
    assert b" 431 " in ask(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20000 + b"\r\n\r\n").split(b"\r\n")[0]
    # Clients that never finish their request: later ones are answered all the same, once these have been cut off.
    idle = [socket.create_connection((host, int(port)), timeout=20) for _ in range(40)]
    for conn in idle:
        try:
            conn.sendall(b"GET /metrics HTTP/1.1\r\n")
        except OSError:
            pass

    def served() -> bool:
        try:
            return fetch(ADDRESS, "/healthz")[0] == 200
        except OSError:
            return False
    t.wait_for("the port answers again", served, timeout_s=20)
    for conn in idle:
        conn.close()


@case("metrics", "without an address nothing listens")
def off(t):
    assert len(listeners(t.engine.pid)) == 1, "more than the streaming server listens"


def listeners(pid: int) -> set[str]:
    """Local addresses on which the process waits for TCP connections."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(fd)))
        except OSError:
            continue  # closed meanwhile
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    return {f[1] for f in (line.split() for line in lines) if f[3] == "0A" and f[9] in inodes}
