#!/usr/bin/env python3
"""The API's socket: whose it is, and that a want of descriptors does not end it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.engine import Davitd, answers, wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402


def descriptors(engine: Davitd) -> int:
    return len(os.listdir(f"/proc/{engine.pid}/fd"))


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(path))
    return client


def second(stage: Stage, *more: str) -> subprocess.CompletedProcess:
    """Another davitd, with a root and state of its own, on the same socket."""
    engine = stage.engine
    return subprocess.run([str(engine.bin_dir / "davitd"), "--config", str(engine.config), "--root",
                           str(stage.work / "root2"), "--state", str(stage.work / "state2"), "--listen",
                           str(engine.socket), *more], capture_output=True, text=True, timeout=60)


def taken(stage: Stage) -> None:
    before = os.stat(stage.engine.socket)
    done = second(stage)
    assert done.returncode != 0 and f"process {stage.engine.pid} answers" in done.stderr, done.stderr
    after = os.stat(stage.engine.socket)
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino) and answers(stage.engine.socket)


def no_socket(stage: Stage) -> None:
    path = stage.work / "file"
    path.write_text("mine")
    done = subprocess.run([str(stage.engine.bin_dir / "davitd"), "--config", str(stage.engine.config), "--root",
                           str(stage.work / "root3"), "--state", str(stage.work / "state3"), "--listen", str(path)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "no socket" in done.stderr and path.read_text() == "mine", done.stderr


def only_its_own(stage: Stage) -> None:
    """What was put in the socket's place meanwhile is not davitd's to remove."""
    engine = stage.engine
    engine.socket.unlink()
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(engine.socket))
    try:
        assert engine.stop() == 0
        assert engine.socket.exists(), "another's socket was removed"
    finally:
        other.close()
    engine.start()  # nobody listens at it: it is replaced
    assert engine.stop() == 0 and not engine.socket.exists(), "its own socket stays"


def out_of_descriptors(stage: Stage) -> None:
    engine = stage.engine
    plain = engine.command
    engine.command = lambda: ["prlimit", "--nofile=64:128", *plain()]  # type: ignore[method-assign]
    try:
        engine.start()
        idle = descriptors(engine)
        assert f"{128:<21}{128:<21}" in Path(f"/proc/{engine.pid}/limits").read_text(), "the soft limit is not raised"
        crowd = [connect(engine.socket) for _ in range(200)]
        wait_for("no descriptor is free", lambda: "no descriptor is free" in engine.log_tail(), 20)
        for client in crowd:
            client.close()
        wait_for("the crowd is gone", lambda: descriptors(engine) <= idle + 4, 20)
        stage.client().call("version")
        assert engine.stop() == 0
    finally:
        engine.command = plain  # type: ignore[method-assign]


def containers_keep_theirs(stage: Stage) -> None:
    """davitd's own soft limit is raised; a container's is what davitd was started with."""
    engine, client = stage.engine, None
    plain = engine.command
    engine.command = lambda: ["prlimit", "--nofile=1000:4000", *plain()]  # type: ignore[method-assign]
    try:
        engine.start()
        client = stage.client()
        client.pull(BUSYBOX)
        pod = pod_config("limits", log_directory=str(stage.logs("limits")))
        box = client.create(client.run_pod(pod), container_config("main", BUSYBOX, "sleep", "100000"), pod)
        client.start(box)
        assert client.exec_sync(box, "sh", "-c", "ulimit -Sn; ulimit -Hn").split() == ["1000", "4000"]
        limits = Path(f"/proc/{client.container_pid(box)}/limits").read_text()
        assert f"{1000:<21}{4000:<21}" in limits, limits
    finally:
        if client:
            client.remove_everything()
        engine.command = plain  # type: ignore[method-assign]
        engine.stop()


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("sockets")
    with reported(report), stage_of("sockets", args) as stage:
        report.run("a crowd that takes every descriptor is refused, and the next client served",
                   lambda: out_of_descriptors(stage))
        report.run("a container's limit of descriptors is not davitd's", lambda: containers_keep_theirs(stage))
        stage.engine.start()
        report.run("a socket that answers is not taken", lambda: taken(stage))
        report.run("a file in the socket's place is not taken", lambda: no_socket(stage))
        report.run("a socket is removed by who made it", lambda: only_its_own(stage))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
