"""How every suite begins and ends: its options, a stage that they choose, and what counts when that fails."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from . import paths
from .cri import CallError
from .engine import EngineError
from .report import Report
from .stage import Stage


def options(doc: str, *, engines: bool = False) -> argparse.ArgumentParser:
    """The options that all have; with `engines` the suite can judge the reference, too."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of the programs (default: newest build/*/bin)")
    if engines:
        parser.add_argument("--engine", choices=("davit", "containerd"), default="davit")
    parser.add_argument("--handler", choices=("crun", "runc", "native"), default="crun", help="the engine's default runtime")
    return parser


def stage_of(name: str, args: argparse.Namespace, **more: object) -> Stage:
    """The stage that `options` ask for."""
    return Stage(name, bin_dir=args.bin_dir, engine=getattr(args, "engine", "davit"), handler=args.handler, **more)


@contextmanager
def reported(report: Report) -> Iterator[None]:
    """What ends a suite outside of its cases: a reason to skip all of it, or an engine that does not work."""
    try:
        yield
    except paths.Skip as reason:
        report.add_skip("everything", str(reason))
    except (EngineError, CallError) as error:
        report.add_failure("stage", str(error))
