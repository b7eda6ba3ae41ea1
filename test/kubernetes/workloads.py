"""What people do with pods: run, read, enter, copy, probe, stop."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import tempfile
import termios
import time
import urllib.request
from pathlib import Path

from kube import BUSYBOX, Kube, KubeError, case, container, wait_for


@case("scheduling: exit codes, phases, the image's name and digest")
def phases(k: Kube) -> None:
    good = k.pod(container("sh", "-c", "exit 0"), wait="")
    bad = k.pod(container("sh", "-c", "exit 3"), wait="")
    assert k.wait_done(good)["phase"] == "Succeeded" and k.wait_done(bad)["phase"] == "Failed"
    ended = k.container_status(bad)
    assert ended["state"]["terminated"]["exitCode"] == 3 and ended["state"]["terminated"]["reason"] == "Error"
    assert ended["image"] == BUSYBOX and re.search(r"busybox@sha256:[0-9a-f]{64}$", ended["imageID"]), ended
    assert ended["containerID"].startswith("davit://")


@case("logs: all, tail, previous, timestamps, and a last line without a newline")
def logs(k: Kube) -> None:
    pod = k.pod(container("sh", "-c", "seq 1 1000; printf end"), wait="done")
    text = k.logs(pod)
    assert text.split("\n")[:1000] == [str(i) for i in range(1, 1001)] and text.endswith("end"), text[-50:]
    assert k.logs(pod, "--tail=2") == "1000\nend"
    assert re.match(r"20\d\d-\d\d-\d\dT\S+Z 1$", k.logs(pod, "--timestamps").split("\n")[0])
    looping = k.pod(container("sh", "-c", "echo run; sleep 1; exit 1"), wait="", restartPolicy="Always")
    wait_for("a restart", lambda: k.status(looping).get("containerStatuses", [{}])[0].get("restartCount", 0) >= 1)
    assert k.logs(looping, "--previous") == "run\n"


@case("logs -f: every line as it comes, to the end")
def follow(k: Kube) -> None:
    pod = k.pod(container("sh", "-c", "for i in $(seq 1 200); do echo line $i; done; sleep 2; echo last"))
    done = k.call("logs", "-f", pod)
    assert done.stdout == "".join(f"line {i}\n" for i in range(1, 201)) + "last\n", done.stdout[-200:]


@case("exec: streams, exit code, input")
def execute(k: Kube) -> None:
    pod = k.pod(container("sleep", "100000"))
    done = k.call("exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "out\n") and "err\n" in done.stderr
    big = "x" * 300_000 + "\n"
    assert k.exec(pod, "md5sum", data=big).split()[0] == subprocess.run(
        ["md5sum"], input=big, capture_output=True, text=True).stdout.split()[0]
    missing = k.call("exec", pod, "--", "/no/such/program", check=False)
    assert missing.returncode != 0 and "no such" in missing.stderr.lower(), missing.stderr


def read_until(fd: int, word: bytes, timeout_s: float = 20) -> bytes:
    data, end = b"", time.monotonic() + timeout_s
    while word not in data:
        if time.monotonic() > end or not select.select([fd], [], [], 1)[0]:
            if time.monotonic() > end:
                raise KubeError(f"{word!r} does not come: {data[-200:]!r}")
            continue
        try:
            data += os.read(fd, 4096)
        except OSError:
            break
    return data


def on_terminal(command: list[str], rows: int, columns: int) -> tuple[subprocess.Popen, int]:
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    child = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(other)
    return child, main


@case("exec -it: a terminal of the client's size, that follows it")
def terminal(k: Kube) -> None:
    pod = k.pod(container("sleep", "100000"))
    child, fd = on_terminal(k.command("exec", "-it", pod, "--", "sh"), 31, 97)
    try:
        os.write(fd, b"stty size; tty; echo rea''dy\n")
        text = read_until(fd, b"ready\r\n")
        assert b"31 97" in text and b"/dev/pts/" in text, text
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 111, 0, 0))

        def resized() -> bool:
            os.write(fd, b"stty size; echo ag''ain\n")
            return b"44 111" in read_until(fd, b"again\r\n")
        wait_for("the new size", resized, 20)
        os.write(fd, b"exit 5\n")
        assert child.wait(20) == 5
    finally:
        child.kill()
        os.close(fd)


@case("attach: input and output of the first process")
def attach(k: Kube) -> None:
    pod = k.pod(container("sh", "-c", "while read x; do echo got $x; done; echo end", stdin=True, stdinOnce=True))
    done = k.call("attach", "-i", pod, data="one\ntwo\n")
    assert "got one" in done.stdout and "got two" in done.stdout, done
    k.wait_done(pod)
    assert k.logs(pod) == "got one\ngot two\nend\n"


@case("port-forward: two connections at once")
def forward(k: Kube) -> None:
    pod = k.pod(container("sh", "-c", "mkdir /w && head -c 200000 /dev/zero | tr '\\0' y >/w/f; exec httpd -f -p 8080 -h /w"))
    child = subprocess.Popen(k.command("port-forward", pod, ":8080"), stdout=subprocess.PIPE, text=True)
    try:
        port = int(re.search(r":(\d+) ->", child.stdout.readline()).group(1))
        for _ in range(5):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/f", timeout=20) as one, \
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/f", timeout=20) as two:
                assert len(one.read()) == len(two.read()) == 200_000
    finally:
        child.kill()
        child.wait()


@case("cp: a tree in and out")
def copy(k: Kube) -> None:
    pod = k.pod(container("sleep", "100000"))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").mkdir()
        Path(folder, "in", "a").write_bytes(os.urandom(500_000))
        k.call("cp", f"{folder}/in", f"{pod}:/tmp/tree")
        k.call("cp", f"{pod}:/tmp/tree", f"{folder}/out")
        assert Path(folder, "in", "a").read_bytes() == Path(folder, "out", "a").read_bytes()


def probe(**fields) -> dict:
    return {"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 2, **fields}


@case("probes: exec and http and tcp readiness; a failing liveness restarts")
def probes(k: Kube) -> None:
    by_exec = k.pod(container("sh", "-c", "touch /ok; sleep 100000",
                              readinessProbe=probe(exec={"command": ["cat", "/ok"]})), wait="")
    by_http = k.pod(container("sh", "-c", "mkdir /w; echo hi >/w/index.html; exec httpd -f -p 80 -h /w",
                              readinessProbe=probe(httpGet={"path": "/", "port": 80})), wait="")
    by_tcp = k.pod(container("nc", "-lk", "-p", "81", "-e", "cat", readinessProbe=probe(tcpSocket={"port": 81})), wait="")
    dying = k.pod(container("sh", "-c", "touch /alive; sleep 3; rm /alive; sleep 100000",
                            livenessProbe=probe(exec={"command": ["cat", "/alive"]})), wait="", restartPolicy="Always")
    for pod in (by_exec, by_http, by_tcp):
        k.wait_ready(pod)
    k.sh(by_exec, "rm /ok")
    wait_for("it is not ready", lambda: not k.container_status(by_exec)["ready"])
    wait_for("liveness restarts it", lambda: k.container_status(dying)["restartCount"] >= 1)
    assert "Liveness probe failed" in k.explain(dying)


@case("init containers in their order, and a sidecar that ends after the others")
def inits(k: Kube) -> None:
    shared = {"volumeMounts": [{"name": "s", "mountPath": "/s"}]}
    pod = k.pod(
        container("sh", "-c", "cat /s/order; echo main >>/s/order; sleep 1", **shared), wait="done",
        volumes=[{"name": "s", "emptyDir": {}}], terminationGracePeriodSeconds=5,
        initContainers=[container("sh", "-c", "echo first >>/s/order", name="first", **shared),
                        container("sh", "-c", "echo second >>/s/order", name="second", **shared),
                        container("sh", "-c", "trap 'echo side saw $(tail -n 1 /s/order); exit 0' TERM; "
                                  "while :; do sleep 0.1; done", name="side", restartPolicy="Always", **shared)])
    assert k.status(pod)["phase"] == "Succeeded"
    assert k.logs(pod, "-c", "main") == "first\nsecond\n" and "side saw main" in k.logs(pod, "-c", "side")


@case("crash loops back off, and say so")
def crash_loop(k: Kube) -> None:
    pod = k.pod(container("false"), wait="", restartPolicy="Always")
    wait_for("CrashLoopBackOff", lambda: k.status(pod).get("containerStatuses", [{}])[0].get("state", {}).get(
        "waiting", {}).get("reason") == "CrashLoopBackOff")
    assert k.container_status(pod)["lastState"]["terminated"]["exitCode"] == 1


@case("grace: preStop first, then the signal, then its end in time")
def grace(k: Kube) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pod = k.pod(container("sh", "-c", "trap 'echo term >>/h/log; exit 0' TERM; while :; do sleep 0.1; done",
                              lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo pre >>/h/log"]}},
                                         "postStart": {"exec": {"command": ["sh", "-c", "echo post >>/h/log"]}}},
                              volumeMounts=[{"name": "h", "mountPath": "/h"}]),
                    volumes=[{"name": "h", "hostPath": {"path": folder}}], terminationGracePeriodSeconds=30)
        k.call("delete", "pod", pod)
        assert Path(folder, "log").read_text() == "post\npre\nterm\n"


@case("words: a failed pull, a failed create, a program that is not there")
def words(k: Kube) -> None:
    absent = k.pod(container("true", image="registry.k8s.io/e2e-test-images/absent:1"), wait="")
    missing = k.pod(container("/no/such/program"), wait="")
    user = k.pod(container("true", securityContext={"runAsNonRoot": True}), wait="")
    wait_for("ErrImagePull", lambda: k.status(absent).get("containerStatuses", [{}])[0].get("state", {}).get(
        "waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff"))
    assert "absent" in k.explain(absent) and "404" in k.explain(absent), k.explain(absent)
    wait_for("the program is named", lambda: "/no/such/program" in str(k.status(missing)))
    wait_for("CreateContainerConfigError", lambda: "CreateContainerConfigError" in str(k.status(user)))
