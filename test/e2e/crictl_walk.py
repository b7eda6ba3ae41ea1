#!/usr/bin/env python3
"""A pod's whole life by crictl, with terminals, attach, port forwarding and log following.

Acceptance walk: runp, pods, inspectp, pull, images, inspecti, create, start, ps, inspect, logs -f,
exec -s, exec -it with a resize, attach, port-forward, stop, rm, stopp, rmp, rmi.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test.cri import Client, container_config, pod_config  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

from registry import free_port  # noqa: E402

NGINX = "registry.k8s.io/e2e-test-images/nginx:1.14-2"


class Terminal:
    """A command on a pseudo-terminal of a given size."""

    def __init__(self, command: list[str], rows: int = 24, columns: int = 80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)
        self.resize(rows, columns)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, pattern: str, timeout_s: float = 15) -> str:
        """Reads until the pattern shows; returns what came up to its end and forgets it."""
        end = time.monotonic() + timeout_s
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen, before = self.seen[found.end():], self.seen[:found.end()]
                return before
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            assert ready, f"{pattern!r} did not come within {timeout_s} s, but {self.seen[-300:]!r}"
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            assert data, f"the terminal closed before {pattern!r}: {self.seen[-300:]!r}"
            self.seen += data.decode(errors="replace")

    def wait(self, timeout_s: float = 15) -> int:
        """Drains and waits; returns the exit code."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            ready, _, _ = select.select([self.fd], [], [], 0.1)
            if ready:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    pass
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        self.close()
        raise AssertionError(f"the command did not end within {timeout_s} s")

    def close(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.fd)
        except OSError:
            pass


class Walk:
    """The steps in order; each uses what those before it made."""

    def __init__(self, stage: Stage, client: Client):
        self.stage = stage
        self.client = client
        self.log_dir = stage.logs("walk")
        self.pod = pod_config("walk", log_directory=str(self.log_dir), hostname="walk-host",
                              labels={"app": "walk"}, annotations={"note": "one two"})
        self.pod_id = self.container = self.shell = self.web = self.image_id = ""

    def runp(self) -> None:
        self.pod_id = self.client.run_pod(self.pod)
        assert re.fullmatch(r"[0-9a-f]{64}", self.pod_id), f"the pod id is {self.pod_id!r}"

    def pods(self) -> None:
        words = self.client.call("pods")
        assert "walk" in words and "Ready" in words, words
        only = json.loads(self.client.call("pods", "--label", "app=walk", "-o", "json"))["items"]
        assert [p["id"] for p in only] == [self.pod_id]
        assert not json.loads(self.client.call("pods", "--label", "app=other", "-o", "json")).get("items")

    def inspectp(self) -> None:
        status = self.client.pod_status(self.pod_id)["status"]
        assert status["state"] == "SANDBOX_READY" and status["network"]["ip"], status
        assert status["labels"].get("app") == "walk" and status["annotations"].get("note") == "one two"

    def pull(self) -> None:
        for image in (BUSYBOX, NGINX):
            out = self.client.call("pull", image)
            assert "sha256:" in out, out

    def images(self) -> None:
        table = self.client.call("images")
        assert "e2e-test-images/busybox" in table and "1.29-2" in table, table
        self.image_id = next(i["id"] for i in self.client.images() if BUSYBOX in i["repoTags"])

    def inspecti(self) -> None:
        by_name = json.loads(self.client.call("inspecti", BUSYBOX))["status"]
        by_id = json.loads(self.client.call("inspecti", self.image_id))["status"]
        assert by_name == by_id and by_name["id"] == self.image_id

    def create(self) -> None:
        script = "i=0; while true; do echo line $i; i=$((i+1)); sleep 1; done"
        self.container = self.client.create(self.pod_id, container_config(
            "main", BUSYBOX, "sh", "-c", script, log_path="main.log",
            envs=[{"key": "WALK", "value": "a b"}], labels={"tier": "main"}), self.pod)
        status = self.client.container_status(self.container)
        assert status["state"] == "CONTAINER_CREATED", status["state"]

    def start(self) -> None:
        self.client.start(self.container)

    def ps(self) -> None:
        table = self.client.call("ps")
        assert "main" in table and "Running" in table, table
        assert self.client.call("ps", "-q", "--no-trunc").split() == [self.container]

    def inspect(self) -> None:
        status = self.client.container_status(self.container)
        assert status["state"] == "CONTAINER_RUNNING" and status["logPath"] == str(self.log_dir / "main.log"), status

    def logs(self) -> None:
        follow = subprocess.Popen(self.client.command("logs", "-f", self.container), stdout=subprocess.PIPE, text=True)
        try:
            assert follow.stdout is not None
            lines = [follow.stdout.readline().strip() for _ in range(3)]
            assert lines == ["line 0", "line 1", "line 2"], lines
        finally:
            follow.kill()
            follow.wait()
        last = self.client.call("logs", "--tail", "1", self.container)
        assert re.fullmatch(r"line \d+\n", last), last

    def exec_sync(self) -> None:
        out = self.client.exec_sync(self.container, "sh", "-c", "hostname; echo $WALK; cat /etc/hostname")
        assert out.split("\n")[:2] == ["walk-host", "a b"], out
        answer = self.client.try_call("exec", "-s", self.container, "sh", "-c", "echo out; echo err >&2; exit 5")
        # crictl prints no output of a command that failed, but its exit code and error text.
        assert answer.code != 0 and "exited with 5: err" in answer.err, answer

    def exec_terminal(self) -> None:
        terminal = Terminal(self.client.command("exec", "-it", self.container, "sh"), 30, 100)
        try:
            terminal.send("stty size\n")
            terminal.expect(r"30 100\r\n")
            terminal.resize(41, 133)
            # The new size travels by itself; ask until it is there.
            for _ in range(20):
                terminal.send("echo size=$(stty size)=\n")
                if "size=41 133=" in terminal.expect(r"size=\d+ \d+="):
                    break
                time.sleep(0.2)
            else:
                raise AssertionError("the new size did not reach the terminal")
            terminal.send("tty; exit 3\n")
            terminal.expect(r"/dev/pts/\d+")
            code = terminal.wait()
            assert code != 0, "the exit code of the command was lost"
        finally:
            terminal.close()

    def exec_pipe(self) -> None:
        """Half a megabyte through stdin and back, with end of file passed on."""
        data = os.urandom(256 * 1024).hex().encode()
        done = subprocess.run(self.client.command("exec", "-i", self.container, "sh", "-c", "cat; echo; echo end >&2"),
                              input=data, capture_output=True, timeout=60)
        assert done.stdout.rstrip(b"\n") == data, f"{len(done.stdout)} of {len(data)} bytes came back"
        assert b"end" in done.stderr

    def attach(self) -> None:
        self.shell = self.client.create(self.pod_id, container_config(
            "shell", BUSYBOX, "sh", log_path="shell.log", stdin=True, tty=True), self.pod)
        self.client.start(self.shell)
        terminal = Terminal(self.client.command("attach", "-it", self.shell))
        try:
            time.sleep(0.5)  # what the shell prints before we attach is not for us
            terminal.send("echo $((40+2))\n")
            terminal.expect(r"42\r\n")
        finally:
            terminal.close()
        state = self.client.container_status(self.shell)["state"]
        assert state == "CONTAINER_RUNNING", f"detaching ended the container: {state}"

    def port_forward(self) -> None:
        self.web = self.client.create(self.pod_id, container_config("web", NGINX, log_path="web.log") | {"command": []},
                                      self.pod)
        self.client.start(self.web)
        port = free_port()
        forward = subprocess.Popen(self.client.command("port-forward", self.pod_id, f"{port}:80"),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def page() -> bytes:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    return answer.read()
            except OSError:
                return b""

        try:
            body = wait_for("the forwarded port answers", page, 20, 0.2)
            assert b"nginx" in body, body
            for _ in range(20):
                assert b"nginx" in page(), "one of twenty requests failed"
        finally:
            forward.terminate()
            forward.wait()

    def pod_ip(self) -> None:
        address = self.client.pod_status(self.pod_id)["status"]["network"]["ip"]
        with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
            assert answer.status == 200

    def stop(self) -> None:
        self.client.stop(self.container, 2)
        status = self.client.container_status(self.container)
        assert status["state"] == "CONTAINER_EXITED" and status["exitCode"] in (137, 143), status

    def remove(self) -> None:
        self.client.remove(self.container)
        assert self.container not in self.client.call("ps", "-a", "-q", "--no-trunc")

    def stopp(self) -> None:
        self.client.stop_pod(self.pod_id)
        assert self.client.pod_status(self.pod_id)["status"]["state"] == "SANDBOX_NOTREADY"
        states = {c["state"] for c in self.client.containers()}
        assert states <= {"CONTAINER_EXITED"}, states

    def rmp(self) -> None:
        self.client.remove_pod(self.pod_id)
        assert self.client.pods() == [] and self.client.containers() == []

    def rmi(self) -> None:
        for image in (BUSYBOX, NGINX):
            self.client.remove_image(image)
        assert self.client.images() == [] or all(BUSYBOX not in i["repoTags"] for i in self.client.images())

    STEPS = ("runp", "pods", "inspectp", "pull", "images", "inspecti", "create", "start", "ps", "inspect", "logs",
             "exec_sync", "exec_terminal", "exec_pipe", "attach", "port_forward", "pod_ip", "stop", "remove", "stopp",
             "rmp", "rmi")


def main() -> int:
    args = options(__doc__, engines=True).parse_args()
    report = Report("crictl walk")
    with reported(report), stage_of("walk", args) as stage:
        client = stage.client()
        before = stage.engine.snapshot()
        stage.engine.start()
        walk = Walk(stage, client)
        for step in Walk.STEPS:
            report.run(step.replace("_", " "), getattr(walk, step))
        client.remove_everything()
        stage.engine.end()
        report.run("nothing is left", lambda: stage.engine.check_leaks(before))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
