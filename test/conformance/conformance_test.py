#!/usr/bin/env python3
"""Every call and field of the CRI by its effect in the container or on the host: what critest leaves out.

The cases are in test/conformance/cases, one file an area; test/conformance/README.md says how to add one.
They share an engine, except those that ask for settings of their own. At the end nothing may be left on
the node. The last line is `N passed, N failed, N skipped`.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]
from davit_test import paths  # noqa: E402
from davit_test.engine import Davitd, EngineError  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402


def load_cases():
    import bench
    for path in sorted((HERE / "cases").glob("*.py")):
        if path.name != "__init__.py":
            importlib.import_module(f"cases.{path.stem}")
    return bench.CASES


class Runner:
    def __init__(self, args: argparse.Namespace, report: Report, stage: Stage):
        self.args, self.report, self.stage = args, report, stage
        self._own = 0

    @contextmanager
    def bench(self, engine: Davitd):
        """An engine that runs, and the proof afterwards that it left nothing."""
        from bench import Bench
        name = engine.work.name
        before = engine.snapshot()
        engine.start()
        bench = Bench(engine, self.stage.pusher, engine.work, self.args.handler)
        try:
            bench.cri.PullImage(image={"image": BUSYBOX})
            yield bench
        finally:
            bench.close()
            code = engine.end()
            self.keep_log(engine)
        left = engine.leaks(before)
        if left or code != 0:
            self.report.add_failure(f"{name}: nothing is left behind", f"exit {code}, {len(left)} things left, "
                                    f"first: {left[:3]}")

    def keep_log(self, engine: Davitd) -> None:
        if self.args.log_dir and engine.log.exists():
            self.args.log_dir.mkdir(parents=True, exist_ok=True)
            shutil.copy2(engine.log, self.args.log_dir / f"{engine.work.name}.log")

    def run(self, bench, case) -> None:
        def checked() -> None:
            try:
                case.run(bench)
                assert bench.engine.alive(), f"the engine ended: {bench.engine.log_tail(5)}"
            finally:
                if bench.engine.alive():
                    bench.clean()

        if self.report.run(case.name, checked) or bench.engine.alive():
            return
        bench.engine.kill()
        bench.engine.start()
        bench.clean()

    def run_own(self, case) -> None:
        """A case with settings of its own gets an engine of its own."""
        self._own += 1
        work = self.stage.work / f"own{self._own}"
        work.mkdir()
        engine = Davitd(work, self.stage.engine.bin_dir, mirrors=self.stage.engine.mirrors, handler=self.args.handler,
                        extra=case.config.replace("@STATE@", str(work / "state")))
        try:
            with self.bench(engine) as bench:
                self.run(bench, case)
        except EngineError as error:
            self.report.add_failure(case.name, str(error)[-600:])
        finally:
            engine.destroy()

    def run_all(self, cases) -> None:
        wanted = []
        for case in cases:
            if case.handlers and self.args.handler not in case.handlers:
                self.report.add_skip(case.name, f"for {', '.join(case.handlers)} only: {case.why}")
            else:
                wanted.append(case)
        if any(not c.config for c in wanted):
            with self.bench(self.stage.engine) as bench:
                for case in wanted:
                    if not case.config:
                        self.run(bench, case)
        for case in wanted:
            if case.config:
                self.run_own(case)


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--focus", action="append", default=[], metavar="REGEX", help="only these cases (repeatable)")
    parser.add_argument("--skip", action="append", default=[], metavar="REGEX", help="the reverse (repeatable)")
    parser.add_argument("--log-dir", type=Path, help="keep the engines' logs here")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    args = parser.parse_args()
    report = Report(f"conformance {args.handler}")
    begin = time.monotonic()
    with reported(report):
        try:
            cases = load_cases()
        except ImportError as missing:
            if not re.search("grpc|google|protoc", str(missing)):
                raise
            raise paths.Skip(f"{missing} (tools/bootstrap installs it)") from None
        cases = [c for c in cases if (not args.focus or any(re.search(f, c.name) for f in args.focus))
                 and not any(re.search(s, c.name) for s in args.skip)]
        if args.list:
            print("\n".join(c.name for c in cases))
            return 0
        if not cases:
            parser.error("no case has such a name")
        with stage_of("conf", args) as stage:
            Runner(args, report, stage).run_all(cases)
    print(f"conformance: {time.monotonic() - begin:.0f} s", flush=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
