"""What the configuration says of a runtime handler, by its effect on containers."""

import shutil

from bench import case

PRIVILEGED = {"privileged": True}
BARE = "".join(f"[runtime.handlers.{name}]\nprivileged_without_host_devices = true\nmax_log_line_bytes = 256\n"
               for name in ("crun", "native", "runc"))
# "host" is the pod's: runsc joins its network namespace instead of moving the interfaces into one sandbox.
GVISOR = '[runtime.handlers.runsc]\npath = "/usr/bin/runsc"\narguments = ["--network=host"]\n'


@case("handlers", "privileged_without_host_devices: neither the nodes nor the right to use them", config=BARE)
def without_host_devices(t):
    box = t.pod(security=PRIVILEGED).container(security=PRIVILEGED)
    assert box.exec_sync("ls", "/dev/loop-control").exit_code != 0
    answer = box.exec_sync("sh", "-c", "mknod /loop c 10 237 && exec 3< /loop")
    assert answer.exit_code != 0 and b"not permitted" in answer.stderr, answer


@case("handlers", "max_log_line_bytes of the handler cuts its containers' lines", config=BARE)
def log_line(t):
    box = t.run("sh", "-c", "head -c 600 /dev/zero | tr '\\0' x; echo; sleep 1000")
    path = box.status().log_path
    t.wait_for("three entries", lambda: len(open(path, encoding="utf-8").readlines()) >= 3)
    tags = [line.split(" ", 3)[2] for line in open(path, encoding="utf-8")]
    assert tags == ["P", "P", "F"], tags


@case("handlers", "every handler runs a container, and Status lists it")
def both(t):
    status = t.cri.Status()
    names = [h.name for h in status.runtime_handlers]
    assert "" in names and t.handler in names, names
    for name in names:
        box = t.pod(handler=name).container()
        assert box.exec("echo", name or "default") == (name or "default")


@case("handlers", "a handler that is not configured is refused by its name")
def unknown(t):
    t.refused_pod("INVALID_ARGUMENT", "no-such-handler", handler="no-such-handler")


@case("handlers", "gVisor's runsc is a handler like any other", config=GVISOR)
def gvisor(t):
    if shutil.which("runsc") is None:
        t.skip("runsc is not installed")
    assert "runsc" in [h.name for h in t.cri.Status().runtime_handlers]
    box = t.pod(handler="runsc").container("sh", "-c", "echo from inside; sleep 1000")
    assert "gVisor" in box.exec("dmesg"), "its own kernel"
    answer = box.exec_sync("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (3, b"out\n", b"err\n"), answer
    t.wait_for("the log", lambda: box.log() == "from inside\n")
    box.stop(1)
    assert box.wait_exit().exit_code in (137, 143)
