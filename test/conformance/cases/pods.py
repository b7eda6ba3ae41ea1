"""Pods: what the containers of a pod see of its configuration, and what the calls say about it."""

import os
import re
import shutil
import socket
import time
import uuid
from pathlib import Path

from bench import case, has_cgroup2
from davit_test.grpc_client import pb, pod_config


@case("pods", "hostname reaches the containers")
def hostname(t):
    box = t.pod(hostname="here-i-am").container()
    assert box.exec("hostname") == "here-i-am"
    assert box.exec("cat", "/etc/hostname") == "here-i-am"
    hosts = box.exec("cat", "/etc/hosts")
    assert re.search(rf"^{re.escape(box.pod.ip)}\s+here-i-am$", hosts, re.M), hosts
    assert box.exec("sh", "-c", "echo $HOSTNAME") == "here-i-am"


@case("pods", "a pod on the node's network has the node's name and files")
def host_network_hostname(t):
    pod = t.pod(namespaces={"network": "NODE", "pid": "CONTAINER"}, hostname="ignored")
    box = pod.container()
    assert box.exec("hostname") == socket.gethostname()
    assert box.exec("cat", "/etc/hosts") == Path("/etc/hosts").read_text().strip()
    assert box.namespace("uts") == os.readlink("/proc/self/ns/uts")
    assert pod.ip == "", f"it has an address of its own: {pod.ip}"


@case("pods", "dns_config is the whole resolv.conf, and without it the node's is")
def dns(t):
    box = t.pod(dns_config={"servers": ["10.9.8.7", "fd00::53"], "searches": ["one.test", "two.test"],
                            "options": ["ndots:3", "edns0"]}).container()
    lines = box.exec("cat", "/etc/resolv.conf").splitlines()
    assert sorted(lines) == sorted(["search one.test two.test", "nameserver 10.9.8.7", "nameserver fd00::53",
                                    "options ndots:3 edns0"]), lines
    plain = t.run()
    assert plain.exec("cat", "/etc/resolv.conf") == Path("/etc/resolv.conf").read_text().strip()


@case("pods", "labels, annotations and metadata come back in status and list, and annotations do nothing")
def metadata(t):
    labels = {"app": "a", "a/b": "ü"}
    notes = {"note": "line\nbreak", "run.oci.keep_original_groups": "1"}
    pod = t.pod(labels=labels, annotations=notes)
    [listed] = t.cri.ListPodSandbox(filter={"id": pod.id}).items
    for seen in (pod.status(), listed):
        assert dict(seen.labels) == labels and dict(seen.annotations) == notes, seen
        assert seen.metadata == pod.config.metadata, seen.metadata
        assert seen.id == pod.id and seen.state == pb.SANDBOX_READY
        assert abs(seen.created_at - time.time_ns()) < 60e9, seen.created_at
        assert seen.runtime_handler == ""


@case("pods", "attempt and uid tell pods of one name apart, and an equal request gets the same pod or an error")
def attempts(t):
    config = pod_config("twice")
    first = t.cri.RunPodSandbox(config=config).pod_sandbox_id
    error = t.cri.refused("RunPodSandbox", "ALREADY_EXISTS", first, config=config)
    assert "attempt 1" in error.details, error
    config.metadata.attempt = 2
    second = t.cri.RunPodSandbox(config=config).pod_sandbox_id
    assert second != first
    config.metadata.uid = uuid.uuid4().hex
    third = t.cri.RunPodSandbox(config=config).pod_sandbox_id
    attempts = sorted(p.metadata.attempt for p in t.cri.ListPodSandbox().items)
    assert attempts == [1, 2, 2] and third not in (first, second)


@case("pods", "a stopped pod has no namespaces, no processes and no address, and keeps its records")
def stop(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "echo kept; sleep 1000")
    pid, address = box.pid, pod.ip
    assert address
    t.wait_for("it writes", lambda: box.log() == "kept\n")
    pod.stop()
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()
    status = pod.status()
    assert status.state == pb.SANDBOX_NOTREADY and status.network.ip == ""
    ended = box.status()
    assert ended.state == pb.CONTAINER_EXITED and ended.exit_code == 137, ended
    assert box.log() == "kept\n"
    pod.stop()  # again: nothing to do, no error
    error = t.cri.refused("CreateContainer", "FAILED_PRECONDITION", "not ready", pod_sandbox_id=pod.id,
                          config=pod.container_config("true"), sandbox_config=pod.config)
    assert pod.id[:12] in error.details, error
    t.cri.refused("PortForward", "FAILED_PRECONDITION", "not ready", pod_sandbox_id=pod.id, port=[80])
    pod.remove()
    t.cri.refused("PodSandboxStatus", "NOT_FOUND", pod.id, pod_sandbox_id=pod.id)
    t.cri.refused("ContainerStatus", "NOT_FOUND", box.id, container_id=box.id)
    pod.remove()


@case("pods", "runtime_handler chooses the runtime, and is refused when it is not configured")
def handler(t):
    for name in ("crun", "runc"):
        if not shutil.which(name):
            t.skip(f"{name} is not installed")
        pod = t.pod(handler=name)
        box = pod.container()
        assert pod.status().runtime_handler == name and box.info()["runtimeHandler"] == name
        assert pod.info()["runtimeHandler"] == name
        # The runtime itself knows the container: crun and runc keep their state in directories of their own.
        assert box.exec("true") == ""
    t.refused_pod("INVALID_ARGUMENT", "runtime_handler", handler="no-such")


@case("pods", "cgroup_parent is the parent of every container's cgroup and stays where it was before")
def cgroup_parent(t):
    if has_cgroup2():
        t.skip("the name of the parent is written for cgroupfs on v1")
    name = f"/davit-conformance-{uuid.uuid4().hex[:8]}"
    parents = [Path("/sys/fs/cgroup", d, name[1:]) for d in ("memory", "cpu", "pids")]
    for parent in parents:
        parent.mkdir()  # as the kubelet does
    try:
        pod = t.pod(linux={"cgroup_parent": name})
        box = pod.container()
        for controller in ("memory", "cpu", "pids"):
            directory = box.cgroup(controller)
            assert str(directory.parent) == f"/sys/fs/cgroup/{controller}{name}", directory
            assert str(box.pid) in (directory / "cgroup.procs").read_text().split()
        assert pod.info()["cgroup"] == name
        pod.remove()
        for parent in parents:
            assert parent.exists(), f"{parent}: the parent of another went with the pod"
            assert [p.name for p in parent.iterdir() if p.is_dir()] == [], f"{parent} is not empty"
    finally:
        for root in Path("/sys/fs/cgroup").iterdir():
            if (root / name[1:]).is_dir():
                (root / name[1:]).rmdir()


@case("pods", "PodSandboxStatus verbose: runtime, cgroup, network and init; and the containers of the pod")
def verbose(t):
    pod = t.pod(namespaces={"pid": "POD"})
    box = pod.container()
    answer = t.cri.PodSandboxStatus(pod_sandbox_id=pod.id, verbose=True)
    info = pod.info()
    assert info["runtimeHandler"] == t.handler and info["hostname"] == box.exec("hostname")
    assert pod.ip in str(info["network"]), info["network"]
    # The init of the pod is pid 1 of its containers.
    assert os.readlink(f"/proc/{info['initPid']}/ns/pid") == box.namespace("pid")
    assert box.proc("cgroup").count(info["cgroup"]) > 0
    assert [c.id for c in answer.containers_statuses] == [box.id]
    assert answer.containers_statuses[0] == box.status()
    assert abs(answer.timestamp - time.time_ns()) < 60e9
    assert not t.cri.PodSandboxStatus(pod_sandbox_id=pod.id).info, "verbose information without being asked"


@case("pods", "PodSandboxStatus says the namespaces that were asked for")
def status_namespaces(t):
    for asked in ({"network": "NODE", "pid": "NODE", "ipc": "NODE"}, {"pid": "CONTAINER"}, {"pid": "POD"}):
        pod = t.pod(namespaces=asked)
        assert pod.status().linux.namespaces.options == pb.NamespaceOption(**asked), pod.status().linux


@case("pods", "a privileged container needs a privileged pod")
def privileged(t):
    t.pod().refused("INVALID_ARGUMENT", "linux.security_context.privileged", security={"privileged": True})
    box = t.pod(security={"privileged": True}).container(security={"privileged": True})
    assert box.exec("ls", "/dev").split().count("kmsg") == 1
    mounts = box.exec("cat", "/proc/self/mounts")
    assert re.search(r"^sysfs /sys sysfs rw", mounts, re.M), mounts
    assert box.proc_status("Seccomp") == "0"


@case("pods", "log_directory and log_path: the directory is made, the file is where ContainerStatus says")
def log_directory(t):
    base = t.folder("logs") / "not" / "there" / "yet"
    pod = t.pod(log_directory=str(base))
    box = pod.create("sh", "-c", "echo out; echo err >&2", log_path="sub/dir/7.log")
    box.start().wait_exit()
    assert box.status().log_path == str(base / "sub/dir/7.log")
    lines = (base / "sub/dir/7.log").read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)"
    assert sorted(re.sub(stamp + " ", "", line) for line in lines) == ["stderr F err", "stdout F out"], lines
    assert all(re.match(stamp + " std", line) for line in lines), lines


@case("pods", "without a log directory output is discarded and the container runs")
def no_log(t):
    pod = t.pod(log_directory="")
    box = pod.container("sh", "-c", "yes | head -c 1000000; exit 4")
    status = box.wait_exit()
    assert status.exit_code == 4 and status.log_path == "", status


@case("pods", "what would concern a process of the pod itself is read over: there is none")
def no_process(t):
    security = {"run_as_user": {"value": 1234}, "run_as_group": {"value": 1234}, "readonly_rootfs": True,
                "supplemental_groups": [4321], "supplemental_groups_policy": "Strict",
                "seccomp": {"profile_type": "Localhost", "localhost_ref": "/no/such.json"},
                "apparmor": {"profile_type": "Unconfined"}, "seccomp_profile_path": "localhost//no/such.json"}
    for pid in ("CONTAINER", "POD"):
        box = t.pod(namespaces={"pid": pid}, security=security).container()
        # The container has what its own request says, which is nothing of it.
        assert box.exec("id", "-u") == "0" and "4321" not in box.exec("id", "-G").split()
        box.sh("echo x > /written")
        assert box.proc_status("Seccomp") == "0"


@case("pods", "CreateContainer goes by the pod's record, whatever sandbox_config says")
def sandbox_config(t):
    pod = t.pod(hostname="as-recorded")
    other = pod_config("another", hostname="as-claimed", log_directory="/tmp/no-such-logs", namespaces={"network": "NODE"},
                       security={"privileged": True})
    config = pod.container_config("sh", "-c", "hostname", log_path="claimed.log", namespaces={"network": "NODE"})
    box = t.cri.CreateContainer(pod_sandbox_id=pod.id, config=config, sandbox_config=other).container_id
    t.cri.StartContainer(container_id=box)
    t.wait_for("it ends", lambda: t.cri.ContainerStatus(container_id=box).status.state == pb.CONTAINER_EXITED)
    log = Path(pod.config.log_directory) / "claimed.log"
    assert log.read_text().endswith(" stdout F as-recorded\n") and not Path("/tmp/no-such-logs").exists()
    config.metadata.name = "privileged"
    config.linux.security_context.privileged = True
    t.cri.refused("CreateContainer", "INVALID_ARGUMENT", "privileged", pod_sandbox_id=pod.id, config=config,
                  sandbox_config=other)
