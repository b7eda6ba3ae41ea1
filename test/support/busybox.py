#!/usr/bin/env python3
"""A static busybox with default options, built from Debian's source package and cached.

Debian's busybox-static does not serve as a container image for the conformance suite: its shell runs
applets without exec (so /proc/self in a container is the shell's), and pgrep and ipcs are missing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from oci_image import cache_dir


class FixtureError(RuntimeError):
    """A fixture could not be made; the text says which step and why."""


def run(command: list[str], **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise FixtureError(f"{' '.join(command[:3])}: exit {done.returncode}: {(done.stderr or done.stdout)[-1500:]}")
    return done.stdout


def source_lists(directory: Path) -> None:
    """Copies the machine's apt sources as source-package sources, leaving the machine's own alone."""
    directory.mkdir(parents=True)
    etc = Path("/etc/apt")
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".sources" and "debian" in text:
            (directory / path.name).write_text(re.sub(r"(?m)^Types:.*$", "Types: deb-src", text))
        elif path.suffix == ".list":
            lines = [re.sub(r"^deb(-src)?\s", "deb-src ", line) for line in text.splitlines()
                     if re.match(r"deb\s", line) and "debian" in line]
            (directory / path.name).write_text("\n".join(lines) + "\n")


def fetch_source(package: str, work: Path) -> Path:
    """Downloads and unpacks a Debian source package; returns its directory."""
    source_lists(work / "sources")
    (work / "lists/partial").mkdir(parents=True)
    options = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={work}/sources",
               "-o", f"Dir::State::lists={work}/lists", "-o", "APT::Sandbox::User=root",
               "-o", "Acquire::Retries=5"]
    run(["apt-get", *options, "update", "-q"])
    run(["apt-get", *options, "source", "-q", "--download-only", package], cwd=work)
    descriptions = list(work.glob("*.dsc"))
    if len(descriptions) != 1:
        raise FixtureError(f"apt-get source {package}: {len(descriptions)} .dsc files")
    run(["dpkg-source", "--no-check", "-x", str(descriptions[0]), str(work / "src")])
    return work / "src"


def busybox(log=print) -> Path:
    """The cached binary, built first when it is not there (about a minute)."""
    binary = cache_dir() / "busybox" / "busybox"
    if binary.exists():
        return binary
    log("images: building busybox from Debian's source package (once)")
    work = Path(tempfile.mkdtemp(prefix="davit-busybox-"))
    try:
        source = fetch_source("busybox", work)
        run(["make", "defconfig"], cwd=source)
        config = source / ".config"
        config.write_text(config.read_text().replace("# CONFIG_STATIC is not set", "CONFIG_STATIC=y"))
        run(["make", f"-j{os.cpu_count() or 1}", "busybox"], cwd=source)
        binary.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / "busybox", binary.with_suffix(".new"))
        binary.with_suffix(".new").rename(binary)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return binary


def static_program(name: str, code: str) -> Path:
    """Compiles a small C program statically, once."""
    binary = cache_dir() / "programs" / name
    source = binary.with_suffix(".c")
    if binary.exists() and source.exists() and source.read_text() == code:
        return binary
    binary.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(code)
    run(["gcc", "-Os", "-static", "-s", "-o", str(binary), str(source)])
    return binary


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        print(busybox(lambda text: print(text, file=sys.stderr)))
    except FixtureError as error:
        print(f"busybox: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
