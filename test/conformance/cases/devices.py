"""Devices: which nodes a container has. What it may do with them is in device_nodes.py."""

from bench import case


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


@case("devices", "an ordinary container has none of the node's own")
def ordinary(t):
    names = set(t.run().exec("ls", "/dev").split())
    assert names <= {"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
                     "stdin", "stdout", "tty", "urandom", "zero"}, names


@case("devices", "what is no device is refused by its name")
def refused(t):
    pod = t.pod()
    device = {"host_path": "/dev/null", "container_path": "/dev/x", "permissions": "r"}
    for change, word in (({"host_path": "/dev/not-there"}, "/dev/not-there"), ({"host_path": "null"}, "devices[0].host_path"),
                         ({"container_path": "/dev/../etc/x"}, "devices[0].container_path")):
        pod.refused("INVALID_ARGUMENT", word, devices=[{**device, **change}])
