#!/usr/bin/env python3
"""Reads and other pods go on while pods come and go and 20 starts hang in a stopped runtime process.

davit-bench does the work (its `busy` measure) and fails when a call fails; a read or a pod that waited for
a hanging start would wait until that is released, which happens only after the reads and the pods.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test import paths  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.stuck import stuck_handler  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

STUCK = 20


def busy(stage: Stage, bin_dir: Path) -> None:
    # A call that hangs for good ends with this limit; the engine's own is four minutes.
    done = subprocess.run([str(bin_dir / "davit-bench"), "--endpoint", stage.engine.endpoint, "--image", BUSYBOX,
                           "--only", "busy", "--busy-containers", "60", "--busy-seconds", "4", "--stuck-handler",
                           "stuck", "-o", "json"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-1000:]
    assert stage.engine.alive(), "davitd has ended"
    rows = {row["measure"]: row["engines"]["davit"]["samples"] for row in json.loads(done.stdout)}
    assert rows["starts that still hang at the end"] == [STUCK], "the starts did not hang as long as the reads"
    assert len(rows[f"run + create + start, {STUCK} starts hang"]) > 0, "no pod came up beside the hanging starts"
    assert len(rows[f"ListContainers, {STUCK} starts hang"]) > 0, "no list was answered beside the hanging starts"


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("busy")
    with reported(report), stage_of("busy", args) as stage:
        stage.engine.extra += stuck_handler(stage.work, args.handler)
        stage.engine.start()
        client = stage.client()
        client.pull(BUSYBOX)
        before = stage.engine.snapshot()
        report.run("reads and pods go on beside hanging starts", lambda: busy(stage, paths.find_bin_dir(args.bin_dir)))

        def clean() -> None:
            client.remove_everything()
            stage.engine.check_leaks(before)

        report.run("nothing is left behind", clean)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
