"""What the configuration says of a runtime handler, by its effect on containers."""

from bench import case

PRIVILEGED = {"privileged": True}
BARE = "".join(f"[runtime.handlers.{name}]\nprivileged_without_host_devices = true\nmax_log_line_bytes = 256\n"
               for name in ("crun", "runc"))


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
