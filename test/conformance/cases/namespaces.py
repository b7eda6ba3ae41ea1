"""Namespaces: which ones a container shares with its pod and with the node, by the kernel's own numbers."""

import os
import subprocess

from bench import case


def of_node(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


@case("namespaces", "network POD: shared within the pod, with nobody else")
def network_pod(t):
    pod, other = t.pod(), t.pod()
    a, b, c = pod.container(), pod.container(), other.container()
    assert a.namespace("net") == b.namespace("net")
    assert a.namespace("net") not in (of_node("net"), c.namespace("net"))
    assert a.namespace("uts") == b.namespace("uts") != of_node("uts")
    assert pod.ip in a.exec("ip", "addr"), "the pod's address is not on its interface"
    assert a.exec("ip", "addr", "show", "lo").count("127.0.0.1") == 1
    # The containers reach each other by loopback, and the node reaches them by the pod's address.
    a.sh("tcpsvd 0.0.0.0 8080 echo hello >/dev/null 2>&1 &")
    t.wait_for("the port answers", lambda: b.exec_sync("nc", "127.0.0.1", "8080").stdout == b"hello\n")
    assert c.sh(f"nc {pod.ip} 8080") == "hello"


@case("namespaces", "network NODE: the node's own interfaces")
def network_node(t):
    box = t.pod(namespaces={"network": "NODE", "pid": "CONTAINER"}).container()
    assert box.namespace("net") == of_node("net")
    assert sorted(box.exec("ls", "/sys/class/net").split()) == sorted(os.listdir("/sys/class/net"))


@case("namespaces", "pid CONTAINER: the container's process is 1 and sees no other")
def pid_container(t):
    pod = t.pod(namespaces={"pid": "CONTAINER"})
    a, b = pod.container(), pod.container()
    assert len({a.namespace("pid"), b.namespace("pid"), of_node("pid")}) == 3
    assert a.exec("cat", "/proc/1/comm") == "sleep"
    assert "NSpid" in a.proc("status") and a.proc_status("NSpid").split()[-1] == "1"
    assert sorted(a.exec("sh", "-c", "echo /proc/[0-9]*; exec sleep 0").split())[0] == "/proc/1"


@case("namespaces", "pid POD: every container of the pod sees the others' processes")
def pid_pod(t):
    pod = t.pod(namespaces={"pid": "POD"})
    a, b = pod.container("sleep", "11111"), pod.container("sleep", "22222")
    assert a.namespace("pid") == b.namespace("pid") != of_node("pid")
    assert "sleep 22222" in a.exec("ps", "-o", "args") and "sleep 11111" in b.exec("ps", "-o", "args")
    assert a.exec("cat", "/proc/1/comm") not in ("sleep", "")
    # The end of one does not end the other, and the pod's init reaps its orphans.
    a.stop()
    assert b.exec("true") == ""


@case("namespaces", "pid NODE: the container sees the node's processes")
def pid_node(t):
    box = t.pod(namespaces={"pid": "NODE"}).container()
    assert box.namespace("pid") == of_node("pid")
    assert box.exec("cat", f"/proc/{os.getpid()}/comm") == open("/proc/self/comm").read().strip()


@case("namespaces", "ipc POD: System V memory and /dev/shm are shared in the pod, and not with the node")
def ipc_pod(t):
    pod = t.pod()
    a, b = pod.container(), pod.container()
    assert a.namespace("ipc") == b.namespace("ipc") != of_node("ipc")
    note = f"/dev/shm/note-{pod.id}"
    a.sh(f"echo shared > {note}")
    assert b.exec("cat", note) == "shared"
    if os.path.exists(note):
        os.unlink(note)
        raise AssertionError("/dev/shm is the node's")
    size = a.sh("df -k /dev/shm | tail -1").split()[1]
    assert int(size) == 65536, f"/dev/shm has {size} KiB"
    options = [line.split()[3] for line in a.exec("cat", "/proc/self/mounts").splitlines() if line.split()[1] == "/dev/shm"]
    assert all(word in options[-1] for word in ("nosuid", "nodev", "noexec")), options


@case("namespaces", "ipc NODE: System V memory of the node is seen")
def ipc_node(t):
    box = t.pod(namespaces={"ipc": "NODE", "pid": "CONTAINER"}).container()
    assert box.namespace("ipc") == of_node("ipc")
    made = subprocess.run(["ipcmk", "-M", "4096"], capture_output=True, text=True, check=True)
    segment = made.stdout.split()[-1]
    try:
        found = [line.split()[1] for line in box.exec("cat", "/proc/sysvipc/shm").splitlines()[1:]]
        assert segment in found, f"segment {segment} is not among {found}"
    finally:
        subprocess.run(["ipcrm", "-m", segment], check=True)


@case("namespaces", "mount: a container's mounts are its own")
def mount(t):
    box = t.run()
    assert box.namespace("mnt") != of_node("mnt")
    points = {line.split()[1] for line in box.exec("cat", "/proc/self/mounts").splitlines()}
    assert {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/etc/hosts"} <= points, points
    # Nothing of the node's mounts came along.
    strange = [p for p in points if p != "/" and not p.startswith(("/proc", "/sys", "/dev", "/etc/"))]
    assert not strange, strange


@case("namespaces", "modes that make no sense for a pod are refused by name")
def refused(t):
    prefix = "linux.security_context.namespace_options."
    for kind, mode in (("network", "CONTAINER"), ("network", "TARGET"), ("ipc", "CONTAINER"), ("ipc", "TARGET"),
                       ("pid", "TARGET")):
        t.refused_pod("INVALID_ARGUMENT", prefix + kind, namespaces={kind: mode})
    for kind in ("network", "ipc", "pid"):
        t.refused_pod("INVALID_ARGUMENT", prefix + kind, namespaces={kind: 77})
