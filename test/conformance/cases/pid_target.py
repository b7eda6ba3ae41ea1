"""PID namespace TARGET: a debug container in another container's PID namespace."""

from bench import case
from cases.user_namespaces import mapped_pod

AREA = "pid target"


def target(box, **fields) -> dict:
    return {"pid": "TARGET", "target_id": box.id, **fields}


@case(AREA, "the target's processes are seen and can be signalled")
def joins(t):
    pod = t.pod()
    box = pod.container("sleep", "54321")
    other = pod.container()
    debug = pod.container(namespaces=target(box))
    assert debug.namespace("pid") == box.namespace("pid") != other.namespace("pid")
    assert "54321" in debug.exec("ps")
    assert debug.exec("cat", "/proc/1/comm") == "sleep"
    debug.exec("kill", "-0", "1")
    # Its own file system stays its own.
    debug.exec("touch", "/only-here")
    assert box.exec_sync("ls", "/only-here").exit_code != 0


@case(AREA, "when the target ends the kernel ends the debug container; the target does not notice the reverse")
def ends(t):
    pod = t.pod()
    box = pod.container()
    debug = pod.container(namespaces=target(box))
    debug.stop()
    assert debug.wait_exit().exit_code == 137
    assert box.exec("echo", "alive") == "alive"
    second = pod.container(namespaces=target(box))
    box.stop()
    assert second.wait_exit().exit_code == 137


@case(AREA, "in a pod that shares its PID namespace, and in one with a user namespace")
def kinds(t):
    pod = t.pod(namespaces={"pid": "POD"})
    box = pod.container()
    assert pod.container(namespaces=target(box)).namespace("pid") == box.namespace("pid")
    pod = mapped_pod(t)
    box = pod.container("sleep", "54321")
    debug = pod.container(namespaces=target(box))
    assert "54321" in debug.exec("ps")


@case(AREA, "a target that is missing, foreign, not running or not given is refused by name")
def refusals(t):
    pod = t.pod()
    stranger = t.run()
    field = "target_id"
    pod.refused("NOT_FOUND", field, namespaces={"pid": "TARGET", "target_id": "f" * 64})
    pod.refused("INVALID_ARGUMENT", field, namespaces={"pid": "TARGET"})
    pod.refused("INVALID_ARGUMENT", "another pod", namespaces=target(stranger))
    ended = pod.container("true")
    ended.wait_exit()
    pod.refused("INVALID_ARGUMENT", "not running", namespaces=target(ended))
    box = pod.container()
    pod.refused("INVALID_ARGUMENT", field, namespaces={"pid": "CONTAINER", "target_id": box.id})
    t.refused_pod("INVALID_ARGUMENT", "TARGET", namespaces={"pid": "TARGET"})
