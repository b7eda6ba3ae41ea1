"""User namespaces (KEP-127): a pod's ids are others on the host, and its files are the pod's all the same."""

import os
import stat
from pathlib import Path

from bench import case
from davit_test.grpc_client import CallFailed
from oci_image import Entry, Image, Layer, directory

AREA = "user namespaces"
HOST_ID = 300_000
LENGTH = 65_536
MAPPING = {"host_id": HOST_ID, "container_id": 0, "length": LENGTH}
USERNS = {"mode": "POD", "uids": [MAPPING], "gids": [MAPPING]}
MAPPED = {"uidMappings": [MAPPING], "gidMappings": [MAPPING]}


def mapped_pod(t, *, pid: str = "CONTAINER", **fields):
    features = t.cri.Status().runtime_handlers
    mine = [h for h in features if h.name == t.handler]
    if not mine or not mine[0].features.user_namespaces:
        t.skip(f"{t.handler}: the engine says that it has no user namespaces here")
    return t.pod(namespaces={"pid": pid, "userns_options": USERNS}, **fields)


@case(AREA, "uid_map and gid_map are exactly the request's")
def maps(t):
    box = mapped_pod(t).container()
    for name in ("uid_map", "gid_map"):
        assert box.exec("cat", f"/proc/self/{name}").split() == ["0", str(HOST_ID), str(LENGTH)]
        assert box.proc(name).split() == ["0", str(HOST_ID), str(LENGTH)]
    assert box.exec("id", "-u") == "0"
    assert box.proc_status("Uid").split() == [str(HOST_ID)] * 4, "root of the container is root on the host"


@case(AREA, "the pod's net, ipc and uts namespaces belong to its root")
def owned(t):
    box = mapped_pod(t).container(security={"capabilities": {"add_capabilities": ["NET_ADMIN", "SYS_ADMIN"]}})
    # Each of these takes the capability in the user namespace that owns the namespace.
    box.sh("ip addr add 192.0.2.7/32 dev lo")
    assert "192.0.2.7" in box.exec("ip", "addr")
    box.exec("hostname", "renamed")
    assert box.exec("hostname") == "renamed"
    assert os.uname().nodename != "renamed"


@case(AREA, "sysctls and hostname reach the pod")
def sysctls(t):
    box = mapped_pod(t, hostname="mapped-host", sysctls={"net.ipv4.ip_unprivileged_port_start": "77",
                                                         "kernel.shm_rmid_forced": "1"}).container()
    assert box.exec("hostname") == "mapped-host"
    assert box.exec("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "77"
    assert box.exec("cat", "/proc/sys/kernel/shm_rmid_forced") == "1"


@case(AREA, "the image's files have their owners, and new ones too")
def rootfs(t):
    box = mapped_pod(t).container()
    for path in ("/", "/bin/busybox", "/etc"):
        assert box.exec("stat", "-c", "%u:%g", path) == "0:0", path
    box.sh("echo x > /new && chown 7:8 /new && mkdir -p /tmp && echo y >> /etc/passwd")
    assert box.exec("stat", "-c", "%u:%g", "/new") == "7:8"
    on_host = os.stat(f"/proc/{box.pid}/root/new")
    assert (on_host.st_uid, on_host.st_gid) == (HOST_ID + 7, HOST_ID + 8)


@case(AREA, "files of other users of the image keep them")
def image_users(t):
    busybox = [Entry("data", "dir", mode=0o750, uid=33, gid=34), Entry("data/f", data=b"x", uid=33, gid=34, mode=0o600)]
    image = t.image("owners", Image([*base_layers(t), Layer.of(busybox)]))
    box = mapped_pod(t).container("sleep", "1000", image=image, security={"run_as_user": {"value": 33},
                                                                          "run_as_group": {"value": 34}})
    assert box.exec("cat", "/data/f") == "x"
    assert box.exec("stat", "-c", "%u:%g %a", "/data/f") == "33:34 600"
    assert box.proc_status("Uid").split()[0] == str(HOST_ID + 33)


def base_layers(t):
    """A layer with busybox at /bin, for images of our own."""
    from busybox import busybox
    from oci_image import host_file
    applets = ("sh", "cat", "sleep", "stat", "id", "ls", "touch", "echo", "rm", "mkdir", "mount")
    entries = [directory("bin"), host_file("bin/busybox", busybox())]
    entries += [Entry(f"bin/{name}", "symlink", target="busybox") for name in applets]
    return [Layer.of(entries)]


@case(AREA, "a mapped volume: container root's files are root's on the host, and the other way round")
def volume(t):
    source = t.folder("mapped")
    (source / "from-host").write_text("hello")
    os.chown(source / "from-host", 5, 6)
    box = mapped_pod(t).container(mounts=[{"host_path": str(source), "container_path": "/v", **MAPPED}])
    assert box.exec("stat", "-c", "%u:%g", "/v/from-host") == "5:6"
    box.sh("echo written > /v/new && chown 8:9 /v/new && echo r > /v/root")
    made = os.stat(source / "new")
    assert (made.st_uid, made.st_gid) == (8, 9)
    assert os.stat(source / "root").st_uid == 0
    assert (source / "new").read_text() == "written\n"


@case(AREA, "a volume without mappings shows the host's ids as nobody's")
def unmapped_volume(t):
    source = t.folder("unmapped")
    (source / "f").write_text("x")
    os.chmod(source, 0o777)
    box = mapped_pod(t).container(mounts=[{"host_path": str(source), "container_path": "/v"}])
    assert box.exec("stat", "-c", "%u", "/v/f") == "65534"
    box.exec("touch", "/v/new")
    assert os.stat(source / "new").st_uid == HOST_ID


@case(AREA, "a mapped volume may be a file, read-only, or below a closed directory")
def volume_kinds(t):
    closed = t.folder("closed")
    (closed / "inner").mkdir()
    (closed / "inner" / "file").write_text("text")
    os.chmod(closed, 0o700)
    box = mapped_pod(t).container(mounts=[
        {"host_path": str(closed / "inner"), "container_path": "/dir", "readonly": True, **MAPPED},
        {"host_path": str(closed / "inner" / "file"), "container_path": "/file", **MAPPED}])
    assert box.exec("cat", "/file") == "text"
    assert box.exec("cat", "/dir/file") == "text"
    assert box.exec_sync("touch", "/dir/new").exit_code != 0
    box.sh("echo more >> /file")
    assert (closed / "inner" / "file").read_text() == "textmore\n"


@case(AREA, "a filesystem that cannot be mapped is named")
def cannot_map(t):
    error = mapped_pod(t).refused(("FAILED_PRECONDITION", "INVALID_ARGUMENT"), "proc",
                                  mounts=[{"host_path": "/proc", "container_path": "/v", **MAPPED}])
    assert "mounts[0]" in error.details, error


@case(AREA, "hosts, hostname and resolv.conf are container root's, shm too")
def pod_files(t):
    box = mapped_pod(t, dns_config={"servers": ["192.0.2.53"]}).container()
    for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm"):
        assert box.exec("stat", "-c", "%u:%g", path) == "0:0", path
    box.sh("echo 192.0.2.9 extra >> /etc/hosts && echo x > /dev/shm/f")
    assert "192.0.2.53" in box.exec("cat", "/etc/resolv.conf")


@case(AREA, "a shared PID namespace belongs to the pod")
def shared_pid(t):
    pod = mapped_pod(t, pid="POD")
    one, two = pod.container(), pod.container()
    assert one.namespace("pid") == two.namespace("pid")
    assert one.namespace("user") == two.namespace("user") != os.readlink("/proc/self/ns/user")
    init = pod.info()["initPid"]
    assert os.readlink(f"/proc/{init}/ns/user") == one.namespace("user"), "davit-init is outside the pod's namespace"
    status = Path(f"/proc/{init}/status").read_text()
    assert f"Uid:\t{HOST_ID}\t" in status and "Groups:\t \n" in status, status
    # /proc of the container is of the namespace: mounting it takes ownership.
    assert "davit-init" in one.sh("cat /proc/1/comm")


@case(AREA, "the limits hold: the first process is in the container's cgroup")
def cgroups(t):
    box = mapped_pod(t).container(resources={"memory_limit_in_bytes": 64 << 20})
    assert str(box.cgroup("memory")).endswith(box.info()["cgroup"]), box.cgroup("memory")
    assert int(box.cgroup_value("memory", "memory.limit_in_bytes", "memory.max")) == 64 << 20


def answers(t) -> bool:
    try:
        return bool(t.cri.Version().version)
    except CallFailed:
        return False


@case(AREA, "exec, log, stdout as a path, terminal, stats and restart of the engine")
def verbs(t):
    pod = mapped_pod(t)
    code, log = pod.ends("sh", "-c", "echo to-stdout > /dev/stdout; echo to-stderr > /dev/stderr; exit 3")
    assert code == 3 and "to-stdout" in log and "to-stderr" in log, (code, log)
    code, log = pod.ends("sh", "-c", "tty && stat -c %u $(tty)", tty=True)
    assert code == 0 and log.split()[-1] == "0", (code, log)
    box = pod.container()
    answer = box.exec_sync("sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr; exit 7")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 7)
    assert t.cri.ContainerStats(container_id=box.id).stats.memory.working_set_bytes.value > 0
    pid = box.pid
    t.engine.kill()
    t.start_engine()
    t.wait_for("the engine answers", lambda: answers(t))  # the client's connection is a new one
    assert box.pid == pid
    assert box.exec("cat", "/proc/self/uid_map").split() == ["0", str(HOST_ID), str(LENGTH)]
    again = pod.container()
    assert again.namespace("user") == box.namespace("user")


@case(AREA, "other users of the node cannot reach the container's files")
def closed_to_others(t):
    box = mapped_pod(t).container()
    home = t.engine.state / "containers" / box.id
    info = os.stat(home)
    assert stat.S_IMODE(info.st_mode) == 0o710 and info.st_gid == HOST_ID, oct(info.st_mode)
    for path in t.engine.state.iterdir():
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.name != "containers" and stat.S_ISDIR(path.lstat().st_mode):
            assert mode & 0o007 == 0, f"{path} is open to others: {oct(mode)}"


@case(AREA, "status says the namespace")
def status(t):
    pod = mapped_pod(t)
    options = pod.status().linux.namespaces.options.userns_options
    assert [m.host_id for m in options.uids] == [HOST_ID] and [m.length for m in options.gids] == [LENGTH]


@case(AREA, "a privileged container is root of its namespace only")
def privileged(t):
    pod = mapped_pod(t, security={"privileged": True})
    box = pod.container(security={"privileged": True})
    assert box.proc_status("Uid").split()[0] == str(HOST_ID)
    assert box.exec("cat", "/proc/self/uid_map").split()[1] == str(HOST_ID)
    assert box.exec_sync("sh", "-c", "echo 1 > /proc/sys/kernel/panic").exit_code != 0


@case(AREA, "NODE is no namespace")
def node(t):
    box = t.pod(namespaces={"pid": "CONTAINER", "userns_options": {"mode": "NODE"}}).container()
    assert box.namespace("user") == os.readlink("/proc/self/ns/user")


@case(AREA, "every other request is refused by name")
def refusals(t):
    def options(**change):
        return {"pid": "CONTAINER", "userns_options": {**USERNS, **change}}

    other = {"host_id": HOST_ID + LENGTH, "container_id": LENGTH, "length": 1}
    cases = [
        ("CONTAINER", options(mode="CONTAINER")),
        ("TARGET", options(mode="TARGET")),
        ("NODE with mappings", options(mode="NODE")),
        ("2 mappings", options(uids=[MAPPING, other])),
        ("2 mappings", options(gids=[MAPPING, other])),
        ("0 mappings", options(gids=[])),
        ("container ID 0", options(uids=[{**MAPPING, "container_id": 1}])),
        ("length is 0", options(uids=[{**MAPPING, "length": 0}])),
        ("4294967294", options(uids=[{**MAPPING, "host_id": 4_294_967_295, "length": 2}])),
        ("differ", options(gids=[{**MAPPING, "host_id": HOST_ID + 1}])),
        ("network namespace", {**options(), "network": "NODE"}),
        ("IPC namespace", {**options(), "ipc": "NODE"}),
        ("PID namespace", {**options(), "pid": "NODE"}),
    ]
    for word, namespaces in cases:
        error = t.refused_pod("INVALID_ARGUMENT", word, namespaces=namespaces)
        assert "userns_options" in error.details, error


@case(AREA, "a container that differs from its pod is refused by name")
def container_refusals(t):
    pod = mapped_pod(t)
    plain = t.pod()
    bad = {"mode": "POD", "uids": [{**MAPPING, "host_id": 1}], "gids": [MAPPING]}
    pod.refused("INVALID_ARGUMENT", "userns_options.uids", namespaces={"pid": "CONTAINER", "userns_options": bad})
    pod.refused("INVALID_ARGUMENT", "userns_options.mode",
                namespaces={"pid": "CONTAINER", "userns_options": {"mode": "NODE"}})
    plain.refused("INVALID_ARGUMENT", "userns_options.mode",
                  namespaces={"pid": "CONTAINER", "userns_options": USERNS})
    pod.refused("INVALID_ARGUMENT", "pid", namespaces={"pid": "NODE"})
    mount = {"host_path": str(t.folder("v")), "container_path": "/v"}
    plain.refused("INVALID_ARGUMENT", "mounts[0].uidMappings", mounts=[{**mount, **MAPPED}])
    pod.refused("INVALID_ARGUMENT", "mounts[0].gidMappings", mounts=[{**mount, "uidMappings": [MAPPING]}])
    pod.refused("INVALID_ARGUMENT", "mounts[0].propagation",
                mounts=[{**mount, "propagation": "PROPAGATION_BIDIRECTIONAL"}],
                security={"privileged": False})
