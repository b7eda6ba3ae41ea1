"""docs/security.md: identity files, generated files, paths inside an image, log files."""

import io
import os
import tarfile
from pathlib import Path

import images
from bench import case
from busybox import busybox
from oci_image import Entry, Layer, directory


def layer_with(*members: tuple[str, bytes, str, bytes]) -> Layer:
    """A layer of raw members: (path, kind, link target, data)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for name, kind, link, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o644
            if kind == tarfile.CHRTYPE:
                info.devmajor, info.devminor = 1, 5
            out.addfile(info, io.BytesIO(data) if data else None)
    return Layer.of_tar(buffer.getvalue())


def shell(t, name: str, *layers: Layer, **config: object) -> str:
    return t.image(name, images.shell_image(Layer.of(images.base_entries(busybox())), *layers, **config))


@case("security", "identity files: a regular file of bounded size, or the creation fails (CVE-2025-4437, CVE-2024-9676)")
def identity_files(t):
    big = b"x:x:1:1::/:/bin/sh\n" * (11 * (1 << 20) // 19)
    pod = t.pod()
    number = {"run_as_user": {"value": 1}}
    for file in ("passwd", "group"):
        for what, member in (("too-big", (f"etc/{file}", tarfile.REGTYPE, "", big)),
                             ("fifo", (f"etc/{file}", tarfile.FIFOTYPE, "", b"")),
                             ("device", (f"etc/{file}", tarfile.CHRTYPE, "", b""))):
            try:
                image = shell(t, f"{file}-{what}", layer_with(member))
            except AssertionError as error:
                assert "device" in str(error) or "fifo" in str(error).lower(), error
                continue  # what cannot be pulled cannot be run
            error = pod.refused(("INVALID_ARGUMENT", "FAILED_PRECONDITION"), f"/etc/{file}", "sleep", "1", image=image,
                                security=number)
            assert "x:x:1" not in error.details


@case("security", "identity files: a link out of the image reads nothing of the node")
def identity_links(t):
    target = t.folder("identity")
    (target / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnode-user:x:7777:7777::/:/bin/sh\n")
    (target / "group").write_text("node-group:x:7777:node-user\n")
    up = "../" * 12
    for name, link in (("absolute", str(target)), ("relative", f"{up}{str(target).lstrip('/')}")):
        image = shell(t, f"identity-{name}", layer_with(("etc/passwd", tarfile.SYMTYPE, f"{link}/passwd", b""),
                                                        ("etc/group", tarfile.SYMTYPE, f"{link}/group", b"")))
        t.pod().refused("NOT_FOUND", "node-user", "sleep", "1", image=image, security={"run_as_username": "node-user"})
        box = t.run("sleep", "1000", image=image, security={"run_as_user": {"value": 7777}})
        assert box.proc_status("Gid").split() == ["0"] * 4, "the node's file gave the group"


@case("security", "generated files: a field cannot become a line of its own (CVE-2022-4318)")
def generated(t):
    evil = "/x\nroot2::0:0::/:/bin/sh"
    # The one line that a user without an entry gets; nothing of the request's environment is in it.
    own = "4242:x:4242:0:4242:/:/sbin/nologin"
    for home in (evil, "/x\\nroot2::0:0::/:/bin/sh", "/x:0:0"):
        box = t.run("sleep", "1000", envs=[{"key": "HOME", "value": home.encode()}],
                    security={"run_as_user": {"value": 4242}})
        assert box.exec("cat", "/etc/passwd") == images.PASSWD + own, "another line got into passwd"
        assert box.exec("cat", "/etc/group") == images.GROUP.strip()
    for fields, word in (({"hostname": "a\n6.6.6.6 evil"}, "hostname"), ({"hostname": "a\tb"}, "hostname"),
                         ({"dns_config": {"servers": ["1.1.1.1\nnameserver 6.6.6.6"]}}, "dns_config.servers"),
                         ({"dns_config": {"searches": ["a\noptions debug"]}}, "dns_config.searches"),
                         ({"dns_config": {"options": ["a b"]}}, "dns_config.options")):
        t.refused_pod("INVALID_ARGUMENT", word, **fields)


@case("security", "generated files: what a container writes into them is bounded (CVE-2020-8557)")
def bounded(t):
    box = t.run()
    for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        answer = box.exec_sync("sh", "-c", f"head -c 100000000 /dev/zero >> {path}", timeout=60)
        assert answer.exit_code != 0, f"{path} took 100 MB"
    pod_files = t.engine.state / "pods"
    used = sum(f.stat().st_size for f in pod_files.rglob("*") if f.is_file() and not f.is_symlink() and "files" in f.parts)
    assert used < 4 << 20, f"{used} bytes of the node"
    # Another pod's are not touched.
    assert t.run().exec("hostname")


@case("security", "/etc as a link out of the image: nothing appears on the node (CVE-2024-5154, CVE-2024-9341)")
def etc_link(t):
    outside = t.folder("etc")
    (outside / "witness").write_text("node\n")
    (outside / "passwd").write_text("node-user:x:7777:7777::/:/bin/sh\n")
    up = "../" * 12
    entries = [e for e in images.base_entries(busybox()) if not e.path.startswith("etc")]
    for name, link in (("absolute", str(outside)), ("relative", f"{up}{str(outside).lstrip('/')}")):
        layer = Layer.of([*entries, Entry("etc", "symlink", target=link)])
        image = t.image(f"etc-{name}", images.shell_image(layer))
        pod = t.pod()
        # The engine itself looks for users in /etc, and for nobody on the node.
        pod.refused("NOT_FOUND", "node-user", image=image, security={"run_as_username": "node-user"})
        try:
            box = pod.container(image=image)
        except AssertionError:
            pass  # refused is as good as contained
        else:
            assert box.exec_sync("cat", "/etc/witness").exit_code != 0, "the node's directory is seen"
        assert sorted(os.listdir(outside)) == ["passwd", "witness"], os.listdir(outside)


@case("security", "image VOLUME that climbs: nothing of the node is copied up (CVE-2022-23648)")
def volume_climbs(t):
    outside = t.folder("volume")
    secret = f"secret-{outside.name}"
    (outside / secret).write_text("node\n")
    up = "/../../../../../../../.."
    for number, path in enumerate((f"{up}{outside}", f"/data{up}{outside}", f"{outside}")):
        image = shell(t, f"volume-{number}", Volumes={path: {}})
        pod = t.pod()
        try:
            box = pod.container(image=image)
        except AssertionError as error:
            assert secret not in str(error)
            continue
        found = box.sh(f"find / -xdev -name {secret} 2>/dev/null; find {outside} -name {secret} 2>/dev/null; true")
        assert found == "", f"{path}: {found}"
        box.sh(f"mkdir -p {outside} 2>/dev/null; echo x > {outside}/planted; true")
        assert os.listdir(outside) == [secret], os.listdir(outside)


@case("security", "/proc or /sys as a link or a volume: the kernel's are not replaced (CVE-2019-16884, CVE-2023-27561)")
def proc_link(t):
    outside = t.folder("proc")
    folder = t.folder("fake-proc")
    (folder / "self").mkdir()
    (folder / "self" / "attr").mkdir()
    base = [e for e in images.base_entries(busybox()) if e.path not in ("proc", "sys")]
    for name, entries in (("proc", [directory("sys"), Entry("proc", "symlink", target="/tmp/fake")]),
                          ("sys", [directory("proc"), Entry("sys", "symlink", target=str(outside))])):
        image = t.image(f"link-{name}", images.shell_image(Layer.of([*base, *entries])))
        pod = t.pod()
        try:
            box = pod.container(image=image)
        except AssertionError:
            continue  # the runtime mounts proc and sysfs on directories only
        types = {line.split()[1]: line.split()[2] for line in box.exec("cat", "/proc/self/mounts").splitlines()}
        assert types.get("/proc", "proc") == "proc"
        assert os.listdir(outside) == []
    # A process whose profile was written into a directory of the request's would run without it.
    pod = t.pod()
    for path in ("/proc", "/proc/self", "/proc/self/attr", "/proc/1/attr/exec", "/proc/sys", "/proc/../proc/self/attr",
                 "//proc/./self"):
        pod.refused("INVALID_ARGUMENT", "mounts[0].container_path",
                    mounts=[{"host_path": str(folder), "container_path": path}])
    # Nor by the image: a volume that it declares there, also by a link.
    links = Layer.of([Entry("to-proc", "symlink", target="/proc")])
    for number, path in enumerate(("/proc", "/proc/self/attr", "/to-proc")):
        image = shell(t, f"volume-proc-{number}", links, Volumes={path: {}})
        pod.refused("INVALID_ARGUMENT", "volume", image=image)
    # Files that only tell about the node may be replaced, as lxcfs does; and the node's own procfs may be seen.
    (folder / "uptime").write_text("42.00 42.00\n")
    box = pod.container(mounts=[{"host_path": str(folder / "uptime"), "container_path": "/proc/uptime"}])
    assert box.exec("cat", "/proc/uptime") == "42.00 42.00"
    box = pod.container(mounts=[{"host_path": "/proc", "container_path": "/proc", "readonly": True}])
    assert box.exec("cat", "/proc/self/mounts") != ""


@case("security", "log files: a planted link is not followed, at the start or when the log is reopened (k8s #44043)")
def log_links(t):
    target = t.folder("log-target") / "shadow"
    target.write_text("untouched\n")
    pod = t.pod()
    logs = Path(pod.config.log_directory)
    (logs / "planted.log").symlink_to(target)
    pod.refused("", "planted.log", "echo", "evil", log_path="planted.log")
    os.mkfifo(logs / "fifo.log")
    pod.refused("", "fifo.log", "echo", "evil", log_path="fifo.log")
    box = pod.container("sh", "-c", "while :; do echo evil; sleep 0.05; done", log_path="good.log")
    t.wait_for("it writes", lambda: (logs / "good.log").stat().st_size > 0)
    (logs / "good.log").rename(logs / "good.log.1")
    (logs / "good.log").symlink_to(target)
    t.cri.refused("ReopenContainerLog", "", "good.log", container_id=box.id)
    assert target.read_text() == "untouched\n"
    # It goes on writing where it wrote before.
    size = (logs / "good.log.1").stat().st_size
    t.wait_for("nothing is lost", lambda: (logs / "good.log.1").stat().st_size > size)


@case("security", "log files: a directory below the pod's that is a link makes nothing behind it (CVE-2025-0750)")
def log_directories(t):
    outside = t.folder("log-outside")
    pod = t.pod()
    (Path(pod.config.log_directory) / "ctr").symlink_to(outside)
    pod.refused("FAILED_PRECONDITION", "log_path", "echo", "evil", log_path="ctr/0.log")
    pod.refused("FAILED_PRECONDITION", "log_path", "echo", "evil", log_path="ctr/deeper/0.log")
    for path in ("../0.log", "ctr/../../0.log", "/../0.log"):
        pod.refused("INVALID_ARGUMENT", "log_path", "echo", "evil", log_path=path)
    assert os.listdir(outside) == []


@case("security", "directories of the engine are its own, also after somebody opened them (CVE-2021-41103)",
      config="[runtime]\n")
def directories(t):
    for root in (t.engine.root, t.engine.state):
        os.chmod(root, 0o755)
    t.restart()
    for root in (t.engine.root, t.engine.state):
        assert root.stat().st_mode & 0o777 == 0o700, f"{root}: {root.stat().st_mode:o}"
    box = t.run()
    listen = t.engine.socket.stat().st_mode & 0o777
    assert listen & 0o007 == 0, f"the socket is open for others: {listen:o}"
    monitor = t.engine.state / "containers" / box.id
    assert monitor.stat().st_mode & 0o077 == 0
