"""Mounts: options, propagation, recursive read-only, links, what is not there."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

from bench import case

AREA = "mounts"


@contextmanager
def mounted(path: Path, *arguments: str):
    subprocess.run(["mount", *arguments, str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-R", str(path)], check=True)


def flags(box, path: str) -> list[str]:
    """The options of the mount that the container has at the path."""
    for line in box.exec("cat", "/proc/self/mountinfo").splitlines():
        fields = line.split()
        if fields[4] == path:
            return fields[5].split(",")
    raise AssertionError(f"no mount at {path}")


@case(AREA, "noexec, nodev and nosuid hold; other options are refused by name")
def options(t):
    source = t.folder("options")
    program = source / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    mount = {"host_path": str(source), "container_path": "/v"}
    pod = t.pod()
    box = pod.container(mounts=[mount, {**mount, "container_path": "/n",
                                        "mount_options": ["noexec", "nodev", "nosuid"]}])
    assert box.exec("/v/program") == "ran"
    assert box.exec_sync("sh", "-c", "/n/program").exit_code == 126
    assert {"noexec", "nodev", "nosuid"} <= set(flags(box, "/n"))
    assert not {"noexec", "nodev", "nosuid"} & set(flags(box, "/v"))
    box.exec("touch", "/n/writable")
    for option in ("noatime", "exec", "bind", "", "idmap", "ro"):
        error = pod.refused("INVALID_ARGUMENT", "mount_options", mounts=[{**mount, "mount_options": [option]}])
        assert f'"{option}"' in error.details, error
    assert t.cri.Status().features.mount_options


@case(AREA, "HOST_TO_CONTAINER shows later mounts of the host, and not the reverse")
def slave(t):
    source = t.folder("slave")
    with mounted(source, "-t", "tmpfs", "t"):
        subprocess.run(["mount", "--make-shared", str(source)], check=True)
        (source / "below").mkdir()
        box = t.pod().container(mounts=[{"host_path": str(source), "container_path": "/v",
                                         "propagation": "PROPAGATION_HOST_TO_CONTAINER"},
                                        {"host_path": str(source), "container_path": "/private"}])
        with mounted(source / "below", "-t", "tmpfs", "b"):
            (source / "below" / "late").write_text("")
            assert box.exec("ls", "/v/below") == "late"
            assert box.exec("ls", "/private/below") == ""


@case(AREA, "propagation from a mount that cannot give it is refused by name")
def propagation_refusals(t):
    source = t.folder("private")
    with mounted(source, "-t", "tmpfs", "t"):
        subprocess.run(["mount", "--make-private", str(source)], check=True)
        mount = {"host_path": str(source), "container_path": "/v"}
        pod = t.pod(security={"privileged": True})
        pod.refused("INVALID_ARGUMENT", "shared or slave",
                    mounts=[{**mount, "propagation": "PROPAGATION_HOST_TO_CONTAINER"}])
        pod.refused("INVALID_ARGUMENT", "shared", security={"privileged": True},
                    mounts=[{**mount, "propagation": "PROPAGATION_BIDIRECTIONAL"}])
        subprocess.run(["mount", "--make-shared", str(source)], check=True)
        pod.refused("INVALID_ARGUMENT", "privileged", mounts=[{**mount, "propagation": "PROPAGATION_BIDIRECTIONAL"}])


@case(AREA, "BIDIRECTIONAL shows the container's mounts on the host")
def bidirectional(t):
    source = t.folder("shared")
    with mounted(source, "-t", "tmpfs", "t"):
        subprocess.run(["mount", "--make-shared", str(source)], check=True)
        (source / "below").mkdir()
        box = t.pod(security={"privileged": True}).container(
            security={"privileged": True},
            mounts=[{"host_path": str(source), "container_path": "/v", "propagation": "PROPAGATION_BIDIRECTIONAL"}])
        box.sh("mount -t tmpfs x /v/below && touch /v/below/inside")
        assert (source / "below" / "inside").exists()
        box.exec("umount", "/v/below")


@case(AREA, "recursive read-only holds below, plain read-only does not")
def recursive_read_only(t):
    source = t.folder("rro")
    with mounted(source, "-t", "tmpfs", "t"):
        (source / "below").mkdir()
        with mounted(source / "below", "-t", "tmpfs", "b"):
            mount = {"host_path": str(source), "readonly": True}
            pod = t.pod()
            box = pod.container(mounts=[{**mount, "container_path": "/ro"},
                                        {**mount, "container_path": "/rro", "recursive_read_only": True}])
            assert box.exec_sync("touch", "/ro/x").exit_code != 0
            box.exec("touch", "/ro/below/x")
            assert box.exec_sync("touch", "/rro/below/x").exit_code != 0
    mount = {"host_path": str(source), "container_path": "/v", "recursive_read_only": True}
    pod.refused("INVALID_ARGUMENT", "recursive_read_only", mounts=[mount])
    pod.refused("INVALID_ARGUMENT", "recursive_read_only",
                mounts=[{**mount, "readonly": True, "propagation": "PROPAGATION_HOST_TO_CONTAINER"}])


@case(AREA, "a symlinked host path is followed on the host, a dangling one refused")
def links(t):
    source = t.folder("links")
    (source / "real").mkdir()
    (source / "real" / "f").write_text("real")
    (source / "link").symlink_to("real")
    (source / "dangling").symlink_to("nowhere")
    pod = t.pod()
    box = pod.container(mounts=[{"host_path": str(source / "link"), "container_path": "/v"}])
    assert box.exec("cat", "/v/f") == "real"
    pod.refused("INVALID_ARGUMENT", "mounts[0].host_path",
                mounts=[{"host_path": str(source / "dangling"), "container_path": "/v"}])
    assert not (source / "nowhere").exists()


@case(AREA, "a host path that is not there is made")
def absent(t):
    wanted = t.folder("absent") / "a" / "b"
    box = t.pod().container(mounts=[{"host_path": str(wanted), "container_path": "/v"}])
    box.exec("touch", "/v/f")
    assert (wanted / "f").exists() and os.stat(wanted).st_mode & 0o777 == 0o755


@case(AREA, "a mount may lie over another, /dev/shm and /etc/hosts")
def over(t):
    one, two, shm = t.folder("one"), t.folder("two"), t.folder("shm")
    (one / "inner").mkdir()
    (two / "f").write_text("two")
    (shm / "f").write_text("shm")
    hosts = t.folder("hosts") / "hosts"
    hosts.write_text("192.0.2.1 mine\n")
    box = t.pod().container(mounts=[{"host_path": str(two), "container_path": "/v/inner"},
                                    {"host_path": str(one), "container_path": "/v"},
                                    {"host_path": str(shm), "container_path": "/dev/shm"},
                                    {"host_path": str(hosts), "container_path": "/etc/hosts"}])
    assert box.exec("cat", "/v/inner/f") == "two"
    assert box.exec("cat", "/dev/shm/f") == "shm"
    assert box.exec("cat", "/etc/hosts") == "192.0.2.1 mine"


@case(AREA, "bad paths are refused by name")
def bad_paths(t):
    pod = t.pod()
    here = str(t.folder("here"))
    for field, mount in (("container_path", {"host_path": here, "container_path": "relative"}),
                         ("container_path", {"host_path": here, "container_path": "/a/../../b"}),
                         ("container_path", {"host_path": here, "container_path": "/"}),
                         ("container_path", {"host_path": here, "container_path": ""}),
                         ("host_path", {"host_path": "relative", "container_path": "/v"}),
                         ("host_path", {"host_path": "", "container_path": "/v"})):
        pod.refused("INVALID_ARGUMENT", f"mounts[0].{field}", mounts=[mount])
