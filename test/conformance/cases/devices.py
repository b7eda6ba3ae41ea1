"""Devices: nodes in the container and what its device cgroup lets it do with them."""

from bench import case

PRIVILEGED = {"privileged": True}


def numbers(box, path: str) -> str:
    """Type and numbers of a node as the container sees it: "character special file 1 7"."""
    return box.exec("stat", "-c", "%F %t %T", path)


@case("devices", "a host device under another name keeps its numbers and mode")
def other_name(t):
    box = t.run("sleep", "1000", devices=[
        {"host_path": "/dev/full", "container_path": "/dev/brimful", "permissions": "rwm"}])
    assert numbers(box, "/dev/brimful") == "character special file 1 7"
    answer = box.exec_sync("sh", "-c", "echo x > /dev/brimful")
    assert answer.exit_code != 0 and b"No space left" in answer.stderr, answer


@case("devices", "permissions are what the cgroup lets through")
def permissions(t):
    pod = t.pod()
    # Not one of those that every container may use.
    host = "/dev/loop-control"
    for access, may in (("r", (True, False)), ("w", (False, True)), ("rw", (True, True))):
        box = pod.container(devices=[{"host_path": host, "container_path": "/dev/x", "permissions": access}])
        reads = box.exec_sync("sh", "-c", "exec 3< /dev/x").exit_code == 0
        writes = box.exec_sync("sh", "-c", "exec 3>> /dev/x").exit_code == 0
        assert (reads, writes) == may, f"{access}: reads {reads}, writes {writes}"


@case("devices", "without a rule a node that the container makes itself is of no use")
def made_by_itself(t):
    box = t.run("sleep", "1000", security={"capabilities": {"add_capabilities": ["MKNOD"]}})
    answer = box.exec_sync("sh", "-c", "mknod /tmp-loop c 10 237 && exec 3< /tmp-loop")
    assert answer.exit_code != 0 and b"not permitted" in answer.stderr, answer


@case("devices", "a directory gives the devices in it")
def directory(t):
    box = t.run("sleep", "1000", devices=[
        {"host_path": "/dev/net", "container_path": "/dev/mynet", "permissions": "rw"}])
    assert numbers(box, "/dev/mynet/tun") == "character special file a c8"


@case("devices", "privileged has the node's devices and may use them")
def privileged(t):
    box = t.pod(security=PRIVILEGED).container(security=PRIVILEGED)
    assert numbers(box, "/dev/loop-control") == "character special file a ed"
    box.sh("exec 3< /dev/loop-control")


@case("devices", "an ordinary container has none of the node's own")
def ordinary(t):
    names = set(t.run().exec("ls", "/dev").split())
    assert names <= {"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
                     "stdin", "stdout", "tty", "urandom", "zero"}, names


@case("devices", "what is no device is refused by its name")
def refused(t):
    pod = t.pod()
    device = {"host_path": "/dev/null", "container_path": "/dev/x", "permissions": "r"}
    for change, word in (({"host_path": "/dev/not-there"}, "/dev/not-there"), ({"host_path": "/etc/passwd"}, "/etc/passwd"),
                         ({"host_path": "null"}, "devices[0].host_path"),
                         ({"permissions": "rx"}, "devices[0].permissions"),
                         ({"container_path": "dev/x"}, "devices[0].container_path"),
                         ({"container_path": "/dev/../etc/x"}, "devices[0].container_path")):
        pod.refused("INVALID_ARGUMENT", word, devices=[{**device, **change}])
