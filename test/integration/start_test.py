#!/usr/bin/env python3
"""What davitd refuses when it starts, with words of what to do, and not at the first container."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402


def refused(stage: Stage, root: Path, state: Path) -> str:
    """What a davitd with this root and state says when it ends by itself."""
    done = subprocess.run([str(stage.engine.bin_dir / "davitd"), "--config", str(stage.engine.config), "--root",
                           str(root), "--state", str(state), "--listen", str(stage.work / "other.sock")],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, (done.returncode, done.stderr)
    return done.stderr


@contextmanager
def mounted(target: Path, kind: str, choices: str):
    target.mkdir()
    subprocess.run(["mount", "-t", kind, "-o", choices, kind, str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


def overlay_root(stage: Stage) -> None:
    with mounted(stage.work / "plain", "tmpfs", "size=8m") as plain:
        for name in ("lower", "upper", "work"):
            (plain / name).mkdir()
        layers = f"lowerdir={plain}/lower,upperdir={plain}/upper,workdir={plain}/work"
        with mounted(stage.work / "merged", "overlay", layers) as merged:
            said = refused(stage, merged / "root", stage.work / "overlay-state")
            assert f"{merged}/root, which is on a file system of type overlay" in said, said
            assert "choose a directory on a local file system" in said, said
            # The database and its copies, which tell the next start that there was one.
            left = [name for name in os.listdir(merged / "root") if not name.startswith(("davit.db", "records"))]
            assert not left, left


def read_only_root(stage: Stage) -> None:
    with mounted(stage.work / "read-only", "tmpfs", "ro") as root:
        said = refused(stage, root, stage.work / "read-only-state")
        assert f"{root} is read-only: mount it read-write" in said, said


def state_in_use(stage: Stage) -> None:
    """Another's containers, of which this root knows nothing, are not there to be ended."""
    client = stage.client()
    client.pull(BUSYBOX)
    pod = pod_config("first", log_directory=str(stage.logs("first")))
    box = client.create(client.run_pod(pod), container_config("main", BUSYBOX, "sleep", "100000"), pod)
    client.start(box)
    pid = client.container_pid(box)
    said = refused(stage, stage.work / "another-root", stage.engine.state)
    assert f"the state directory {stage.engine.state} is in use by another davitd" in said, said
    assert client.exec_sync(box, "echo", "alive").strip() == "alive" and client.container_pid(box) == pid
    client.remove_everything()


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("start")
    with reported(report), stage_of("start", args) as stage:
        stage.engine.start()  # writes the configuration
        report.run("a root that cannot hold writable layers", lambda: overlay_root(stage))
        report.run("a root that is read-only", lambda: read_only_root(stage))
        report.run("a state directory that another davitd uses", lambda: state_in_use(stage))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
