#!/usr/bin/env python3
"""Runs the CRI conformance suite (critest) against Davit, with no network.

Makes the images that the suite wants, serves them from a local registry which stands in for the
upstream hosts, starts the engine in directories of its own, runs the suite and looks for leftovers.
The last line is `N passed, N failed, N skipped`.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.engine import Containerd, Davitd, Engine, EngineError, remove_scratch  # noqa: E402
from davit_test.report import Report  # noqa: E402

import images  # noqa: E402
from busybox import FixtureError  # noqa: E402
from oci_image import Pusher  # noqa: E402
from registry import Registry, RegistryError  # noqa: E402

PINNED = re.compile(rb"test-image-digest@sha256:([0-9a-f]{64})")


@dataclass
class Outcome:
    passed: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def line(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def patched_critest(source: str, target: Path, digest: str) -> Path:
    """A copy of critest that asks for our image where it asks for one by upstream's digest."""
    program = Path(source).read_bytes()
    found = set(PINNED.findall(program))
    if len(found) != 1:
        raise FixtureError(f"{source}: {len(found)} pinned digests, expected 1 (not critest 1.36?)")
    [old] = found
    target.write_bytes(program.replace(old, digest.removeprefix("sha256:").encode()))
    target.chmod(0o755)
    return target


def read_report(path: Path) -> Outcome:
    """Counts a JUnit report; specs left out by --focus are not skips."""
    outcome = Outcome()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = re.sub(r"^\[It\] \[k8s.io\] ", "", case.get("name", ""))
        status = case.get("status", "")
        if status == "passed":
            if case.get("name", "").startswith("[It]"):
                outcome.passed += 1
        elif status in ("skipped", "pending"):
            note = case.find("skipped")
            reason = (note.get("message") or "") if note is not None else ""
            # A spec that a filter left out has no reason of its own.
            if reason not in ("", "skipped") and case.get("name", "").startswith("[It]"):
                outcome.skipped.append((name, reason.removeprefix("skipped - ")))
        else:
            note = case.find("failure") if case.find("failure") is not None else case.find("error")
            reason = (note.get("message") or note.text or "") if note is not None else status
            outcome.failed.append((name, " ".join(reason.split())[:400]))
    return outcome


def run_round(critest: Path, endpoint: str, log_dir: Path, number: int, seed: int, args) -> Outcome:
    report_dir = log_dir / f"round-{number}"
    report_dir.mkdir(parents=True, exist_ok=True)
    command = [str(critest), f"-runtime-endpoint={endpoint}", f"-image-endpoint={endpoint}",
               f"-ginkgo.seed={seed}", "-ginkgo.no-color", "-ginkgo.v",
               f"-ginkgo.junit-report={report_dir / 'junit.xml'}"]
    if args.runtime_handler:
        command.append(f"-runtime-handler={args.runtime_handler}")
    command += [f"-ginkgo.focus={text}" for text in args.focus] + [f"-ginkgo.skip={text}" for text in args.skip]
    if args.parallel > 1:
        command.append(f"-parallel={args.parallel}")
    if args.websocket:
        command += ["-websocket-exec", "-websocket-attach", "-websocket-portforward"]
    path = os.pathsep.join([str(paths.cache_dir() / "tools"), os.environ.get("PATH", "")])
    with open(report_dir / "critest.log", "wb") as log:
        # critest reads crictl.yaml from its working directory and does not remove all its temporary files.
        temporary = critest.parent / "tmp"
        temporary.mkdir(exist_ok=True)
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=report_dir,
                                 env={**os.environ, "PATH": path, "TMPDIR": str(temporary)})
        try:
            code = child.wait(args.timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return Outcome(failed=[("critest", f"not finished after {args.timeout} s")])
    report = report_dir / "junit.xml"
    if not report.exists():
        tail = (report_dir / "critest.log").read_text(errors="replace")[-1500:]
        return Outcome(failed=[("critest", f"exit {code} without a report: {tail}")])
    outcome = read_report(report)
    if code != 0 and not outcome.failed:
        outcome.failed.append(("critest", f"exit {code}"))
    return outcome


def shared_memory() -> set[str]:
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def tell(name: str, reason: str) -> None:
    print(f"critest: FAILED {name}: {reason}", flush=True)


def run_suite(endpoint: str, critest: Path, log_dir: Path, args) -> Outcome:
    total = Outcome()
    segments = shared_memory()
    for number in range(1, args.rounds + 1):
        seed = args.seed or random.randrange(1, 2**31)
        begin = time.monotonic()
        outcome = run_round(critest, endpoint, log_dir, number, seed, args)
        print(f"critest: round {number} of {args.rounds}, seed {seed}, {time.monotonic() - begin:.0f} s: "
              f"{outcome.line()}", flush=True)
        for name, reason in outcome.failed:
            tell(name, reason)
        total.add(outcome)
    # The suite makes System V segments on the host and leaves them.
    for segment in shared_memory() - segments:
        subprocess.run(["ipcrm", "-m", segment], capture_output=True)
    return total


def make_engine(args, work: Path, mirror: str) -> Engine:
    options = {"mirrors": {host: mirror for host in images.HOSTS}, "handler": args.handler}
    if args.engine == "containerd":
        return Containerd(work, **options)
    return Davitd(work, paths.find_bin_dir(args.bin_dir), **options)


def list_left(endpoint: str) -> list[str]:
    """Pods and containers that the suite or the engine left, seen through the engine."""
    crictl = paths.find_tool("crictl")
    left = []
    for kind, verb in (("pod", ["pods", "-q"]), ("container", ["ps", "-a", "-q"])) if crictl else ():
        done = subprocess.run([crictl, "-r", endpoint, "-i", endpoint, *verb], capture_output=True, text=True, timeout=60)
        left += [f"+ {kind} {word}" for word in done.stdout.split()]
    return left


def with_own_engine(args, work: Path, log_dir: Path) -> Outcome:
    with Registry(work / "registry") as registry:
        digest = images.push_all(Pusher(registry.url), lambda text: print(text, flush=True))
        critest = patched_critest(paths.need_tool("critest"), work / "critest", digest)
        subprocess.run([str(paths.SUPPORT / "cgroups")], check=False, stdout=subprocess.DEVNULL)
        engine = make_engine(args, work, registry.url)
        before = engine.snapshot()
        try:
            engine.start()
            outcome = run_suite(engine.endpoint, critest, log_dir, args)
            if not engine.alive():
                outcome.failed.append((engine.name, f"ended during the suite: {engine.log_tail(5)}"))
                tell(*outcome.failed[-1])
            left = list_left(engine.endpoint) if engine.alive() else []
            engine.end()
            left += engine.leaks(before)
            for line in left:
                print(f"critest: left behind: {line}", flush=True)
            if left:
                outcome.failed.append(("leftovers", f"{len(left)} things left behind, first: {left[0]}"))
        except EngineError as error:
            outcome = Outcome(failed=[("engine", str(error))])
            tell("engine", str(error))
        finally:
            engine.destroy()
            if engine.log.exists():
                shutil.copy2(engine.log, log_dir / engine.log.name)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of davitd (default: newest build/*/bin)")
    parser.add_argument("--engine", choices=("davit", "containerd"), default="davit")
    parser.add_argument("--endpoint", default="", help="use a running engine; its mirrors must be set up (see --registry)")
    parser.add_argument("--registry", default="", help="with --endpoint: push the images here, e.g. http://127.0.0.1:5000")
    parser.add_argument("--handler", choices=("crun", "runc", "native"), default="crun", help="the engine's default runtime")
    parser.add_argument("--runtime-handler", default="", help="handler that critest names in its requests")
    parser.add_argument("--focus", action="append", default=[], help="regular expression on spec names (repeatable)")
    parser.add_argument("--skip", action="append", default=[], help="the reverse of --focus (repeatable)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for one round (default: 1800)")
    parser.add_argument("--parallel", type=int, default=1, help="specs at a time (needs the ginkgo program)")
    parser.add_argument("--websocket", action="store_true", help="stream over WebSocket instead of SPDY")
    parser.add_argument("--seed", type=int, default=0, help="order of the specs (default: random, printed)")
    parser.add_argument("--log-dir", type=Path, help="keep logs and reports here")
    args = parser.parse_args()

    work = paths.scratch("critest")
    log_dir = (args.log_dir or work / "logs").resolve()
    log_dir.mkdir(parents=True, exist_ok=True)
    keep = False
    try:
        paths.need_root()
        if args.parallel > 1:
            paths.need_tool("ginkgo")
        if args.endpoint:
            endpoint = args.endpoint if "://" in args.endpoint else f"unix://{args.endpoint}"
            if not args.registry:
                parser.error("--endpoint needs --registry")
            digest = images.push_all(Pusher(args.registry))
            critest = patched_critest(paths.need_tool("critest"), work / "critest", digest)
            outcome = run_suite(endpoint, critest, log_dir, args)
        else:
            outcome = with_own_engine(args, work, log_dir)
        keep = bool(outcome.failed)
    except paths.Skip as reason:
        report = Report("critest")
        report.add_skip("the whole suite", str(reason))
        return report.finish()
    except (FixtureError, RegistryError, OSError) as error:
        report = Report("critest")
        report.add_failure("preparation", str(error))
        return report.finish()
    finally:
        if keep and not args.log_dir:
            saved = Path(f"/tmp/davit-critest-logs-{os.getpid()}")
            shutil.copytree(log_dir, saved)
            print(f"critest: logs kept in {saved}")
        remove_scratch(work)
    report = Report(f"critest {args.engine} {args.handler}")
    report.passed = outcome.passed
    for name, reason in outcome.skipped:
        report.add_skip(name, reason)
    report.failed = outcome.failed
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
