"""Kubernetes' programs and those of its test suites, built from the Go module k8s.io/kubernetes and cached.

Everything comes of one module graph: that of the pinned version. The cache is shared by tools/cluster and the
suites; a build takes minutes, so whoever comes second waits for the first.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from oci_image import cache_dir

VERSION = "v1.36.3"
STAGING = "v0.36.3"  # of the k8s.io modules that Kubernetes is made of
CACHE = cache_dir() / "kubernetes" / VERSION
CLUSTER = ("kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
# Those that are not a program of its own cmd/: the words of `go` that build them.
OTHERS = {
    "e2e_node.test": ("test", "-c", "k8s.io/kubernetes/test/e2e_node"),
    "ginkgo": ("build", "github.com/onsi/ginkgo/v2/ginkgo"),
    "agnhost": ("build", "k8s.io/kubernetes/test/images/agnhost"),
    "etcd": ("build", "go.etcd.io/etcd/server/v3"),
}


# What go says when a module could not be fetched, as against one that does not compile.
UNREACHABLE = re.compile(r"dial tcp|connection re|i/o timeout|TLS handshake|unexpected EOF|no such host|: [45]\d\d [A-Z]"
                         r"|reading https?://|Client.Timeout|stream error")
PAUSES_S = (5, 20, 60)  # before each further try of a fetch that failed


class BuildError(RuntimeError):
    """A program could not be built; the text says which and why."""


class FetchError(BuildError):
    """A module could not be fetched, often enough: the network's fault, not the sources'."""


def _go(*words: str) -> str:
    env = {**os.environ, "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    for pause in (*PAUSES_S, None):
        done = subprocess.run(["go", *words], capture_output=True, text=True, errors="replace", cwd=CACHE / "module",
                              env=env)
        if done.returncode == 0:
            return done.stdout
        said = done.stderr + done.stdout
        text = f"go {' '.join(words[:2])}: exit {done.returncode}: {said.strip()[-600:]}"
        if not UNREACHABLE.search(said):
            raise BuildError(text)
        if pause is not None:
            time.sleep(pause)
    raise FetchError(text)


def module_dir() -> Path:
    """The sources of k8s.io/kubernetes in the module cache (read-only)."""
    (CACHE / "module").mkdir(parents=True, exist_ok=True)
    return Path(json.loads(_go("mod", "download", "-json", f"k8s.io/kubernetes@{VERSION}"))["Dir"])


def _write_module() -> None:
    its_own = (module_dir() / "go.mod").read_text().splitlines()
    lines = ["module davit.test/kubernetes", next(line for line in its_own if line.startswith("go ")),
             f"require k8s.io/kubernetes {VERSION}"]
    # Its go.mod leads them to folders beside it; as modules they have versions of their own.
    lines += [f"replace {line.split()[0]} => {line.split()[0]} {STAGING}" for line in its_own if "=> ./staging/" in line]
    (CACHE / "module" / "go.mod").write_text("\n".join(lines) + "\n")


def build(*names: str, log=print) -> None:
    """Builds those of `names` that are not in the cache."""
    missing = [name for name in names if not (CACHE / name).exists()]
    if not missing:
        return
    if not shutil.which("go"):
        raise BuildError("no Go toolchain: Kubernetes is built from its Go module")
    (CACHE / "module").mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [name for name in missing if not (CACHE / name).exists()]
        log(f"build {', '.join(missing)} {VERSION} (minutes)")
        _write_module()
        package = "k8s.io/component-base/version"
        flags = f"-s -w -X {package}.gitVersion={VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=36"
        for name in missing:
            log(f"  {name}")
            target = CACHE / f".{name}"
            *verb, source = OTHERS.get(name, ("build", f"k8s.io/kubernetes/cmd/{name}"))
            _go(*verb, "-trimpath", "-ldflags", flags, "-o", str(target), source)
            target.rename(CACHE / name)
