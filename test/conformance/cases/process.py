"""The container's process: what it is started with, how it ends, what its status says of both."""

import time

import images
from bench import case
from busybox import busybox
from davit_test.grpc_client import pb
from oci_image import Layer


def image_with(t, name: str, **config: object) -> str:
    return t.image(name, images.shell_image(Layer.of(images.base_entries(busybox())), **config))


@case("process", "command and args over the image's entrypoint and cmd")
def arguments(t):
    image = image_with(t, "entry", Entrypoint=["echo", "entry"], Cmd=["cmd"])
    pod = t.pod()

    def says(command, args):
        box = pod.create(image=image, command=command, args=args)
        box.start().wait_exit()
        return box.log().strip()

    assert says([], []) == "entry cmd"
    assert says([], ["given"]) == "entry given"
    assert says(["echo", "other"], []) == "other"
    assert says(["echo", "other"], ["given", "a b", ""]) == "other given a b"
    for program in ("nosuch", "/no/such", "/etc", "/etc/passwd"):
        pod.refused("INVALID_ARGUMENT", "command", program)
    bare = image_with(t, "bare", Entrypoint=None, Cmd=None)
    pod.refused("INVALID_ARGUMENT", "command", image=bare, command=[])


@case("process", "envs: over the image's, any text, with PATH and HOME when nobody gave them")
def environment(t):
    image = image_with(t, "env", Env=["A=image", "B=image", "C=x=y", "PATH=/bin"])
    pod = t.pod()
    box = pod.container("sleep", "1000", image=image, envs=[
        {"key": "B", "value": b"given"}, {"key": "EMPTY", "value": b""}, {"key": "RAW", "value": "ü\n\t=".encode()}])
    raw = box.exec_sync("cat", "/proc/1/environ").stdout.split(b"\0")
    for want in (b"A=image", b"B=given", b"C=x=y", b"EMPTY=", "RAW=ü\n\t=".encode(), b"PATH=/bin", b"HOME=/root"):
        assert raw.count(want) == 1, f"{want!r} in {raw}"
    assert not any(v.startswith(b"B=image") for v in raw)
    # A command that is run in it has the same.
    assert box.exec_sync("printenv", "RAW").stdout == "ü\n\t=\n".encode()
    # The runtime is configured in JSON, which has text only: other bytes are refused, not bent.
    pod.refused("INVALID_ARGUMENT", "envs", envs=[{"key": "RAW", "value": b"\xff\xfe"}])
    bare = image_with(t, "env-none", Env=[])
    raw = pod.container("sleep", "1000", image=bare).exec("cat", "/proc/1/environ").split("\0")
    assert any(v.startswith("PATH=/") for v in raw), raw


@case("process", "working_dir over the image's, made when it is not there, for exec as well")
def working_directory(t):
    image = image_with(t, "cwd", WorkingDir="/var/log")
    pod = t.pod()
    assert pod.ends("pwd", image=image) == (0, "/var/log\n")
    box = pod.container(image=image, working_dir="/made/here")
    assert box.exec("pwd") == "/made/here" and box.exec("readlink", "/proc/1/cwd") == "/made/here"
    assert pod.ends("pwd") == (0, "/\n")


@case("process", "tty: a terminal, with one stream and carriage returns in the log")
def terminal(t):
    pod = t.pod()
    code, text = pod.ends("sh", "-c", "tty; echo to-stderr >&2; echo $TERM; test -t 0 && test -t 1 && test -t 2", tty=True)
    assert code == 0, (code, text)
    assert "/dev/pts/0" in text or "/dev/console" in text, text
    assert "to-stderr\r\n" in text and "xterm\r\n" in text, repr(text)
    code, text = pod.ends("sh", "-c", "tty; test -t 0 || test -t 1 || test -t 2")
    assert code == 1 and "not a tty" in text, (code, text)


@case("process", "stdin: closed without it, held open with it")
def standard_input(t):
    pod = t.pod()
    assert pod.ends("sh", "-c", "cat; echo end") == (0, "end\n")
    box = pod.container("sh", "-c", "echo ready; cat; echo end", stdin=True)
    t.wait_for("it has started", lambda: box.log() == "ready\n")
    assert box.status().state == pb.CONTAINER_RUNNING
    assert box.exec("sh", "-c", "cat; echo done") == "done", "ExecSync has no standard input"


def attach(t, box, text: str) -> str:
    """Types a line into the container by the davit command and leaves."""
    import subprocess
    done = subprocess.run([str(t.engine.bin_dir / "davit"), "--connect", str(t.engine.socket), "ctr", "attach", "-i",
                           box.id], input=text, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


@case("process", "stdin_once: the first attachment's end is the end of the input; without it the next one goes on")
def stdin_once(t):
    import subprocess
    pod = t.pod()
    once = pod.container("sh", "-c", "cat; echo end", stdin=True, stdin_once=True)
    attach(t, once, "line\n")
    assert once.wait_exit().exit_code == 0
    assert once.log() == "line\nend\n", once.log()

    many = pod.container("sh", "-c", "while read a; do echo got $a; test $a = last && exit 5; done", stdin=True)
    base = [str(t.engine.bin_dir / "davit"), "--connect", str(t.engine.socket), "ctr", "attach", "-i", many.id]
    first = subprocess.Popen(base, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    first.stdin.write(b"first\n")
    first.stdin.flush()
    t.wait_for("the first line arrives", lambda: many.log() == "got first\n")
    first.kill()
    first.communicate()
    second = subprocess.Popen(base, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    second.stdin.write(b"last\n")
    second.stdin.flush()
    assert many.wait_exit().exit_code == 5, "the input ended with the first attachment"
    second.kill()
    second.communicate()
    assert many.log() == "got first\ngot last\n"


@case("process", "exit codes, reasons and times")
def exits(t):
    pod = t.pod()
    for code, reason in ((0, "Completed"), (3, "Error"), (255, "Error")):
        before = time.time_ns()
        box = pod.create("sh", "-c", f"exit {code}")
        assert box.status().started_at == 0 and box.status().finished_at == 0
        box.start()
        status = box.wait_exit()
        assert (status.exit_code, status.reason, status.message) == (code, reason, ""), status
        assert before - 1e9 <= status.created_at <= status.started_at <= status.finished_at <= time.time_ns() + 1e9, \
            (status.created_at, status.started_at, status.finished_at)
        box.remove()


@case("process", "a process killed by a signal has 128 plus its number")
def killed(t):
    import os
    import signal
    # Process 1 of a namespace ignores what it has no handler for; here the pod's init is 1.
    pod = t.pod(namespaces={"pid": "POD"})
    for number in (signal.SIGKILL, signal.SIGABRT):
        box = pod.container("sleep", "1000")
        os.kill(box.pid, number)
        status = box.wait_exit()
        assert status.exit_code == 128 + number and status.reason == "Error", status


@case("process", "a program that is not there fails the start or the creation by its name")
def missing_program(t):
    pod = t.pod()
    pod.refused("", "no-such-program", "/no-such-program")
    pod.refused("", "no-such-program", "no-such-program")


@case("process", "stop_signal: the request's, else the image's, else SIGTERM; and the status says which")
def stop_signal(t):
    pod = t.pod()
    script = "trap 'echo term; exit 1' TERM; trap 'echo usr1; exit 2' USR1; trap 'echo quit; exit 3' QUIT; " \
             "echo ready; while :; do sleep 0.05; done"
    image = image_with(t, "stop", StopSignal="SIGQUIT")
    for fields, word, shown in (({}, "term", pb.SIGNAL_SIGTERM),
                                ({"stop_signal": "SIGNAL_SIGUSR1"}, "usr1", pb.SIGNAL_SIGUSR1),
                                ({"image": image}, "quit", pb.SIGNAL_SIGQUIT),
                                ({"image": image, "stop_signal": "SIGNAL_SIGUSR1"}, "usr1", pb.SIGNAL_SIGUSR1)):
        box = pod.container("sh", "-c", script, **fields)
        t.wait_for("the traps are set", lambda: "ready" in box.log())
        box.stop(20)
        assert word in box.log() and box.status().exit_code in (1, 2, 3), (fields, box.log(), box.status())
        assert box.status().stop_signal == shown, f"{fields}: status says {box.status().stop_signal}"


@case("process", "StopContainer: the grace period is waited for, then the process is killed; 0 kills at once")
def grace(t):
    pod = t.pod()
    script = "trap 'echo told' TERM; echo ready; while :; do sleep 0.1; echo lives; done"
    box = pod.container("sh", "-c", script)
    t.wait_for("the trap is set", lambda: "ready" in box.log())
    box.stop(2)
    assert box.status().exit_code == 137, box.status()
    # The grace period by what the container did in it.
    assert "told" in box.log() and box.log().split("told")[1].count("lives") >= 5, box.log()
    box = pod.container("sh", "-c", script)
    t.wait_for("the trap is set", lambda: "ready" in box.log())
    box.stop(0)
    assert box.status().exit_code == 137 and "told" not in box.log(), box.log()
    box.stop(0)  # again: nothing to do, no error


@case("process", "a created container never ran: stop ends it, its log stays empty")
def stop_created(t):
    box = t.pod().create("sh", "-c", "echo ran")
    assert box.status().state == pb.CONTAINER_CREATED
    box.stop(1)
    assert box.status().state == pb.CONTAINER_EXITED and box.log() == ""
    t.cri.refused("StartContainer", "FAILED_PRECONDITION", box.id[:12], container_id=box.id)


@case("process", "ContainerStatus verbose: the OCI specification, the pid and the cgroup, all true")
def verbose(t):
    box = t.pod().container("sleep", "4242", envs=[{"key": "K", "value": b"V"}])
    info = box.info()
    assert info["sandboxID"] == box.pod.id and info["runtimeHandler"] == t.handler
    assert open(f"/proc/{info['pid']}/cmdline").read().split("\0")[:2] == ["sleep", "4242"]
    assert info["cgroup"] in box.proc("cgroup")
    spec = info["runtimeSpec"]
    assert spec["process"]["args"] == ["sleep", "4242"] and "K=V" in spec["process"]["env"]
    assert spec["linux"]["namespaces"] and spec["root"]["path"]
    assert not t.cri.ContainerStatus(container_id=box.id).info


@case("process", "attempt tells containers of one name apart")
def attempts(t):
    pod = t.pod()
    first = pod.create("true", name="same")
    config = pod.container_config("true", name="same")
    t.cri.refused("CreateContainer", "ALREADY_EXISTS", first.id, pod_sandbox_id=pod.id, config=config,
                  sandbox_config=pod.config)
    config.metadata.attempt = 2
    second = t.cri.CreateContainer(pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config).container_id
    assert t.cri.ContainerStatus(container_id=second).status.metadata.attempt == 2
