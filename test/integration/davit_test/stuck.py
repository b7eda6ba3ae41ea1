"""A runtime that hangs: to the engine its start is a process that no signal but SIGCONT helps."""

from __future__ import annotations

from pathlib import Path


def stuck_handler(work: Path, runtime: str) -> str:
    """Configuration of a handler "stuck" whose `start` stops itself; everything else is `runtime`'s."""
    program = work / "stuck-runtime"
    program.write_text('#!/bin/sh\n'
                       'for word in "$@"; do [ "$word" = start ] && kill -STOP $$ && break; done\n'
                       f'exec {runtime} "$@"\n')
    program.chmod(0o755)
    return f'[runtime.handlers.stuck]\npath = "{program}"\n'
