#!/usr/bin/env python3
"""davitd is killed, files of its store are taken away or damaged, and it is started again: a container that runs goes
on and stays known, no layer is lost, Status says what happened, and CRI takes everything away in the end.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.cri import Client, container_config, pod_config  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

DATABASE = ("davit.db", "davit.db-wal", "davit.db-shm")


def run_one(stage: Stage, client: Client, name: str = "lost") -> tuple[str, str]:
    pod = pod_config(name, log_directory=str(stage.logs(name)))
    pod_id = client.run_pod(pod)
    container = client.create(pod_id, container_config("main", BUSYBOX, "sleep", "100000", log_path="main.log"), pod)
    client.start(container)
    return pod_id, container


def move_database(root: Path) -> None:
    for name in DATABASE:
        (root / name).unlink(missing_ok=True)


def move_log(root: Path) -> None:
    (root / DATABASE[1]).unlink()


def truncate(root: Path) -> None:
    move_log(root)  # which has what was cut off
    with (root / DATABASE[0]).open("r+b") as file:
        file.truncate(1000)


def overwrite(root: Path) -> None:
    move_log(root)
    (root / DATABASE[0]).write_bytes(b"x" * 8192)


def move_copies(root: Path) -> None:
    shutil.rmtree(root / "records")


DAMAGES: dict[str, tuple[Callable[[Path], None], bool]] = {  # and whether there is a loss to say
    "database moved away": (move_database, True),
    "log moved away": (move_log, True),
    "database truncated": (truncate, True),
    "database overwritten": (overwrite, True),
    "copies moved away": (move_copies, False),
}


def damaged(stage: Stage, damage: Callable[[Path], None], said: bool) -> None:
    client = stage.client()
    pod_id, container = run_one(stage, client)
    pid = client.container_pid(container)
    layers = sorted(p.name for p in (stage.engine.root / "layers").iterdir())
    stage.engine.kill()
    damage(stage.engine.root)
    stage.engine.start()
    client = stage.client()
    assert client.container_pid(container) == pid, "the running container has another pid"
    assert client.exec_sync(container, "echo", "alive").strip() == "alive", "exec"
    assert layers == sorted(p.name for p in (stage.engine.root / "layers").iterdir()), "layers"
    states = {c["id"]: c["state"] for c in client.containers()}
    assert states == {container: "CONTAINER_RUNNING"}, f"containers: {states}"
    text = client.call("info")
    assert ("were taken from their copies" in text) == said, f"status: {text[-2000:]}"
    # The image is whole, too.
    second = client.create(pod_id, container_config("second", BUSYBOX, "true", log_path="second.log"),
                           pod_config("lost", log_directory=str(stage.logs("lost"))))
    client.start(second)
    client.stop_pod(pod_id)
    client.remove_pod(pod_id)


def row_lost(stage: Stage, *, unreadable: bool) -> None:
    """The record of one container is gone, and its copy too: its pod can be taken away with all that is in it."""
    client = stage.client()
    pod_id, container = run_one(stage, client)
    other_pod, other = run_one(stage, client, "other")
    pid = client.container_pid(container)
    other_pid = client.container_pid(other)
    stage.engine.kill()
    with contextlib.closing(sqlite3.connect(stage.engine.root / DATABASE[0])) as database, database:
        if unreadable:
            database.execute("UPDATE container SET body='?' WHERE id=?", (container,))
        else:
            database.execute("DELETE FROM container WHERE id=?", (container,))
    (stage.engine.state / "records" / "container" / container).unlink()
    stage.engine.start()
    client = stage.client()
    assert [c["id"] for c in client.containers()] == [other], "containers after the start"
    assert Path(f"/proc/{pid}").exists(), "the container that nobody knows was ended by the start"
    client.stop_pod(pod_id)
    client.remove_pod(pod_id)
    assert [p["id"] for p in client.pods()] == [other_pod], "pods"
    assert not Path(f"/proc/{pid}").exists(), "a process of the removed pod is left"
    assert not (stage.engine.state / "containers" / container).exists(), "the run directory is left"
    assert not (stage.engine.root / "containers" / container).exists(), "the writable layer is left"
    assert client.container_pid(other) == other_pid, "another pod's container"
    client.stop_pod(other_pod)
    client.remove_pod(other_pod)


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("lost store")
    with reported(report), stage_of("lost-store", args) as stage:
        stage.engine.start()
        stage.client().pull(BUSYBOX)
        before = stage.engine.snapshot()
        for name, (damage, said) in DAMAGES.items():
            report.run(name, lambda damage=damage, said=said: damaged(stage, damage, said))
            stage.client().remove_everything()
        report.run("row lost", lambda: row_lost(stage, unreadable=False))
        stage.client().remove_everything()
        report.run("row unreadable", lambda: row_lost(stage, unreadable=True))
        stage.client().remove_everything()

        report.run("nothing is left behind", lambda: stage.engine.check_leaks(before))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
