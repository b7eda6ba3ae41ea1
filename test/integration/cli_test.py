#!/usr/bin/env python3
"""The davit command's everyday verbs, each with what it prints and its exit status, wrong input included."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.engine import wait_for  # noqa: E402
from davit_test.grpc_client import GrpcClient  # noqa: E402
from davit_test.paths import Skip  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

ENDS_S = 30


class Shell:
    """A person at the command line."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.base = [str(Path(stage.engine.bin_dir) / "davit"), "--connect", stage.engine.endpoint]
        self.run("pull", BUSYBOX)

    def call(self, *words: str, text: str | bytes | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess:
        data = text.encode() if isinstance(text, str) else text
        return subprocess.run([*self.base, *words], input=data, capture_output=True, timeout=timeout_s,
                              stdin=None if data is not None else subprocess.DEVNULL)

    def run(self, *words: str, code: int = 0, **more) -> str:
        """Standard output of a command that ends with `code`."""
        done = self.call(*words, **more)
        assert done.returncode == code, f"davit {' '.join(words)}: {done.returncode}, not {code}: {done.stderr.decode()}"
        return done.stdout.decode()

    def refused(self, word: str, *words: str, code: int = 1, **more) -> str:
        """The error of a command that fails with `code` and says `word`."""
        done = self.call(*words, **more)
        error = done.stderr.decode()
        assert done.returncode == code, f"davit {' '.join(words)}: {done.returncode}, not {code}: {done.stdout} {error}"
        assert word in error, f"davit {' '.join(words)}: no {word!r} in {error!r}"
        return error

    def start(self, *words: str) -> str:
        """A container on the node's network that runs until it is stopped."""
        return self.run("run", "-d", "--network", "host", *words).strip()

    def state(self, name: str) -> str:
        return self.run("inspect", "--format", "{{.State.Status}}", name).strip()

    def reaches(self, name: str, state: str) -> None:
        wait_for(f"state {state} of {name}", lambda: self.state(name) == state, ENDS_S)

    def clear(self) -> None:
        self.run("rm", "-f", "-a")


def need(shell: Shell, *words: str) -> None:
    """Skips what the server does not have yet."""
    done = shell.call(*words)
    if b"UNIMPLEMENTED" in done.stderr:
        raise Skip(f"davitd has no {' '.join(words)}")


HOST = ("--network", "host")


def run_prints_and_passes_on_the_exit_code(shell: Shell) -> None:
    done = shell.call("run", "--rm", *HOST, BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n"), done
    assert shell.run("ps", "-aq") == ""
    assert shell.run("run", "--rm", "-i", *HOST, BUSYBOX, "cat", text="typed\n") == "typed\n"
    big = shell.run("run", "--rm", *HOST, BUSYBOX, "sh", "-c", "seq 1 200000")
    assert big.split()[-1] == "200000" and len(big.split()) == 200000
    shell.refused("/no/such", "run", "--rm", *HOST, BUSYBOX, "/no/such", code=127)
    shell.refused("denied", "run", *HOST, BUSYBOX, "/etc/passwd", code=126)
    shell.clear()


def run_takes_its_flags(shell: Shell) -> None:
    files = shell.stage.work / "flags"
    files.mkdir()
    (files / "env").write_text("# a comment\nFROM_FILE=1\nTWICE=file\n")
    out = shell.run("run", "--rm", *HOST, "--name", "flags", "-e", "A=x y", "--env-file", str(files / "env"), "-e",
                    "TWICE=flag", "-w", "/tmp", "-u", "1000:50", "-v", f"{files}:/data:ro", "--ulimit", "nofile=64:64",
                    "--entrypoint", "sh", BUSYBOX, "-c",
                    "echo $A; echo $FROM_FILE $TWICE; pwd; id -u; id -g; ls /data; ulimit -n; touch /data/x || echo read-only")
    assert out.split("\n")[:8] == ["x y", "1 flag", "/tmp", "1000", "50", "env", "64", "read-only"], out
    made = shell.start("--name", "limits", "-m", "64m", "--cpus", "0.5", "--label", "app=web", "--restart", "on-failure:2",
                       "--stop-signal", "KILL", "--hostname", "", BUSYBOX, "sleep", "1000")
    shown = json.loads(shell.run("inspect", made))[0]
    host = shown["HostConfig"]
    assert host["Memory"] == 64 << 20 and host["CpuQuota"] == 50000 and host["RestartPolicy"]["MaximumRetryCount"] == 2
    assert shown["Config"]["Labels"] == {"app": "web"} and shown["Name"] == "limits", shown
    id_file = files / "cid"
    made = shell.run("create", *HOST, "--cidfile", str(id_file), BUSYBOX, "true").strip()
    assert id_file.read_text() == made
    shell.refused("is there already", "create", "--cidfile", str(id_file), BUSYBOX, code=125)
    shell.clear()


def wrong_input(shell: Shell) -> None:
    for word, words in (("--restart", ("--restart", "sometimes")), ("--memory", ("-m", "lots")),
                        ("-p", ("-p", "80:x")), ("-v", ("-v", "/a:/b:rx")), ("--ulimit", ("--ulimit", "nofile")),
                        ("-e", ("-e", "=x")), ("--pull", ("--pull", "sometimes")), ("--pid", ("--pid", "x")),
                        ("--add-host", ("--add-host", "db")), ("--tmpfs", ("--tmpfs", "relative")),
                        ("--mount", ("--mount", "type=npipe,target=/a")), ("--security-opt", ("--security-opt", "x")),
                        ("name", ("--name", "a b"))):
        shell.refused(word, "run", *words, BUSYBOX, "true", code=125)
    shell.refused("needs an image", "run", code=2)
    shell.refused("--wrong", "run", "--wrong", BUSYBOX, code=2)
    shell.refused("no-such", "run", "--pull", "never", "localhost/no-such:1", code=125)
    for verb in ("stop", "restart", "kill", "pause", "unpause", "rm", "start", "wait", "inspect", "logs", "top", "port",
                 "attach", "diff"):
        shell.refused("nobody", verb, "nobody")
    shell.refused("nobody", "exec", "nobody", "true")
    shell.refused("nobody", "rename", "nobody", "x")
    shell.refused("nobody", "update", "-m", "64m", "nobody")
    shell.refused("needs a container", "rm", code=2)
    shell.refused("needs a container and a command", "exec", "x", code=2)
    shell.refused("status", "ps", "--filter", "status=dozing")
    shell.refused("the key is one of", "ps", "--filter", "colour=red")
    shell.refused("--since", "events", "--since", "yesterday")
    shell.refused("--tail", "logs", "--tail", "x", "nobody", code=2)
    shell.refused("--condition", "wait", "--condition", "x", "nobody")
    shell.refused("CONTAINER:PATH", "cp", "a", "b")
    assert shell.run("rm", "-f", "nobody") == "nobody\n"
    assert shell.run("ps", "-aq") == "", "something was left behind"


def life(shell: Shell) -> None:
    made = shell.run("create", *HOST, "--name", "life", BUSYBOX, "sh", "-c", "echo run; echo x >> /count; exec sleep 1000")
    made = made.strip()
    assert shell.state("life") == "created"
    assert shell.run("start", "life") == "life\n" and shell.state(made[:12]) == "running"
    assert shell.run("stop", "-t", "0", "life") == "life\n" and shell.state("life") == "exited"
    shell.run("start", "life")
    assert shell.run("exec", "life", "cat", "/count") == "x\nx\n", "it has the files that it wrote"
    shell.run("restart", "-t", "0", "life")
    wait_for("the third run", lambda: shell.call("exec", "life", "cat", "/count").stdout.count(b"x") == 3, ENDS_S)
    shell.run("pause", "life")
    assert shell.state("life") == "paused"
    shell.refused("paused", "exec", "life", "true")
    shell.run("unpause", "life")
    shell.refused("running", "rm", "life")
    shell.run("rename", "life", "second")
    shell.refused("life", "stop", "life")
    shell.run("kill", "-s", "KILL", "second")
    assert shell.run("wait", "second") == "137\n"
    shell.refused("not running", "kill", "second")
    shell.refused("SIGNONE", "kill", "-s", "SIGNONE", "second")
    shell.run("update", "-m", "96m", "--restart", "no", "second")
    assert shell.run("inspect", "--format", "{{.HostConfig.Memory}}", "second").strip() == str(96 << 20)
    shell.refused("neither", "update", "second")
    assert shell.run("rm", "second") == "second\n"
    # One that fails does not keep the others from it.
    one, two = shell.start(BUSYBOX, "sleep", "1000"), shell.start(BUSYBOX, "sleep", "1000")
    done = shell.call("rm", "-f", "-v", one, two)
    assert done.returncode == 0 and done.stdout.decode().split() == [one, two]
    three = shell.start(BUSYBOX, "sleep", "1000")
    done = shell.call("stop", "-t", "0", "nobody", three)
    assert done.returncode == 1 and done.stdout.decode().split() == [three] and b"nobody" in done.stderr
    shell.clear()


def start_attached(shell: Shell) -> None:
    shell.run("create", "-i", *HOST, "--name", "again", BUSYBOX, "sh", "-c", "read x; echo got $x; exit 3")
    assert shell.run("start", "-a", "-i", "again", code=3, text="one\n") == "got one\n"
    assert shell.run("start", "-ai", "again", code=3, text="two\n") == "got two\n"
    assert shell.run("logs", "again") == "got one\ngot two\n"
    shell.clear()


def ps_lists(shell: Shell) -> None:
    run = shell.start("--name", "up", "--label", "app=web", BUSYBOX, "sleep", "1000")
    ended = shell.run("create", *HOST, "--name", "new", "--label", "app=db", BUSYBOX, "true").strip()
    table = shell.run("ps")
    assert table.split("\n")[0].split()[:2] == ["CONTAINER", "ID"] and "up" in table and "new" not in table, table
    assert "sleep 1000" in table and "Up since" in table
    assert shell.run("ps", "-q").split() == [run]
    assert shell.run("ps", "-aq").split() == [ended, run], "the newest first"
    assert shell.run("ps", "-q", "-l").split() == [ended]
    for filters, wanted in ((("status=created",), [ended]), (("label=app=web",), [run]), (("name=up",), [run]),
                            (("name=up", "label=app=db"), []), (("name=up", "name=new"), [ended, run]),
                            ((f"ancestor={BUSYBOX}",), [ended, run]), (("since=up",), [ended])):
        words = [word for one in filters for word in ("-f", one)]
        assert shell.run("ps", "-aq", *words).split() == wanted, filters
    listed = json.loads(shell.run("ps", "-a", "-o", "json"))
    assert [c["id"] for c in listed["containers"]] == [ended, run]
    assert shell.run("inspect", "--format", "{{.State.Pid}}", "up").strip() != "0"
    shell.clear()


def inspect_finds_all_kinds(shell: Shell) -> None:
    made = shell.start("--name", "seen", BUSYBOX, "sleep", "1000")
    assert json.loads(shell.run("inspect", "seen"))[0]["Id"] == made
    pod = json.loads(shell.run("inspect", "seen"))[0]["Pod"]
    assert json.loads(shell.run("inspect", "--type", "pod", pod))[0]["Containers"] == [made]
    shell.refused("no container", "inspect", "--type", "container", "nobody")
    shell.refused("--format", "inspect", "--format", "{{range .X}}", "seen")
    done = shell.call("inspect", "seen", "nobody")
    assert done.returncode == 1 and len(json.loads(done.stdout)) == 1
    shell.clear()


def logs(shell: Shell) -> None:
    shell.start("--name", "talks", BUSYBOX, "sh", "-c", "for i in 1 2 3; do echo $i; done; echo e >&2; sleep 1000")
    wait_for("the log", lambda: shell.run("logs", "talks").split() == ["1", "2", "3"], ENDS_S)
    assert shell.call("logs", "talks").stderr == b"e\n"
    assert shell.run("logs", "--tail", "2", "talks") == "3\n"
    assert shell.run("logs", "-t", "talks").split("\n")[0].endswith("Z 1")
    assert shell.run("logs", "--since", "1h", "talks").split() == ["1", "2", "3"]
    assert shell.run("logs", "--until", "1h", "talks") == ""
    follower = subprocess.Popen([*shell.base, "logs", "-f", "talks"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    shell.run("stop", "-t", "0", "talks")
    assert follower.wait(ENDS_S) == 0 and follower.stdout.read().split() == [b"1", b"2", b"3"]
    shell.clear()


def exec_runs(shell: Shell) -> None:
    shell.start("--name", "box", "-e", "A=1", BUSYBOX, "sleep", "1000")
    assert shell.run("exec", "-e", "B=2", "-w", "/tmp", "-u", "1000", "box", "sh", "-c", "echo $A$B; pwd; id -u") == \
        "12\n/tmp\n1000\n"
    assert shell.run("exec", "-i", "box", "cat", text="in\n") == "in\n"
    assert shell.call("exec", "box", "sh", "-c", "exit 9").returncode == 9
    shell.refused("/no/such", "exec", "box", "/no/such", code=127)
    shell.refused("denied", "exec", "box", "/etc/passwd", code=126)
    shell.run("exec", "-d", "box", "sh", "-c", "echo done > /made; sleep 1000")
    wait_for("the detached command", lambda: shell.call("exec", "box", "cat", "/made").stdout == b"done\n", ENDS_S)
    assert "sleep 1000" in shell.run("top", "box") and shell.run("top", "box").count("sleep 1000") >= 2
    shell.clear()


def attach_and_leave(shell: Shell) -> None:
    shell.start("--name", "tty", "-it", BUSYBOX, "sh")
    master, slave = pty.openpty()
    child = subprocess.Popen([*shell.base, "attach", "tty"], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)

    def read_until(word: bytes) -> bytes:
        seen, end = b"", time.monotonic() + ENDS_S
        while word not in seen:
            assert time.monotonic() < end, seen
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 4096)
        return seen

    try:
        os.write(master, b"echo he''llo\n")
        read_until(b"hello")
        os.write(master, b"\x10\x11")
        assert child.wait(ENDS_S) == 0
    finally:
        os.close(master)
        if child.poll() is None:
            child.kill()
    assert shell.state("tty") == "running", "leaving is not ending"
    shell.clear()


def interrupted(shell: Shell) -> None:
    """^C stops the container, and davit ends with its exit code."""
    child = subprocess.Popen([*shell.base, "run", "--rm", *HOST, "--name", "int", BUSYBOX, "sh", "-c",
                              "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(signal.SIGINT)
    assert child.wait(ENDS_S) == 5
    shell.refused("int", "inspect", "--type", "container", "int")


def wait_and_events(shell: Shell) -> None:
    since = f"{time.time() - 1:.3f}"
    waiting = None
    made = shell.run("create", *HOST, "--name", "ev", BUSYBOX, "sh", "-c", "exit 4").strip()
    waiting = subprocess.Popen([*shell.base, "wait", "--condition", "next-exit", "ev"], stdout=subprocess.PIPE)
    time.sleep(0.3)
    shell.run("start", "ev")
    assert waiting.wait(ENDS_S) == 0 and waiting.stdout.read() == b"4\n"
    shell.run("rm", "ev")
    told = shell.run("events", "--no-follow", "--since", since, "--filter", "container=ev").strip().split("\n")
    assert [line.split()[2] for line in told] == ["create", "start", "die", "destroy"], told
    assert f"container create {made}" in told[0] and "exitCode=4" in told[2]
    only = shell.run("events", "--no-follow", "--since", since, "-f", "event=die", "-o", "json").strip()
    assert json.loads(only.split("\n")[-1])["id"] == made


def stats_and_prune(shell: Shell) -> None:
    made = shell.start("--name", "busy", BUSYBOX, "sh", "-c", "while :; do :; done")
    shown = json.loads(shell.run("stats", "--no-stream", "-o", "json", "busy"))[0]
    assert shown["id"] == made and shown["cpuPercent"] > 5 and shown["memoryBytes"] > 0 and shown["processes"] >= 1
    assert "busy" in shell.run("stats", "--no-stream")
    ended = shell.run("create", *HOST, BUSYBOX, "true").strip()
    assert shell.run("container", "prune", text="n\n", code=1) == ""
    assert shell.run("container", "prune", "-f").split() == [ended]
    assert shell.run("ps", "-aq").split() == [made]
    shell.clear()


def ports(shell: Shell) -> None:
    made = shell.run("run", "-d", "--name", "srv", "-p", "127.0.0.1:18431:80", BUSYBOX, "sleep", "1000").strip()
    assert shell.run("port", "srv") == "80/tcp -> 127.0.0.1:18431\n"
    assert shell.run("port", "srv", "80") == "127.0.0.1:18431\n"
    shell.refused("does not publish", "port", "srv", "81")
    assert "127.0.0.1:18431->80/tcp" in shell.run("ps")
    assert shell.run("inspect", "--format", "{{.NetworkSettings.IPAddress}}", made).strip() != ""
    shell.clear()


def kubelets_can_be_seen(shell: Shell) -> None:
    cri = GrpcClient(shell.stage.engine.socket)
    pod = cri.RunPodSandbox(config={"metadata": {"name": "web-7f", "namespace": "shop", "uid": uuid.uuid4().hex},
                                    "linux": {"security_context": {"namespace_options": {"network": "NODE"}}}})
    made = cri.CreateContainer(pod_sandbox_id=pod.pod_sandbox_id, sandbox_config={"metadata": {"name": "web-7f"}},
                               config={"metadata": {"name": "app"}, "image": {"image": BUSYBOX},
                                       "command": ["sleep", "1000"], "linux": {}}).container_id
    cri.StartContainer(container_id=made)
    assert "kubelet: shop/web-7f" in shell.run("ps") and "shop" in shell.run("pod", "ps")
    assert shell.run("ps", "-q", "-f", "standalone=false").split() == [made]
    assert shell.run("exec", made[:12], "echo", "hi") == "hi\n"
    assert json.loads(shell.run("inspect", made))[0]["Standalone"] is False
    error = shell.refused("kubelet", "stop", made)
    assert "davit ctr stop" in error
    shell.refused("davit ctr remove", "rm", "-f", made)
    shell.run("ctr", "stop", "--timeout", "0", made)
    shell.run("pod", "remove", "-f", pod.pod_sandbox_id)


def pods(shell: Shell) -> None:
    pod = shell.run("pod", "create", "--name", "team", *HOST).strip()
    shell.refused("team", "pod", "create", "team")
    one = shell.run("create", "--pod", "team", "--name", "one", BUSYBOX, "sleep", "1000").strip()
    shell.refused("--pod", "run", "--pod", "team", "-p", "80:80", BUSYBOX, code=125)
    assert shell.run("pod", "start", "team") == "team\n" and shell.state("one") == "running"
    listed = shell.run("pod", "ps")
    assert "team" in listed and "Running" in listed, listed
    assert json.loads(shell.run("pod", "inspect", "team"))[0]["Containers"] == [one]
    assert shell.run("ps", "-q", "--filter", "pod=team").split() == [one]
    shell.run("pod", "stop", "team")
    assert shell.state("one") == "exited"
    assert shell.run("pod", "rm", "-f", "team") == "team\n"
    assert pod not in shell.run("pod", "ps", "-q") and shell.run("ps", "-aq") == ""


def images_and_tags(shell: Shell) -> None:
    need(shell, "history", BUSYBOX)
    table = shell.run("images")
    assert table.split()[:2] == ["REPOSITORY", "TAG"] and "busybox" in table, table
    image = shell.run("images", "-q", BUSYBOX).strip()
    shell.run("tag", BUSYBOX, "localhost/mine:1", "localhost/mine:2")
    assert shell.run("images", "localhost/mine").count("localhost/mine") == 2
    assert json.loads(shell.run("inspect", "--type", "image", "localhost/mine:1"))[0]["Id"] == image
    assert "Untagged: localhost/mine:1" in shell.run("rmi", "localhost/mine:1")
    shell.run("rmi", "localhost/mine:2")
    assert shell.run("images", "-q", BUSYBOX).strip() == image
    assert "CREATED BY" in shell.run("history", BUSYBOX)
    shell.refused("no-such", "rmi", "localhost/no-such:1")
    shell.refused("no-such", "tag", "localhost/no-such:1", "x")
    saved = shell.stage.work / "saved.tar"
    shell.run("save", "-o", str(saved), BUSYBOX)
    assert "Loaded image" in shell.run("load", "-i", str(saved))


def copies(shell: Shell) -> None:
    shell.start("--name", "files", BUSYBOX, "sleep", "1000")
    try:
        need(shell, "diff", "files")
        here = shell.stage.work / "copies"
        (here / "site/sub").mkdir(parents=True)
        (here / "site/sub/a").write_text("A")
        (here / "one").write_text("1")
        shell.run("cp", str(here / "one"), "files:/tmp")
        shell.run("cp", str(here / "one"), "files:/tmp/two")
        assert shell.run("exec", "files", "cat", "/tmp/one", "/tmp/two") == "11"
        shell.run("cp", str(here / "site"), "files:/srv")
        assert shell.run("exec", "files", "cat", "/srv/sub/a") == "A"
        shell.run("cp", f"{here}/site/.", "files:/tmp")
        assert shell.run("exec", "files", "cat", "/tmp/sub/a") == "A"
        shell.run("cp", "files:/srv", str(here / "back"))
        assert (here / "back/sub/a").read_text() == "A"
        shell.run("cp", "files:/tmp/one", str(here / "three"))
        assert (here / "three").read_text() == "1"
        shell.run("cp", "files:/tmp/one", str(here / "back"))
        assert (here / "back/one").read_text() == "1"
        packed = shell.call("cp", "files:/srv/sub", "-").stdout
        assert "sub/a" in tarfile.open(fileobj=io.BytesIO(packed)).getnames()
        shell.run("cp", "-", "files:/opt", text=packed) if shell.call("exec", "files", "mkdir", "/opt") else None
        assert shell.run("exec", "files", "cat", "/opt/sub/a") == "A"
        shell.refused("no", "cp", "files:/no/such", str(here))
        shell.refused("no directory", "cp", str(here / "one"), "files:/no/such/")
        shell.refused("is a directory", "cp", str(here / "site"), "files:/tmp/one")
        changes = shell.run("diff", "files").split("\n")
        assert "A /srv" in changes and "A /srv/sub/a" in changes, changes
        names = tarfile.open(fileobj=io.BytesIO(shell.call("export", "files").stdout)).getnames()
        assert any(name.lstrip("./") == "srv/sub/a" for name in names)
        image = shell.run("commit", "-m", "note", "-a", "me", "-c", "ENV X=1", "files", "localhost/committed:1").strip()
        assert shell.run("run", "--rm", *HOST, "localhost/committed:1", "sh", "-c", "cat /srv/sub/a; echo $X") == "A1\n"
        assert json.loads(shell.run("inspect", image))[0]["Id"] == image
        shell.run("rmi", "localhost/committed:1")
    finally:
        shell.clear()


def volumes(shell: Shell) -> None:
    need(shell, "volume", "ls")
    assert shell.run("volume", "create", "--label", "a=b", "data") == "data\n"
    shell.run("run", "--rm", *HOST, "-v", "data:/d", BUSYBOX, "sh", "-c", "echo kept > /d/f")
    assert shell.run("run", "--rm", *HOST, "-v", "data:/d:ro", BUSYBOX, "cat", "/d/f") == "kept\n"
    assert "data" in shell.run("volume", "ls") and shell.run("volume", "ls", "-q", "-f", "label=a=b") == "data\n"
    assert json.loads(shell.run("volume", "inspect", "data"))[0]["Labels"] == {"a": "b"}
    shell.run("create", *HOST, "--name", "uses", "-v", "data:/d", "-v", "/anonymous", "--tmpfs", "/t:size=1m", BUSYBOX)
    shell.refused("use", "volume", "rm", "data")
    assert len(shell.run("volume", "ls", "-q").split()) == 3
    shell.run("rm", "-v", "uses")
    assert shell.run("volume", "ls", "-q") == "data\n"
    assert "1.0" in shell.run("run", "--rm", *HOST, "--tmpfs", "/t:size=1m", BUSYBOX, "df", "-h", "/t")
    assert shell.run("volume", "prune", "-f") == ""
    assert shell.run("volume", "prune", "-f", "-a") == "data\n"
    shell.refused("data", "volume", "rm", "data")
    shell.refused("name", "volume", "create", "a/b")


def networks(shell: Shell) -> None:
    need(shell, "network", "ls")
    subnet = f"10.{89 + os.getpid() % 100}.{os.getpid() % 250}.0/24"
    made = shell.run("network", "create", "--subnet", subnet, "--label", "a=b", "back").strip()
    try:
        assert "back" in shell.run("network", "ls") and shell.run("network", "ls", "-q", "-f", "name=back").strip() == made
        assert json.loads(shell.run("network", "inspect", "back"))[0]["IPAM"]["Config"][0]["Subnet"] == subnet
        shell.run("run", "-d", "--name", "db", "--network", "back", BUSYBOX, "sleep", "1000")
        shown = json.loads(shell.run("inspect", "db"))[0]["NetworkSettings"]["Networks"]["back"]
        assert shown["IPAddress"].rsplit(".", 1)[0] == subnet.rsplit(".", 1)[0], shown
        assert shell.run("ps", "-q", "--filter", "network=back").strip()
        shell.run("run", "-d", "--name", "web", BUSYBOX, "sleep", "1000")
        shell.run("network", "connect", "--alias", "w", "back", "web")
        assert "back" in json.loads(shell.run("inspect", "web"))[0]["NetworkSettings"]["Networks"]
        shell.run("network", "disconnect", "back", "web")
        shell.refused("back", "network", "rm", "back")
        shell.refused("back", "network", "create", "back")
        shell.refused("subnet", "network", "create", "--subnet", "10.0.0.0/99", "bad")
        shell.refused("no-such", "run", "--network", "no-such", BUSYBOX, "true", code=125)
    finally:
        shell.clear()
        shell.run("network", "rm", "back")
    shell.refused("back", "network", "inspect", "back")


def builds(shell: Shell) -> None:
    if not shutil.which("buildah"):
        raise Skip("buildah is not here")
    context = shell.stage.work / "build"
    context.mkdir()
    os.environ["TMPDIR"] = str(shell.stage.work)  # where buildah's store is, and stays mounted
    (context / "data").write_text("from the context\n")
    (context / "Dockerfile").write_text(f"ARG BASE={BUSYBOX}\nFROM $BASE AS one\nARG X=1\nCOPY data /data\nRUN echo $X > /x\n"
                                        "LABEL made=yes\nCMD [\"cat\", \"/data\", \"/x\"]\n")
    image = shell.run("build", "-q", "-t", "localhost/built:1", "-t", "localhost/built:2", "--build-arg", "X=2",
                      "--iidfile", str(context / "iid"), str(context), timeout_s=300).strip()
    assert image.startswith("sha256:") and (context / "iid").read_text() == image
    assert shell.run("run", "--rm", *HOST, "localhost/built:2") == "from the context\n2\n"
    # What was built is there for the next build, without a registry.
    (context / "Dockerfile").write_text("FROM localhost/built:1\nRUN cat /data > /again\n")
    next_one = shell.run("build", "-t", "localhost/next", str(context), timeout_s=300).strip()
    assert shell.run("run", "--rm", *HOST, next_one, "cat", "/again") == "from the context\n"
    (context / "Dockerfile").write_text("FROM localhost/built:1\nRUN exit 3\n")
    shell.refused("build", "build", str(context), timeout_s=300)
    shell.refused("no-such", "build", str(context / "no-such"))
    shell.refused("neither", "build", str(shell.stage.work))
    shell.run("rmi", "localhost/next", "localhost/built:1", "localhost/built:2")
    del os.environ["TMPDIR"]


def helps(shell: Shell) -> None:
    top = shell.run("--help")
    for verb in ("run", "ps", "logs", "exec", "stop", "rm", "images", "pull", "rmi", "inspect", "stats", "top", "cp",
                 "commit", "build", "volume", "network"):
        assert f"\n  {verb} " in top, f"{verb} is not in --help"
        text = shell.run(verb, "--help")
        assert "davit " in text
    assert top.index("\n  run ") < top.index("\n  ctr "), "the everyday verbs stand at the top"


CASES = [helps, run_prints_and_passes_on_the_exit_code, run_takes_its_flags, wrong_input, life, start_attached, ps_lists,
         inspect_finds_all_kinds, logs, exec_runs, attach_and_leave, interrupted, wait_and_events, stats_and_prune, ports,
         kubelets_can_be_seen, pods, images_and_tags, copies, volumes, networks, builds]


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--focus", default="", help="only the cases with this in their names")
    args = parser.parse_args()
    report = Report("cli")
    with reported(report), stage_of("cli", args) as stage:
        stage.engine.start()
        shell = Shell(stage)
        for case in CASES:
            if args.focus in case.__name__:
                report.run(case.__name__.replace("_", " "), lambda case=case: case(shell))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
