#!/usr/bin/env python3
"""The OCI project's runtime validation suite for davit-oci, and for runc and crun beside it.

Builds the suite from the Go module github.com/opencontainers/runtime-tools (a minute the first time, then cached) and
runs each of its programs with each runtime. A program prints lines of TAP. The suite is older than today's kernels and
runtimes, and some of its cases nobody can pass, so the table of the three is the result: a case that davit-oci fails
and one of the others passes is a failure, unless EXPECTED says why it has to be so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.report import Report  # noqa: E402

from runtime_tools_build import VERSION, BuildError, build  # noqa: E402

# Program -> why davit-oci fails what another runtime passes.
EXPECTED = {
    "linux_ns_itype": "a container without a mount namespace is refused: its mounts would be the node's",
    "linux_mount_label": "no SELinux in this kernel: the label is refused and not left out",
    "mounts": "mounts are made detached before any is attached, so that their ids are in another order",
    "process_capabilities": "the node lacks capabilities that the suite wants",
}
TIMEOUT_S = 60


@dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: str = ""  # why it did not come to its end

    @property
    def good(self) -> bool:
        return not self.failed and not self.broken

    def __str__(self) -> str:
        if self.broken:
            return f"{self.passed} ok, {self.broken}"
        return f"{self.passed} ok" + (f", {self.failed} not" if self.failed else "") + \
            (f", {self.skipped} skipped" if self.skipped else "")


def remove_left(runtime: str, scratch: Path) -> None:
    """The containers that a program of the suite leaves behind, which some do."""
    listed = subprocess.run([runtime, "list", "--format", "json"], capture_output=True, text=True)
    for container in json.loads(listed.stdout or "null") or []:
        if container["bundle"].startswith(str(scratch)):
            subprocess.run([runtime, "delete", "--force", container["id"]], capture_output=True, timeout=TIMEOUT_S)


def run(program: Path, runtime: str, suite: Path, scratch: Path) -> Outcome:
    env = {**os.environ, "RUNTIME": runtime, "TMPDIR": str(scratch)}
    out = Outcome()
    # In a mount namespace of its own: one of the cases has a container without any, and runc and crun mount for it
    # where they are.
    child = subprocess.Popen(["unshare", "--mount", str(program)], cwd=suite, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)
    try:
        text, words = child.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, 9)
        text, words = child.communicate()
        out.broken = f"no end within {TIMEOUT_S} s"
    remove_left(runtime, scratch)
    for line in text.splitlines():
        if re.match(r"ok\b.*#\s*skip", line, re.IGNORECASE):
            out.skipped += 1
        elif line.startswith("ok"):
            out.passed += 1
        elif line.startswith("not ok"):
            out.failed += 1
    if child.returncode != 0 and not out.broken:
        out.broken = (words.strip().splitlines() or [f"exit {child.returncode}"])[-1][:60]
    return out


def runtimes(bin_dir: str) -> dict[str, str]:
    found = {"davit-oci": str(paths.find_bin_dir(bin_dir) / "davit-oci")}
    for name in ("runc", "crun"):
        program = shutil.which(name)
        if program:
            found[name] = program
    return found


def validate(args: argparse.Namespace, report: Report) -> None:
    suite = build()
    programs = sorted(program for program in (suite / "validation").iterdir()
                      if not args.focus or re.search(args.focus, program.name))
    names = runtimes(args.bin_dir)
    print(f"{'runtime-tools ' + VERSION:34}" + "".join(f"{name:32}" for name in names))
    with tempfile.TemporaryDirectory(prefix="davit-validation-") as scratch:
        for program in programs:
            outcomes = {name: run(program, runtime, suite, Path(scratch)) for name, runtime in names.items()}
            print(f"{program.name:34}" + "".join(f"{str(outcome)[:30]:32}" for outcome in outcomes.values()), flush=True)
            own = outcomes["davit-oci"]
            least = min((outcome.failed for name, outcome in outcomes.items()
                         if name != "davit-oci" and not outcome.broken), default=None)
            if own.good or least is None or (not own.broken and own.failed <= least):
                report.add_pass(program.name)
            elif program.name in EXPECTED:
                report.add_skip(program.name, EXPECTED[program.name])
            else:
                report.add_failure(program.name, f"davit-oci: {own}; of the others the best: {least} not")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of davit-oci (default: newest build/*/bin)")
    parser.add_argument("--focus", default="", help="regular expression on the names of the programs")
    args = parser.parse_args()
    report = Report("runtime_validation")
    try:
        paths.need_root()
        validate(args, report)
    except (paths.Skip, BuildError) as reason:
        report.add_skip("the whole suite", str(reason))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
