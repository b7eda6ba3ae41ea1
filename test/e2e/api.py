#!/usr/bin/env python3
"""Docker's and Podman's clients against davit-api: docker, podman --remote and curl, cross-checked with crictl.

Each step is judged by its output and exit status. Clients that are not on the machine are skipped, and so is what
davitd does not serve (501 with a reason). --engine containerd looks at what davit-api does in front of CRI alone.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

MISSING = "needs davitd's control services"
FRAME = 8  # bytes of a frame's head


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Api:
    """davit-api beside the stage's engine, and its clients."""

    def __init__(self, stage: Stage, *flags: str):
        self.stage = stage
        self.socket = stage.work / "api.sock"
        self.log = open(stage.work / "api.log", "ab")
        program = paths.find_bin_dir(str(getattr(stage.engine, "bin_dir", ""))) / "davit-api"
        self.process = subprocess.Popen(
            [str(program), "--cri", stage.engine.endpoint, "--listen", str(self.socket), "--log-level", "debug",
             "--spool", str(stage.work), *flags], stdout=self.log, stderr=self.log)
        wait_for("davit-api's socket", self.answers, 20)

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/_ping").body == b"OK"
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    # ---- clients ----
    def run(self, command: list[str], *, stdin: str | None = None, code: int | None = 0, timeout: int = 120,
            env: dict[str, str] | None = None) -> str:
        environment = dict(os.environ, DOCKER_HOST=f"unix://{self.socket}") | (env or {})
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, **given)
        shown = f"{' '.join(command)[:200]}: exit {done.returncode}: {done.stdout[-300:]}{done.stderr[-500:]}"
        if MISSING in done.stderr or "not supported by this" in done.stderr:
            raise paths.Skip(done.stderr.strip()[-200:])
        assert code is None or done.returncode == code, shown
        return done.stdout + (done.stderr if code != 0 else "")

    def docker(self, *words: str, **more) -> str:
        return self.run(["docker", *words], **more)

    def podman(self, *words: str, **more) -> str:
        return self.run(["podman", "--remote", "--url", f"unix://{self.socket}", *words], **more)

    def connect(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(30)
        peer.connect(str(self.socket))
        return peer

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """One request of a connection of its own."""
        lines = [f"{method} {path} HTTP/1.1", "Host: d", "Connection: close", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        with self.connect() as peer:
            peer.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            text = b""
            while piece := peer.recv(65536):
                text += piece
        head, _, rest = text.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        values = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if values.get("transfer-encoding") == "chunked":
            whole = b""
            while rest:
                size, _, rest = rest.partition(b"\r\n")
                if int(size, 16) == 0:
                    break
                whole, rest = whole + rest[:int(size, 16)], rest[int(size, 16) + 2:]
            rest = whole
        return Answer(int(first.split()[1]), values, rest)


def tar_of(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def need(program: str) -> None:
    if not shutil.which(program):
        raise paths.Skip(f"no {program} on this machine")


class Walk:
    def __init__(self, stage: Stage, api: Api):
        self.stage, self.api = stage, api
        self.crictl = stage.any_client()

    # ---- docker ----
    def docker_basics(self) -> None:
        need("docker")
        assert "API version:       1.44" in self.api.docker("version")
        assert "Swarm: inactive" in self.api.docker("info")
        self.api.docker("pull", "-q", BUSYBOX)
        assert "busybox" in self.api.docker("images")
        assert BUSYBOX in self.api.docker("image", "inspect", BUSYBOX)

    def docker_run(self) -> None:
        need("docker")
        run = self.api.docker
        assert run("run", "--rm", BUSYBOX, "echo", "hello") == "hello\n"
        assert run("run", "--rm", "-i", BUSYBOX, "cat", stdin="typed\n") == "typed\n"
        run("run", "--rm", BUSYBOX, "sh", "-c", "exit 3", code=3)
        run("run", "--rm", BUSYBOX, "/nosuch", code=127)
        run("run", "--rm", BUSYBOX, "/tmp", code=126)
        run("run", "--rm", BUSYBOX, "/etc/passwd", code=126)
        assert run("ps", "-aq") == ""
        out = run("run", "--rm", "-e", "A=b", "-w", "/tmp", "-u", "1000", "--hostname", "box", BUSYBOX, "sh", "-c",
                  "echo $A $PWD $(id -u) $(hostname)")
        assert out == "b /tmp 1000 box\n", out

    def docker_life(self) -> None:
        need("docker")
        run = self.api.docker
        run("run", "-d", "--name", "c1", "-l", "k=v", "-p", "18180:80", BUSYBOX, "sh", "-c",
            "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.2; done")
        assert "0.0.0.0:18180->80/tcp" in run("ps"), run("ps")
        assert run("port", "c1") == "80/tcp -> 0.0.0.0:18180\n"
        wait_for("two lines of the log", lambda: "line 1" in run("logs", "c1"), 20)
        assert run("logs", "--tail", "1", "c1").count("\n") == 1
        assert run("exec", "c1", "echo", "inside") == "inside\n"
        assert run("exec", "-i", "c1", "cat", stdin="through") == "through"
        run("exec", "c1", "sh", "-c", "exit 7", code=7)
        run("exec", "c1", "nosuch", code=127)
        assert run("inspect", "-f", "{{.State.Status}} {{.Config.Labels.k}}", "c1") == "running v\n"
        assert "CMD" in run("top", "c1")
        assert "c1" in run("stats", "--no-stream", "c1")
        run("rename", "c1", "c2")
        run("pause", "c2")
        assert "(Paused)" in run("ps")
        run("unpause", "c2")
        run("restart", "-t", "1", "c2")
        run("stop", "-t", "1", "c2")
        assert "Exited (137)" in run("ps", "-a") and "->80/tcp" not in run("ps", "-a"), run("ps", "-a")
        run("start", "c2")
        run("rm", "c2", code=1)
        run("kill", "c2")
        assert run("wait", "c2") == "137\n"
        run("rm", "c2")
        assert "No such container" in run("rm", "c2", code=1)
        assert run("ps", "-aq") == ""

    def docker_follow(self) -> None:
        need("docker")
        self.api.docker("run", "-d", "--name", "f1", BUSYBOX, "sh", "-c", "echo one; sleep 1; echo two >&2")
        assert self.api.docker("logs", "-f", "f1") == "one\n"
        self.api.docker("rm", "f1")

    def docker_log_limits(self) -> None:
        """A log of several files is read as one, and a follower loses nothing of it."""
        need("docker")
        run = self.api.docker
        write = "i=0; while test $i -lt 3000; do echo line $i; i=$((i+1)); done"
        run("create", "--name", "l1", "--log-opt", "max-size=32k", "--log-opt", "max-file=20", BUSYBOX, "sh", "-c", write)
        assert run("start", "-a", "l1") == "".join(f"line {i}\n" for i in range(3000))
        path = Path(run("inspect", "-f", "{{.LogPath}}", "l1").strip())
        files = sorted(path.parent.glob(path.name + "*"))
        assert 3 < len(files) <= 20 and all(file.stat().st_size < 300 * 1024 for file in files), files
        assert run("logs", "l1") == "".join(f"line {i}\n" for i in range(3000))
        assert run("logs", "--tail", "2000", "l1").splitlines() == [f"line {i}" for i in range(1000, 3000)]
        run("rm", "l1")
        run("run", "--name", "l2", "--log-opt", "max-size=8k", BUSYBOX, "sh", "-c", write)
        kept = run("logs", "l2").splitlines()
        assert not kept or kept[-1] == "line 2999", kept[-3:]
        assert len(kept) < 3000
        run("rm", "l2")
        assert "max-size" in run("create", "--log-opt", "max-size=huge", BUSYBOX, code=1)

    def docker_start_again(self) -> None:
        need("docker")
        self.api.docker("create", "--name", "again", BUSYBOX, "sh", "-c", "echo x >> /n; wc -l < /n")
        assert self.api.docker("start", "-a", "again").strip() == "1"
        assert self.api.docker("start", "-a", "again").strip() == "2"
        self.api.docker("create", "--name", "again", BUSYBOX, code=1)
        self.api.docker("rm", "again")

    def docker_policies(self) -> None:
        need("docker")
        self.api.docker("run", "-d", "--name", "h1", "--health-cmd", "true", "--health-interval", "1s", BUSYBOX, "sleep", "1000")
        wait_for("a healthy container", lambda: "(healthy)" in self.api.docker("ps"), 30)
        self.api.docker("update", "--memory", "64m", "--memory-swap", "64m", "h1")
        assert self.api.docker("inspect", "-f", "{{.HostConfig.Memory}}", "h1") == "67108864\n"
        self.api.docker("rm", "-f", "h1")
        self.api.docker("run", "-d", "--name", "r1", "--restart", "on-failure:2", BUSYBOX, "sh", "-c", "exit 4")
        wait_for("the end of all restarts", lambda: self.api.docker(
            "inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "r1") == "2 exited\n", 40)
        self.api.docker("rm", "r1")

    def docker_stop_and_start(self) -> None:
        """The grace of a stop that is over is nothing to the next run."""
        need("docker")
        run = self.api.docker
        run("run", "-d", "--name", "again", BUSYBOX, "sh", "-c", "trap 'exit 3' TERM; while true; do sleep 0.1; done")
        run("stop", "-t", "2", "again")
        run("start", "again")
        run("exec", "again", "sleep", "3")
        assert run("inspect", "-f", "{{.State.Status}}", "again") == "running\n"
        run("rm", "-f", "again")

    def docker_events(self) -> None:
        need("docker")
        since = str(time.time())
        self.api.docker("run", "--rm", "--name", "ev", "-l", "com.example=1", BUSYBOX, "true")
        seen = self.api.docker("events", "--since", since, "--until", str(time.time() + 1), "--filter", "container=ev",
                               "--format", "{{.Action}}").split()
        assert [word for word in seen if word in ("create", "start", "die", "destroy")] == \
            ["create", "start", "die", "destroy"], seen

    def docker_volumes(self) -> None:
        need("docker")
        run = self.api.docker
        run("volume", "create", "--label", "a=b", "v1")
        assert "v1" in run("volume", "ls", "-q", "--filter", "label=a=b")
        run("run", "--rm", "-v", "v1:/data", BUSYBOX, "sh", "-c", "echo kept > /data/x")
        assert run("run", "--rm", "-v", "v1:/data:ro", BUSYBOX, "cat", "/data/x") == "kept\n"
        run("volume", "rm", "v1")
        run("volume", "inspect", "v1", code=1)

    def docker_networks(self) -> None:
        need("docker")
        run = self.api.docker
        run("network", "create", "davit-api-n1")
        assert "davit-api-n1" in run("network", "ls")
        run("run", "-d", "--name", "web", "--network", "davit-api-n1", "--network-alias", "site", BUSYBOX, "sleep", "1000")
        place = json.loads(run("inspect", "-f", "{{json .NetworkSettings.Networks}}", "web"))["davit-api-n1"]
        shown = json.loads(run("network", "inspect", "davit-api-n1"))[0]
        container = run("inspect", "-f", "{{.Id}}", "web").strip()
        assert place["NetworkID"] == shown["Id"] and len(place["EndpointID"]) == 64, place
        assert shown["Containers"][container]["EndpointID"] == place["EndpointID"] != container, shown
        assert place["DNSNames"] == ["web", "site", container[:12]] and place["Aliases"] == ["site", container[:12]], place
        run("run", "--rm", "--network", "davit-api-n1", BUSYBOX, "ping", "-c", "1", "-W", "5", "web")
        run("network", "create", "--subnet", "10.213.9.0/24", "davit-api-n2")
        run("exec", "web", "sh", "-c", "echo 192.0.2.1 mine >> /etc/hosts")
        run("network", "connect", "--ip", "10.213.9.77", "davit-api-n2", "web")
        host = run("exec", "web", "hostname").strip()
        assert f"10.213.9.77\t{host}\n" in run("exec", "web", "cat", "/etc/hosts")
        run("network", "disconnect", "davit-api-n2", "web")
        hosts = run("exec", "web", "cat", "/etc/hosts")
        assert "10.213.9.77" not in hosts and hosts.endswith("192.0.2.1 mine\n") and host in hosts, hosts
        run("network", "rm", "davit-api-n2")
        run("network", "rm", "davit-api-n1", code=1)
        run("rm", "-f", "web")
        run("network", "rm", "davit-api-n1")

    def docker_files(self) -> None:
        need("docker")
        run = self.api.docker
        run("run", "-d", "--name", "cp1", BUSYBOX, "sleep", "1000")
        try:
            source = self.stage.work / "sent.txt"
            source.write_text("sent\n")
            run("cp", str(source), "cp1:/tmp/got.txt")
            assert run("exec", "cp1", "cat", "/tmp/got.txt") == "sent\n"
            run("cp", "cp1:/tmp/got.txt", str(self.stage.work / "back.txt"))
            assert (self.stage.work / "back.txt").read_text() == "sent\n"
            assert "/tmp/got.txt" in run("diff", "cp1")
            assert "(virtual" in run("ps", "--size", "--format", "{{.Size}}")
            run("export", "-o", str(self.stage.work / "root.tar"), "cp1")
            run("commit", "-m", "with a file", "cp1", "localhost/made:1")
            assert run("run", "--rm", "localhost/made:1", "cat", "/tmp/got.txt") == "sent\n"
            run("rmi", "localhost/made:1")
        finally:
            run("rm", "-f", "cp1", code=None)

    def docker_images(self) -> None:
        need("docker")
        run = self.api.docker
        archive = str(self.stage.work / "saved.tar")
        run("save", "-o", archive, BUSYBOX)
        run("tag", BUSYBOX, "localhost/other:1")
        assert "localhost/other" in run("images")
        run("rmi", "localhost/other:1")
        assert "Loaded image" in run("load", "-i", archive)
        assert run("history", "-q", BUSYBOX).strip()

    def docker_forced_removal(self) -> None:
        """An image that is removed by force loses its names; what was made from it can be started all the same."""
        need("docker")
        run = self.api.docker
        try:
            run("create", "--name", "kept", BUSYBOX, "echo", "still here")
            run("rmi", BUSYBOX, code=1)
            assert "Untagged" in run("rmi", "-f", BUSYBOX) and BUSYBOX not in run("images")
            assert run("start", "-a", "kept") == "still here\n"
            run("run", "-d", "--name", "runs", run("inspect", "-f", "{{.Image}}", "kept").strip(), "sleep", "1000")
            assert "runs" in run("rmi", "-f", run("inspect", "-f", "{{.Image}}", "kept").strip(), code=1)
        finally:
            run("rm", "-f", "kept", "runs", code=None)
            self.crictl.pull(BUSYBOX)

    def context(self) -> str:
        directory = self.stage.work / "context"
        directory.mkdir(exist_ok=True)
        (directory / "file").write_text("copied\n")
        for name in ("Dockerfile", "Containerfile"):
            (directory / name).write_text(f"FROM {BUSYBOX}\nARG X=1\nRUN echo built-$X > /x\nCOPY file /file\nCMD cat /x /file\n")
        return str(directory)

    def docker_build(self) -> None:
        need("docker")
        need("buildah")
        out = self.api.docker("build", "-t", "made", "--build-arg", "X=2", self.context(), env={"DOCKER_BUILDKIT": "0"})
        assert "Successfully tagged made" in out, out
        assert self.api.docker("run", "--rm", "made") == "built-2\ncopied\n"
        (Path(self.context()) / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN false\n")
        failed = self.api.docker("build", str(self.stage.work / "context"), env={"DOCKER_BUILDKIT": "0"}, code=1)
        assert "RUN false" in failed, failed
        self.api.docker("rmi", "made")
        assert "Total reclaimed space: 0B" not in self.api.docker("builder", "prune", "-f", env={"DOCKER_BUILDKIT": "0"})
        assert "Total reclaimed space: 0B" in self.api.docker("builder", "prune", "-f", env={"DOCKER_BUILDKIT": "0"})

    def podman_build(self) -> None:
        need("podman")
        need("buildah")
        self.api.podman("build", "-t", "pmade", self.context())
        assert self.api.podman("run", "--rm", "pmade") == "built-1\ncopied\n"
        self.api.podman("rmi", "pmade")

    # ---- podman ----
    def podman_containers(self) -> None:
        need("podman")
        run = self.api.podman
        assert run("run", "--rm", BUSYBOX, "echo", "hello") == "hello\n"
        run("run", "--rm", BUSYBOX, "sh", "-c", "exit 5", code=5)
        assert run("run", "--rm", "-i", BUSYBOX, "cat", stdin="typed\n") == "typed\n"
        run("run", "-d", "--name", "p1", BUSYBOX, "sleep", "1000")
        assert "p1" in run("ps", "--format", "{{.Names}}")
        assert run("exec", "p1", "echo", "inside") == "inside\n"
        run("exec", "p1", "sh", "-c", "exit 9", code=9)
        assert run("inspect", "p1", "--format", "{{.State.Status}}") == "running\n"
        assert "sleep 1000" in run("top", "p1")
        assert "p1" in run("stats", "--no-stream", "p1")
        run("stop", "-t", "1", "p1")
        run("start", "p1")
        run("kill", "p1")
        assert run("wait", "p1") == "137\n"
        run("rm", "p1")

    def podman_pods(self) -> None:
        need("podman")
        run = self.api.podman
        run("pod", "create", "--name", "pp1", "-l", "a=b")
        state = lambda: run("pod", "ps", "--format", "{{.Name}} {{.Status}} {{.NumberOfContainers}}", "--filter", "name=pp1")
        assert state() == "pp1 Created 1\n", state()
        run("run", "-d", "--pod", "pp1", "--name", "m1", BUSYBOX, "sleep", "1000")
        assert state() == "pp1 Running 2\n", state()
        run("pod", "create", "--name", "pp1", code=125)
        run("pod", "stop", "-t", "1", "pp1")
        assert state() == "pp1 Exited 2\n", state()
        run("pod", "start", "pp1")
        assert state() == "pp1 Running 2\n", state()
        run("pod", "rm", "pp1", code=125)
        run("pod", "rm", "-f", "pp1")
        assert state() == ""

    def podman_networks(self) -> None:
        need("podman")
        run = self.api.podman
        run("network", "create", "--subnet", "10.213.7.0/24", "davit-api-p1")
        listed = dict(line.split() for line in run("network", "ls", "--format", "{{.Name}} {{.Driver}}").splitlines())
        assert listed == {"podman": "bridge", "davit-api-p1": "bridge"}, listed
        assert json.loads(run("network", "inspect", "davit-api-p1"))[0]["subnets"][0]["subnet"] == "10.213.7.0/24"
        run("run", "-d", "--network", "davit-api-p1", "--name", "pn1", BUSYBOX, "sleep", "1000")
        assert "10.213.7." in run("inspect", "pn1", "--format", "{{json .NetworkSettings.Networks}}")
        run("network", "rm", "davit-api-p1", code=None)
        assert "davit-api-p1" in run("network", "ls")
        run("network", "rm", "-f", "davit-api-p1")
        assert run("ps", "-aq") == ""
        assert "davit-api-p1" not in run("network", "ls"), run("network", "ls")

    def podman_kube(self) -> None:
        need("podman")
        plan = self.stage.work / "pod.yaml"
        plan.write_text(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: kp, labels: {{app: kp}}}}\nspec:\n  containers:\n"
                        f"  - {{name: a, image: '{BUSYBOX}', command: [sleep, '100'], env: [{{name: X, value: y}}]}}\n")
        self.api.podman("play", "kube", str(plan))
        assert "kp-a" in self.api.podman("ps", "--format", "{{.Names}}")
        assert self.api.podman("exec", "kp-a", "sh", "-c", "echo $X") == "y\n"
        made = self.api.podman("generate", "kube", "kp")
        assert "kind: Pod" in made and BUSYBOX in made, made
        self.api.podman("play", "kube", "--down", str(plan))
        assert "kp-a" not in self.api.podman("ps", "-a", "--format", "{{.Names}}")

    # ---- docker-py ----
    def docker_py(self) -> None:
        try:
            import docker
        except ImportError as missing:
            raise paths.Skip("no Python package docker") from missing
        client = docker.DockerClient(base_url=f"unix://{self.api.socket}")
        assert client.ping() and client.info()["OSType"] == "linux"
        assert client.containers.run(BUSYBOX, "echo hi", remove=True) == b"hi\n"
        container = client.containers.run(BUSYBOX, ["sh", "-c", "echo out; echo err >&2; sleep 1000"], detach=True, name="dpy",
                                          ports={"80/tcp": None}, labels={"a": "b"})
        try:
            container.reload()
            assert container.status == "running" and int(container.ports["80/tcp"][0]["HostPort"]) > 0, container.ports
            assert container.exec_run(["sh", "-c", "echo a; echo b >&2"], demux=True).output == (b"a\n", b"b\n")
            assert container.exec_run("sh -c 'exit 3'").exit_code == 3
            wait_for("both streams", lambda: container.logs(stdout=False, stderr=True) == b"err\n", 20)
            assert next(container.stats(decode=True, stream=True))["name"] == "/dpy"
            assert container.put_archive("/tmp", tar_of("x", b"yo"))
            pieces, stat = container.get_archive("/tmp/x")
            assert stat["size"] == 2 and b"yo" in b"".join(pieces)
            assert [one.name for one in client.containers.list(filters={"label": "a=b"})] == ["dpy"]
            container.stop(timeout=1)
            assert container.wait()["StatusCode"] == 137
            container.start()
            container.kill()
            container.remove()
        finally:
            self.api.ask("DELETE", "/containers/dpy?force=1")
        try:
            client.images.get("localhost/nosuch")
        except docker.errors.ImageNotFound:
            pass
        else:
            raise AssertionError("an image that is not there was found")

    # ---- what the kubelet made ----
    def kubernetes(self) -> None:
        logs = self.stage.logs("k8s")
        pod = self.crictl.run_pod({"metadata": {"name": "kpod", "namespace": "team", "uid": "u1", "attempt": 0},
                                   "labels": {"app": "kpod"}, "log_directory": str(logs), "linux": {}})
        try:
            container = self.crictl.create(pod, {
                "metadata": {"name": "main", "attempt": 0}, "image": {"image": BUSYBOX},
                "command": ["sh", "-c", "echo from kubernetes; exec sleep 1000"], "log_path": "main.log", "linux": {}},
                {"metadata": {"name": "kpod", "namespace": "team", "uid": "u1", "attempt": 0},
                 "labels": {"app": "kpod"}, "log_directory": str(logs), "linux": {}})
            self.crictl.start(container)
            name = "k8s_main_kpod_team_u1_0"
            listed = self.api.ask("GET", "/containers/json").json()
            assert [entry["Names"] for entry in listed if entry["Id"] == container] == [["/" + name]], listed
            pods = self.api.ask("GET", "/libpod/pods/json").json()
            assert [(entry["Name"], entry["Labels"]) for entry in pods if entry["Id"] == pod] == [("kpod", {"app": "kpod"})], pods
            wait_for("the log", lambda: b"from kubernetes" in self.api.ask(
                "GET", f"/containers/{container}/logs?stdout=1").body, 20)
            for method, path in (("POST", f"/containers/{container}/stop"), ("POST", f"/containers/{name}/kill"),
                                 ("DELETE", f"/containers/{container}?force=1"), ("POST", f"/libpod/pods/{pod}/stop")):
                refused = self.api.ask(method, path)
                assert refused.status == 403 and "--allow-kubernetes-changes" in refused.json()["message"], refused.body
            if shutil.which("docker"):
                assert name in self.api.docker("ps", "--format", "{{.Names}}")
                assert self.api.docker("logs", name) == "from kubernetes\n"
                assert self.api.docker("exec", name, "echo", "in") == "in\n"
            if shutil.which("podman"):
                assert "kpod" in self.api.podman("pod", "ps", "--format", "{{.Name}}")
        finally:
            self.crictl.remove_pod(pod, force=True)

    # ---- the wire ----
    def sixteen_endpoints(self) -> None:
        """The seed's list, in all forms."""
        made = self.api.ask("POST", "/libpod/containers/create", json.dumps(
            {"image": BUSYBOX, "command": ["sleep", "1000"], "name": "s16"}).encode())
        if made.status == 501:
            raise paths.Skip(made.json()["message"])
        assert made.status == 201, made.body
        container = made.json()["Id"]
        pod = self.api.ask("POST", "/libpod/pods/create", b'{"name":"p16"}').json()["Id"]
        try:
            for prefix in ("", "/v1.41", "/v1.44"):
                assert self.api.ask("GET", f"{prefix}/_ping").body == b"OK"
                assert self.api.ask("GET", f"{prefix}/containers/{container}/json").json()["Name"] == "/s16"
                assert self.api.ask("GET", f"{prefix}/containers/json?all=true").status == 200
                assert self.api.ask("GET", f"{prefix}/volumes").status == 200
                assert self.api.ask("GET", f"{prefix}/events?stream=false&since=1").status == 200
                assert self.api.ask("POST", f"{prefix}/containers/{container}/stop?abortSignal=").status == 304
            for prefix in ("", "/v4.2.0", "/v5.0.0"):
                for path in ("containers/json?all=true", "images/json", "info", "pods/json"):
                    assert self.api.ask("GET", f"{prefix}/libpod/{path}").status == 200, path
            assert self.api.ask("POST", f"/libpod/pods/{pod}/start").json()["Errs"] is None
            assert self.api.ask("POST", f"/libpod/pods/{pod}/start").status == 304
            assert self.api.ask("POST", f"/libpod/pods/{pod}/stop").status == 200
            assert self.api.ask("POST", "/build?dockerfile=&labels=").status != 404
        finally:
            assert self.api.ask("DELETE", f"/libpod/pods/{pod}").status == 200
            self.api.ask("DELETE", f"/containers/{container}?force=1")

    def errors(self) -> None:
        missing = self.api.ask("GET", "/v4.0.0/libpod/containers/nosuch/json")
        assert missing.status == 404 and missing.headers["content-type"] == "application/json"
        assert missing.json() == {"cause": "no such container", "response": 404,
                                  "message": 'no container with name or ID "nosuch" found: no such container'}
        assert self.api.ask("GET", "/session").status == 404
        assert self.api.ask("PUT", "/info").status == 405
        assert self.api.ask("GET", "/containers/json?all=xx").status == 400
        assert self.api.ask("GET", "/containers/json?filters={").status == 400
        assert self.api.ask("POST", "/containers/create", b"{").status == 400
        assert self.api.ask("POST", "/containers/create", b'{"Image":"localhost/nosuch"}').status == 404
        head = self.api.ask("HEAD", "/_ping")
        assert head.body == b"" and head.headers["api-version"] == "1.44"

    def many_streams(self) -> None:
        """A thousand followers come and go; memory and descriptors return."""
        made = self.api.ask("POST", "/containers/create?name=many", json.dumps(
            {"Image": BUSYBOX, "Cmd": ["sh", "-c", "echo first; exec sleep 1000"]}).encode())
        if made.status == 501:
            raise paths.Skip(made.json()["message"])
        assert self.api.ask("POST", "/containers/many/start").status == 204
        directory = Path("/proc") / str(self.api.process.pid)
        fds = lambda: len(list((directory / "fd").iterdir()))
        resident = lambda: int(next(line for line in (directory / "status").read_text().splitlines()
                                    if line.startswith("VmRSS")).split()[1])
        try:
            before, memory = fds(), 0
            for round_ in range(2):
                peers = []
                for number in range(1000):
                    peer = self.api.connect()
                    if number % 10 == 0:
                        peer.sendall(b"POST /containers/many/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
                                     b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
                    else:
                        peer.sendall(b"GET /containers/many/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: d\r\n\r\n")
                    peers.append(peer)
                for peer in peers:
                    assert peer.recv(12).startswith(b"HTTP/1.1 "), "no answer"
                threads = len(list((directory / "task").iterdir()))
                assert threads < 200, f"{threads} threads for 1000 streams"
                for peer in peers:
                    peer.close()
                wait_for("the descriptors", lambda: fds() <= before + 10, 60)
                if round_ == 0:
                    memory = resident()
            assert resident() < memory + 8192, f"{memory} KiB after the first thousand, {resident()} after the second"
        finally:
            self.api.ask("DELETE", "/containers/many?force=1")

    def hostile(self) -> None:
        """Nothing that a client sends ends the process."""
        for text in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                     b"POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                     b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET /%zz HTTP/1.1\r\n\r\n",
                     b"POST /containers/x/attach HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + b"\x00" * 1000):
            with self.api.connect() as peer:
                try:
                    peer.sendall(text)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(65536):
                        pass
                except OSError:
                    pass  # refused before it was read whole
        for body in (b"[" * 100000, b'{"HostConfig":' * 1000, b"null", b"7", b'{"Cmd":{"a":1}}', b'{"Image":' + b'"x' * 10):
            assert self.api.ask("POST", "/containers/create", body).status in (400, 404), body[:20]
        assert self.api.answers() and self.api.process.poll() is None

    def steps(self):
        for name in ("docker_basics", "docker_run", "docker_life", "docker_stop_and_start", "docker_follow", "docker_log_limits", "docker_start_again", "docker_policies",
                     "docker_events", "docker_volumes", "docker_networks", "docker_files", "docker_images",
                     "docker_forced_removal", "docker_build",
                     "podman_containers", "podman_pods", "podman_networks", "podman_kube", "podman_build",
                     "docker_py", "kubernetes", "sixteen_endpoints", "errors", "many_streams", "hostile"):
            yield name.replace("_", " "), getattr(self, name)

    def cri_steps(self):
        """In front of a runtime that has CRI alone."""
        for name in ("docker_basics", "cri_containers", "kubernetes", "errors", "hostile"):
            yield name.replace("_", " "), getattr(self, name)

    def cri_containers(self) -> None:
        made = self.api.ask("POST", "/containers/create?name=cc", json.dumps(
            {"Image": BUSYBOX, "Cmd": ["sh", "-c", "echo by cri; exec sleep 1000"]}).encode())
        assert made.status == 201, made.body
        assert self.api.ask("POST", "/containers/cc/start").status == 204
        assert self.api.ask("GET", "/containers/cc/json").json()["State"]["Status"] == "running"
        assert self.api.ask("POST", "/containers/cc/stop?t=1").status == 204
        assert self.api.ask("POST", "/containers/cc/start").status == 501
        assert self.api.ask("POST", "/containers/cc/pause").status in (409, 501)
        assert self.api.ask("DELETE", "/containers/cc").status == 204
        refused = self.api.ask("POST", "/libpod/pods/create", b'{"name":"x"}')
        assert refused.status == 501 and MISSING in refused.json()["message"], refused.body


def run(stage: Stage, report: Report, cri_alone: bool) -> None:
    stage.engine.start()
    api = Api(stage)
    try:
        walk = Walk(stage, api)
        walk.crictl.pull(BUSYBOX)
        for name, step in walk.cri_steps() if cri_alone else walk.steps():
            report.run(name, step)
        report.run("davit-api lives", lambda: api.answers())
    finally:
        api.stop()
    stage.engine.end()


def main() -> int:
    args = options(__doc__, engines=True).parse_args()
    report = Report("api")
    with reported(report):
        with stage_of("api", args) as stage:
            run(stage, report, args.engine == "containerd")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
