"""Where things are: the tree, built binaries, cached tools, scratch directories."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SUPPORT = ROOT / "test" / "support"
if str(SUPPORT) not in sys.path:
    sys.path.insert(0, str(SUPPORT))

# Exit code by which a test program tells ctest that it skipped.
SKIP = 77


class Skip(Exception):
    """Raised by a test that cannot run here; the text is the reason."""


def cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "davit"


def find_tool(name: str) -> str | None:
    """A program built by tools/bootstrap, or from PATH."""
    cached = cache_dir() / "tools" / name
    return str(cached) if os.access(cached, os.X_OK) else shutil.which(name)


def need_tool(name: str) -> str:
    found = find_tool(name)
    if not found:
        raise Skip(f"{name} is not here (tools/bootstrap installs or builds it)")
    return found


def runtime_program(handler: str, bin_dir: Path) -> str | None:
    """The program of a handler: Davit's own runtime lies beside davitd."""
    return str(bin_dir / "davit-oci") if handler == "native" else shutil.which(handler)


def need_root() -> None:
    if os.geteuid() != 0:
        raise Skip("needs root")


def find_bin_dir(given: str = "") -> Path:
    """The directory of davitd: the one given, $DAVIT_BIN_DIR, or the newest of build/*/bin."""
    for place in (given, os.environ.get("DAVIT_BIN_DIR", "")):
        if place:
            return Path(place).resolve()
    built = [p.parent for p in (ROOT / "build").glob("*/bin/davitd")]
    if not built:
        raise Skip("davitd is not built (tools/build)")
    return max(built, key=lambda p: (p / "davitd").stat().st_mtime)


def scratch(prefix: str) -> Path:
    """A new directory, short enough for unix socket paths, outside every watched folder."""
    # DAVIT_TEST_DIR: another file system, e.g. a fresh one for the pull benchmark.
    # Its name may become a part of an image's, in which "_" may not be last.
    made = Path(os.environ.get("DAVIT_TEST_DIR", "/tmp"), f"davit-{prefix}-{secrets.token_hex(4)}")
    made.mkdir()
    # Containers in a user namespace have to pass through it to their root file system.
    made.chmod(0o755)
    return made
