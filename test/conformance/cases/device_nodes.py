"""Devices by path: the node in the container, and what the device cgroup lets through."""

import os
import stat
from pathlib import Path

from bench import case, has_cgroup2


def some_device(t) -> str:
    """A character device of the node that anybody may open, and that is none of the default ones."""
    for path in ("/dev/fuse", "/dev/net/tun", "/dev/loop-control"):
        try:
            os.close(os.open(path, os.O_RDWR))
            return path
        except OSError:
            continue
    t.skip("no device here that can be opened for reading and writing")
    raise AssertionError


def opens(box, path: str) -> str:
    """Of "rw" what the kernel permits."""
    got = ""
    for letter, script in (("r", f": < {path}"), ("w", f": > {path}")):
        answer = box.exec_sync("sh", "-c", script)
        assert answer.exit_code == 0 or b"not permitted" in answer.stderr, answer
        got += letter if answer.exit_code == 0 else ""
    return got


@case("devices by path", "permissions: what is asked for can be done, the rest is denied by the kernel")
def permissions(t):
    device = some_device(t)
    pod = t.pod()
    for asked, want in (("rw", "rw"), ("r", "r"), ("w", "w"), ("rwm", "rw"), ("", "rw")):
        box = pod.container(devices=[{"host_path": device, "container_path": "/dev/given", "permissions": asked}])
        assert opens(box, "/dev/given") == want, f"{asked}: {opens(box, '/dev/given')}"
        host, seen = os.stat(device), box.exec("stat", "-c", "%t %T %f", "/dev/given").split()
        assert (int(seen[0], 16), int(seen[1], 16)) == (os.major(host.st_rdev), os.minor(host.st_rdev))
        assert stat.S_IMODE(int(seen[2], 16)) == stat.S_IMODE(host.st_mode)
        if not has_cgroup2():
            rules = (box.cgroup("devices") / "devices.list").read_text().splitlines()
            numbers = f"c {os.major(host.st_rdev)}:{os.minor(host.st_rdev)} "
            assert any(rule.startswith(numbers) for rule in rules), rules
        box.remove()


@case("devices by path", "without it a device that the container makes for itself stays closed")
def denied(t):
    device = some_device(t)
    number = os.stat(device).st_rdev
    box = t.run()
    box.exec("mknod", "/tmp/own", "c", str(os.major(number)), str(os.minor(number)))  # CAP_MKNOD is a default one
    assert opens(box, "/tmp/own") == ""
    free = t.pod(security={"privileged": True}).container(security={"privileged": True})
    free.exec("mknod", "/tmp/own", "c", str(os.major(number)), str(os.minor(number)))
    assert opens(free, "/tmp/own") == "rw"


@case("devices by path", "a directory gives every device in it; container_path may be another name")
def folder(t):
    made = t.folder("devices")
    for name, minor in (("one", 3), ("two", 5)):
        os.mknod(made / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    (made / "file").write_text("no device")
    box = t.run("sleep", "1000", devices=[{"host_path": str(made), "container_path": "/dev/mine", "permissions": "rw"}])
    assert box.exec("ls", "/dev/mine").split() == ["one", "two"]
    assert box.sh("head -c 3 /dev/mine/two | od -An -tx1") == "00 00 00"


@case("devices by path", "refused: no device, not there, strange permissions, no absolute path")
def refused(t):
    pod = t.pod()
    for change, word in (({"host_path": "/etc/passwd"}, "devices[0]"), ({"host_path": "/dev/no-such"}, "devices[0]"),
                         ({"host_path": "relative"}, "devices[0]"), ({"permissions": "rx"}, "devices[0].permissions"),
                         ({"container_path": "dev/x"}, "devices[0].container_path")):
        device = {"host_path": "/dev/null", "container_path": "/dev/x", "permissions": "rw", **change}
        pod.refused("INVALID_ARGUMENT", word, devices=[device])


@case("devices by path", "a privileged container has the node's devices")
def privileged(t):
    box = t.pod(security={"privileged": True}).container(security={"privileged": True})
    seen = set(box.exec("ls", "/dev").split())
    missing = [p.name for p in Path("/dev").iterdir() if p.is_char_device() and p.name not in seen
               and not p.is_symlink() and p.name != "console"]
    assert not missing, missing
