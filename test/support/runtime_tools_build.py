"""The OCI project's validation programs, built from the Go module github.com/opencontainers/runtime-tools and cached.

The module is from before Go's modules: which versions of its dependencies it means stands in its Godeps file. Those
whose interface has changed since are pinned to the ones that it was written for.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

from oci_image import cache_dir

MODULE = "github.com/opencontainers/runtime-tools"
VERSION = "v0.9.0"
PINNED = {
    "github.com/opencontainers/runtime-spec": "v1.0.2",
    "github.com/opencontainers/selinux": "v1.2.2",
    "github.com/satori/go.uuid": "v1.1.0",
    "github.com/blang/semver": "v3.5.1+incompatible",
}
CACHE = cache_dir() / "runtime-tools" / VERSION


class BuildError(RuntimeError):
    """A program could not be built; the text says why."""


def _go(*words: str) -> str:
    env = {**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    done = subprocess.run(["go", *words], capture_output=True, text=True, errors="replace", cwd=CACHE / "module",
                          env=env)
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()[-600:]
        raise BuildError(f"go {' '.join(words[:2])}: exit {done.returncode}: {said}")
    return done.stdout


def build() -> Path:
    """The folder with `runtimetest`, the root file systems and validation/NAME; built when it is not there."""
    if (CACHE / "complete").exists():
        return CACHE
    if not shutil.which("go"):
        raise BuildError("no Go toolchain: the validation suite is built from its Go module")
    (CACHE / "module").mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (CACHE / "complete").exists():
            return CACHE
        lines = ["module davit.test/runtimetools", "go 1.20", f"require {MODULE} {VERSION}"]
        lines += [f"require {module} {version}" for module, version in PINNED.items()]
        (CACHE / "module" / "go.mod").write_text("\n".join(lines) + "\n")
        sources = Path(json.loads(_go("mod", "download", "-json", f"{MODULE}@{VERSION}"))["Dir"])
        flags = ("-trimpath", "-ldflags", "-s -w")
        _go("build", *flags, "-o", str(CACHE / "runtimetest"), f"{MODULE}/cmd/runtimetest")
        programs = sorted(entry.name for entry in (sources / "validation").iterdir()
                          if entry.is_dir() and entry.name != "util")
        (CACHE / "validation").mkdir(exist_ok=True)
        _go("build", *flags, "-o", f"{CACHE}/validation/", *(f"{MODULE}/validation/{name}" for name in programs))
        for archive in sources.glob("rootfs-*.tar.gz"):
            shutil.copyfile(archive, CACHE / archive.name)
        (CACHE / "complete").touch()
    return CACHE
