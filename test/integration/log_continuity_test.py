#!/usr/bin/env python3
"""A container writes 200 MB of numbered lines while davitd is killed ten times; every line must arrive.

No line may be missing, doubled or torn, and the container's exit code must be known afterwards.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

LINE = re.compile(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP]) (.*)$")
PAD = "x" * 91
# With eight digits, a space and the line feed this makes lines of 101 bytes.
BURST = 20_000


def writer(lines: int) -> str:
    """Bursts with pauses, so that the writing outlasts ten restarts."""
    bursts = lines // BURST
    return (f"i=0; while [ $i -lt {bursts} ]; do "
            f"awk -v b=$i 'BEGIN{{for(j=0;j<{BURST};j++) printf(\"%08d {PAD}\\n\", b*{BURST}+j)}}'; "
            f"i=$((i+1)); usleep 100000; done; exit 7")


def read_lines(path: Path):
    """The container's own lines, with partial records joined."""
    part = b""
    with open(path, "rb") as log:
        for number, raw in enumerate(log, 1):
            found = LINE.match(raw.rstrip(b"\n"))
            assert found and raw.endswith(b"\n"), f"{path.name}:{number}: not a log record: {raw[:120]!r}"
            part += found.group(3)
            if found.group(2) == b"F":
                yield part
                part = b""
    assert not part, f"{path.name}: ends within a partial record"


def check(path: Path, lines: int) -> None:
    expected = 0
    for line in read_lines(path):
        assert line == b"%08d " % expected + PAD.encode(), f"expected line {expected}, found {line[:40]!r}"
        expected += 1
    assert expected == lines, f"{lines} lines written, {expected} in the log"


def run(stage: Stage, lines: int, kills: int, report: Report) -> None:
    stage.engine.start()
    client = stage.any_client()
    client.pull(BUSYBOX)
    pod = pod_config("log", log_directory=str(stage.logs("log")))
    pod_id = client.run_pod(pod)
    container = client.create(pod_id, container_config("writer", BUSYBOX, "sh", "-c", writer(lines),
                                                       log_path="writer.log"), pod)
    client.start(container)
    path = stage.logs("log") / "writer.log"
    alive = 0
    for _ in range(kills):
        time.sleep(0.5)
        stage.engine.kill()
        time.sleep(0.3)  # a while without any daemon
        stage.engine.start()
        if client.container_status(container)["state"] == "CONTAINER_RUNNING":
            alive += 1
    report.run("the writer outlives the restarts",
               lambda: _true(alive >= kills // 2, f"it ran at only {alive} of {kills} restarts: too short a test"))
    wait_for("the writer ends", lambda: client.container_status(container)["state"] == "CONTAINER_EXITED", 300, 0.5)
    report.run(f"all {lines} lines arrived once and whole", lambda: check(path, lines))
    code = client.container_status(container).get("exitCode", 0)
    report.run("the exit code is known", lambda: _true(code == 7, f"exit code {code}, expected 7"))
    client.remove_everything()


def _true(condition: bool, text: str) -> None:
    assert condition, text


def main() -> int:
    parser = options(__doc__, engines=True)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    args = parser.parse_args()
    report = Report("log continuity")
    lines = args.megabytes * 1_000_000 // 100 // BURST * BURST
    with reported(report), stage_of("log", args) as stage:
        run(stage, lines, args.kills, report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
