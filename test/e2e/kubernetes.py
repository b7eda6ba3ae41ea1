#!/usr/bin/env python3
"""A real Kubernetes node on Davit: what people do with pods, through the API server, each effect asserted.

Brings a cluster of its own up with tools/cluster (Kubernetes is built from its Go module the first time) and takes
it down again; skips where there is no Go toolchain. --keep leaves it, and uses one that was left.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
sys.path.insert(0, str(HERE.parent / "kubernetes"))
sys.path.insert(0, str(HERE.parent / "support"))
from davit_test import paths  # noqa: E402
from davit_test.report import Report  # noqa: E402
from kubernetes_build import CLUSTER, BuildError, FetchError, build  # noqa: E402

from kube import CASES, Kube  # noqa: E402
import limits  # noqa: E402,F401
import node  # noqa: E402,F401
import pressure  # noqa: E402,F401
import volumes  # noqa: E402,F401
import workloads  # noqa: E402,F401


def check_clean(kube: Kube) -> None:
    done = kube.tool("down")
    assert done.returncode == 0, done.stdout + done.stderr
    left = [p for p in (kube.dir, Path("/run/davit-cluster")) if p.exists()]
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(kube.dir) in line]
    left += [p for p in Path("/sys/fs/cgroup").glob("**/davit-cluster")]
    left += [p for p in Path("/sys/class/net").glob("dvc*")]
    assert not left, f"left behind: {left}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of davitd (default: build/release/bin)")
    parser.add_argument("--focus", default="", help="only cases whose name has this text")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    args = parser.parse_args()
    report = Report("kubernetes")
    if not shutil.which("go"):
        report.add_skip("everything", "no Go toolchain: Kubernetes is built from its Go module")
        return report.finish()
    try:
        paths.need_root()
    except paths.Skip as reason:
        report.add_skip("everything", str(reason))
        return report.finish()
    try:
        build(*CLUSTER, log=lambda text: print(text, flush=True))
    except FetchError as error:  # as where there is no Go: nothing is known of Davit by it
        report.add_skip("everything", f"a Go module of Kubernetes could not be fetched: {error}")
        return report.finish()
    except BuildError as error:
        report.add_failure("Kubernetes is built", str(error))
        return report.finish()
    kube = Kube(Path("/var/lib/davit-cluster-test"), args.bin_dir)
    up = kube.tool("up")
    print(up.stdout, flush=True)
    if up.returncode != 0:
        report.add_failure("tools/cluster up", up.stderr[-1500:])
        for log in sorted((kube.dir / "logs").glob("*.log")):  # `down` takes them away
            print(f"---- the end of {log.name}\n{log.read_text(errors='replace')[-3000:]}", flush=True)
        kube.tool("down")
        return report.finish()
    kube = Kube(kube.dir, args.bin_dir)  # finds the programs, which may just have been built
    for name, function in CASES:
        if args.focus not in name:
            continue
        report.run(name, lambda: function(kube))
        try:
            kube.clean()
        except AssertionError as error:
            report.add_failure(f"{name}: its end", str(error))
    if not args.keep:
        report.run("tools/cluster down leaves nothing", lambda: check_clean(kube))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
