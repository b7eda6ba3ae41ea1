"""Mounts of host paths, masked and read-only paths."""

import os
import subprocess
import uuid

from bench import case


def options_of(box, path: str) -> set[str]:
    found = [line.split()[3] for line in box.exec("cat", "/proc/self/mounts").splitlines() if line.split()[1] == path]
    assert found, f"{path} is no mount point"
    return set(found[-1].split(","))


def propagation_of(box, path: str) -> str:
    for line in box.exec("cat", "/proc/self/mountinfo").splitlines():
        fields = line.split()
        if fields[4] == path:
            return " ".join(fields[6:fields.index("-")])
    raise AssertionError(f"{path} is no mount point")


class HostMount:
    """A shared mount on the host with a tmpfs below it, gone afterwards."""

    def __init__(self, t, shared: bool = True):
        self.root = t.folder("mount")
        self.below = self.root / "below"
        self._shared = shared

    def __enter__(self) -> "HostMount":
        subprocess.run(["mount", "--bind", str(self.root), str(self.root)], check=True)
        subprocess.run(["mount", "--make-shared" if self._shared else "--make-private", str(self.root)], check=True)
        self.below.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "conformance", str(self.below)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-R", "-l", str(self.root)], check=True)


@case("volumes", "a directory and a file: both sides see the other's changes, and readonly holds")
def bind(t):
    folder = t.folder("bind")
    (folder / "from-host").write_text("host\n")
    (folder / "file").write_text("one\n")
    box = t.run("sleep", "1000", mounts=[
        {"container_path": "/data", "host_path": str(folder)},
        {"container_path": "/ro", "host_path": str(folder), "readonly": True},
        {"container_path": "/etc/one-file", "host_path": str(folder / "file")}])
    assert box.exec("cat", "/data/from-host") == "host"
    box.sh("echo box > /data/from-box; echo two > /etc/one-file")
    assert (folder / "from-box").read_text() == "box\n" and (folder / "file").read_text() == "two\n"
    answer = box.exec_sync("sh", "-c", "echo x > /ro/x")
    assert answer.exit_code != 0 and b"Read-only" in answer.stderr, answer
    # CAP_SYS_ADMIN is not there to undo it.
    assert box.exec_sync("mount", "-o", "remount,rw", "/ro").exit_code != 0
    mounts = {m.container_path: m for m in box.status().mounts}
    assert mounts["/ro"].readonly and not mounts["/data"].readonly and mounts["/data"].host_path == str(folder)


@case("volumes", "propagation private, slave and shared: where a mount made on one side shows")
def propagation(t):
    with HostMount(t) as host:
        boxes = {}
        pod = t.pod(security={"privileged": True})
        for mode in ("PRIVATE", "HOST_TO_CONTAINER", "BIDIRECTIONAL"):
            boxes[mode] = pod.container(security={"privileged": True}, mounts=[
                {"container_path": "/v", "host_path": str(host.root), "propagation": f"PROPAGATION_{mode}"}])
            (host.root / mode).mkdir()
        later = host.root / "later"
        later.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "later", str(later)], check=True)
        for mode, box in boxes.items():
            sees = " /v/later " in box.exec("cat", "/proc/self/mounts")
            assert sees == (mode != "PRIVATE"), f"{mode}: the host's later mount is {'' if sees else 'not '}seen"
            box.exec("mount", "-t", "tmpfs", "made", f"/v/{mode}")
            points = subprocess.run(["findmnt", "-rno", "TARGET"], capture_output=True, text=True).stdout.split()
            assert (str(host.root / mode) in points) == (mode == "BIDIRECTIONAL"), f"{mode}: the container's mount"
        assert propagation_of(boxes["PRIVATE"], "/v") == ""
        assert propagation_of(boxes["HOST_TO_CONTAINER"], "/v").startswith("master:")
        assert propagation_of(boxes["BIDIRECTIONAL"], "/v").startswith("shared:")
        shown = {m.propagation for box in boxes.values() for m in box.status().mounts}
        assert shown == {0, 1, 2}, shown


@case("volumes", "readonly leaves what is mounted below writable; recursive_read_only does not")
def recursive(t):
    features = {h.name: h.features for h in t.cri.Status().runtime_handlers}[t.handler]
    with HostMount(t, shared=False) as host:
        pod = t.pod()
        mount = {"container_path": "/v", "host_path": str(host.root), "readonly": True}
        plain = pod.container(mounts=[mount])
        assert plain.exec_sync("touch", "/v/x").exit_code != 0
        plain.exec("touch", "/v/below/x")
        assert features.recursive_read_only_mounts, "crun 1.8 and runc 1.1.5 can do it"
        deep = pod.container(mounts=[{**mount, "recursive_read_only": True}])
        assert deep.exec_sync("touch", "/v/x").exit_code != 0
        answer = deep.exec_sync("touch", "/v/below/y")
        assert answer.exit_code != 0 and b"Read-only" in answer.stderr, answer
        assert not (host.below / "y").exists()
        [shown] = deep.status().mounts
        assert shown.recursive_read_only and shown.readonly


@case("volumes", "a symlink on the host is followed there, one in the image stays inside the container")
def symlinks(t):
    folder = t.folder("link")
    (folder / "real").mkdir()
    (folder / "real" / "note").write_text("real\n")
    (folder / "link").symlink_to(folder / "real")
    outside = t.folder("outside")
    box = t.run("sh", "-c", "sleep 1000", mounts=[
        {"container_path": str(folder / "link"), "host_path": str(folder / "link")}])
    assert box.exec("cat", str(folder / "link" / "note")) == "real"
    # /var/run is what the image says, also when it is a link to a name that the host has.
    import images
    from busybox import busybox
    from oci_image import Entry, Layer, directory
    # The image has a directory of the same name as one of the node: a mount below its link must go to the former.
    parts = str(outside).lstrip("/").split("/")
    inside = [directory("/".join(parts[:n])) for n in range(2, len(parts) + 1)]
    layer = Layer.of([*images.base_entries(busybox()), *inside, Entry("escape", "symlink", target=str(outside))])
    image = t.image("escape", images.shell_image(layer))
    box = t.run("sleep", "1000", image=image, mounts=[
        {"container_path": "/escape/made", "host_path": str(folder / "real")}])
    assert box.exec("cat", "/escape/made/note") == "real" == box.exec("cat", f"{outside}/made/note")
    assert os.listdir(outside) == [], "the mount point was made on the host"


@case("volumes", "a mount point that is not in the image is made; mounts nest in any order")
def nested(t):
    outer, inner = t.folder("outer"), t.folder("inner")
    (inner / "in").write_text("inner\n")
    box = t.run("sleep", "1000", mounts=[
        {"container_path": "/new/deep/in", "host_path": str(inner)},
        {"container_path": "/new/deep", "host_path": str(outer)}])
    assert box.exec("cat", "/new/deep/in/in") == "inner"
    assert (outer / "in").is_dir()


@case("volumes", "masked_paths and readonly_paths: the request's lists, else the default ones; none when privileged")
def masked(t):
    pod = t.pod()
    box = pod.container(security={"masked_paths": ["/proc/meminfo", "/sys/kernel"], "readonly_paths": ["/etc", "/tmp"]})
    assert box.exec("cat", "/proc/meminfo") == "" and box.exec("ls", "-A", "/sys/kernel") == ""
    assert box.exec_sync("touch", "/etc/x").exit_code != 0 and box.exec_sync("touch", "/tmp/x").exit_code != 0
    # A list replaces the default one.
    assert "/proc/sys" not in {line.split()[1] for line in box.exec("cat", "/proc/self/mounts").splitlines()}
    plain = pod.container()
    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"):
        if os.path.exists(path):
            assert plain.exec_sync("head", "-c", "1", path).stdout == b"", f"{path} is readable"
    for path in ("/sys/firmware", "/proc/acpi", "/proc/scsi"):
        if os.path.exists(path):
            assert plain.exec("ls", "-A", path) == "", f"{path} is not empty"
    answer = plain.exec_sync("sh", "-c", "echo 0 > /proc/sys/kernel/panic")
    assert answer.exit_code != 0 and b"Read-only" in answer.stderr, answer
    for path in ("/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/sys"):
        if os.path.exists(path):
            assert "ro" in options_of(plain, path), path
    free = t.pod(security={"privileged": True}).container(security={"privileged": True})
    assert free.exec_sync("test", "-s", "/proc/interrupts").exit_code in (0, 1)
    assert free.exec("cat", "/proc/interrupts") != "" and "rw" in options_of(free, "/proc")


@case("volumes", "a propagation that the host's mount does not have is refused by the field's name")
def refused_propagation(t):
    with HostMount(t, shared=False) as host:
        t.pod(security={"privileged": True}).refused(
            "INVALID_ARGUMENT", "mounts[0].propagation", security={"privileged": True},
            mounts=[{"container_path": "/v", "host_path": str(host.root), "propagation": "PROPAGATION_BIDIRECTIONAL"}])


@case("volumes", "/dev is the container's own: a small tmpfs with the usual nodes, and writable")
def dev(t):
    box = t.run()
    nodes = set(box.exec("ls", "/dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "mqueue", "ptmx", "fd", "stdin",
            "stdout", "stderr"} <= nodes, nodes
    assert nodes <= {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "mqueue", "ptmx", "fd", "stdin",
                     "stdout", "stderr", "core", "console"}, f"the node's devices: {nodes}"
    size = box.sh("df -k /dev | tail -1").split()[1]
    assert int(size) == 65536, f"/dev has {size} KiB"
    name = uuid.uuid4().hex
    box.exec("touch", f"/dev/{name}")
    # What the kernel shows there and in its other file systems is no program and no device, and has no ids to set.
    # Devices are made in /dev, and /dev/pts is made of them.
    for path, words in (("/proc", "nosuid nodev noexec"), ("/sys", "nosuid nodev noexec ro"), ("/dev", "nosuid"),
                        ("/dev/pts", "nosuid noexec"), ("/dev/mqueue", "nosuid nodev noexec"),
                        ("/dev/shm", "nosuid nodev noexec")):
        missing = set(words.split()) - options_of(box, path)
        assert not missing, f"{path} lacks {missing}"
    assert not os.path.exists(f"/dev/{name}")
