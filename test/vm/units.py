#!/usr/bin/env python3
"""The unit tests that need root, from the build: what they ask of the kernel is asked of pure cgroup v2 here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test.report import Report  # noqa: E402

PROGRAMS = Path("/input/unit")


def main() -> int:
    report = Report("units")
    for program in sorted(PROGRAMS.glob("*_test")):
        done = subprocess.run([str(program), "--gtest_filter=Root*", "--gtest_color=no"], capture_output=True, text=True,
                              errors="replace", timeout=600)
        report.passed += len(re.findall(r"^\[       OK \]", done.stdout, re.MULTILINE))
        for name in sorted(set(re.findall(r"^\[  SKIPPED \] (\w+[./][\w./]+)", done.stdout, re.MULTILINE))):
            report.add_skip(name, "see the log")
        failed = sorted(set(re.findall(r"^\[  FAILED  \] (\w+\.[\w/]+)", done.stdout, re.MULTILINE)))
        for name in failed:
            report.add_failure(name, program.name)
        if failed or done.returncode != 0:
            print(done.stdout[-6000:] + done.stderr[-2000:])
        if done.returncode != 0 and not failed:
            report.add_failure(program.name, f"exit {done.returncode}: {done.stderr[-300:]}")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
