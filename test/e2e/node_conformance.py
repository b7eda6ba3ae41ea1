#!/usr/bin/env python3
"""Kubernetes' own node conformance specs (test/e2e_node) against davitd: a kubelet, an API server, real pods.

Builds the suite, a kubelet, ginkgo and the agnhost image from the Go module k8s.io/kubernetes (a quarter of an hour
the first time, then cached), serves the test images under their registry.k8s.io names from a registry on loopback,
and runs the specs labelled NodeConformance that are not Serial, Slow, Flaky or Disruptive. All of it happens in
namespaces of its own and ends with the run. Not part of tools/test: it takes an hour on two cores.

Results: a table on the terminal, DIRECTORY/results.json and results.md, and the logs of everything beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.engine import Davitd, EngineError  # noqa: E402
from davit_test.report import Report  # noqa: E402

import ginkgo_report  # noqa: E402
import images  # noqa: E402
import node_images  # noqa: E402
import own_node  # noqa: E402
from busybox import FixtureError  # noqa: E402
from kubelet_host import (cgroup_roots, enter_cgroups, make_cgroups, read_sysctls, remove_cgroups,  # noqa: E402
                          restore_sysctls)  # noqa: E402
from kubernetes_build import CACHE, VERSION, BuildError, build  # noqa: E402
from oci_image import Pusher, cache_dir  # noqa: E402
from registry import Registry, RegistryError  # noqa: E402

PROGRAMS = ("e2e_node.test", "kubelet", "ginkgo", "agnhost")
FILTER = "NodeConformance && !(Serial || Slow || Flaky || Disruptive)"
# The kubelet's statistics are those of the CRI: its cAdvisor has handlers for containerd and CRI-O alone.
GATES = "PodAndContainerStatsFromCRI=true"
NODE = "davit-node"
# The kubelet's cgroups are where its specs look for them: below no other, so one node at a time.
CGROUP = "kubepods"
# Specs that some machines have no means for: pattern, what it takes, a command that shows whether it is there.
NEEDS = (
    (r"PrivilegedPod .* should enable privileged commands", "dummy network device (CONFIG_DUMMY)",
     ("unshare", "--net", "ip", "link", "add", "dummy0", "type", "dummy")),
)
# Those of what is no pod, as the statistics of a node tell them apart: kubelet, runtime, system.
PLACES = "davit-node"
# The cgroup of a container: those above are the kubelet's, those elsewhere other people's.
CONTAINER = re.compile(rf"^\+ cgroup {CGROUP}(/\w+)?/pod[^/]+/.")
# Where cAdvisor looks for CRI-O; fixed in it.
CRIO_SOCKET = "/var/run/crio/crio.sock"
MARK = ".node-conformance"  # in a directory of results
BEGIN = time.monotonic()


def say(text: str) -> None:
    print(f"[{int(time.monotonic() - BEGIN):4d} s] {text}", flush=True)


# ---- Inside: the node and the suite ----

def kubelet_config(work: Path) -> Path:
    path = work / "kubelet.json"
    path.write_text(json.dumps({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/", "failCgroupV1": False, "failSwapOn": False, "oomScoreAdj": 0, "makeIPTablesUtilChains": False,
        "podCIDR": "10.100.0.0/24", "volumeStatsAggPeriod": "10s", "fileCheckFrequency": "10s",
        "serializeImagePulls": False, "volumePluginDir": str(work / "volume-plugins"),
        # A machine that is shared with others: only a really full one evicts.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }, indent=1))
    return path


def suite_command(args, work: Path, endpoint: str) -> list[str]:
    # The suite works in the directory of its program.
    place = work / "suite"
    place.mkdir()
    (place / "e2e_node.test").symlink_to(CACHE / "e2e_node.test")
    ginkgo = [str(CACHE / "ginkgo"), f"--procs={args.procs}", f"--label-filter={args.label_filter}", "--no-color",
              "--json-report=ginkgo.json", f"--output-dir={args.results}", f"--timeout={args.timeout}s",
              "--silence-skips", *(f"--focus={text}" for text in args.focus), *(f"--skip={text}" for text in args.skip)]
    # A flag after the suite's own wins. What the kubelet sees of the root cgroup, and moves to the system's, are the
    # processes of this namespace.
    kubelet = f"--node-ip={own_node.ADDRESS} " + " ".join(f"--{place}-cgroups=/{PLACES}/{place}" for place in
                                                         ("kubelet", "runtime", "system"))
    return [*ginkgo, str(place / "e2e_node.test"), "--", f"--container-runtime-endpoint={endpoint}",
            f"--k8s-bin-dir={CACHE}", f"--kubelet-config-file={kubelet_config(work)}", f"--kubelet-flags={kubelet}",
            f"--node-name={NODE}", "--prepull-images=false", f"--report-dir={args.results}",
            *([f"--feature-gates={args.feature_gates}"] if args.feature_gates else [])]


def left_in(engine: Davitd) -> list[str]:
    """Pods that the kubelet left; takes them away."""
    davit = [str(engine.bin_dir / "davit"), "--connect", str(engine.socket)]
    done = subprocess.run([*davit, "pod", "list", "-o", "json"], capture_output=True, text=True, timeout=60)
    pods = json.loads(done.stdout or "[]")
    pods = pods if isinstance(pods, list) else pods.get("items", [])
    if pods:
        subprocess.run([*davit, "pod", "remove", "-f", *(pod["id"] for pod in pods)], capture_output=True, timeout=300)
    return [f"pod {pod.get('name', pod['id'])}" for pod in pods]


def pod_links() -> list[str]:
    """Pods' ends on the node that are still there; the bridges go with the namespace."""
    done = subprocess.run(["ip", "-j", "link", "show", "type", "veth"], capture_output=True, text=True, check=True)
    return [f"+ link {link['ifname']}" for link in json.loads(done.stdout or "[]")]


def inside(args) -> int:
    work = args.inside
    shown, args.results = args.results, work / "results"
    own_node.furnish(work, NODE, {shown: args.results})
    notes: dict[str, object] = {}
    with Registry(work / "registry") as registry:
        pusher = Pusher(registry.url)
        for named in node_images.catalogue(say):
            pusher.push(named.image, named.repository, *named.tags)
        engine = Davitd(work / "engine", paths.find_bin_dir(args.bin_dir), handler=args.handler, log_level=args.log_level,
                        mirrors={host: registry.url for host in images.HOSTS},
                        # A handler by the name that a spec asks for.
                        extra=f'[runtime.handlers.test-handler]\npath = "{shutil.which(args.handler)}"\n'
                              + (f'[api]\ncrio_socket = "{CRIO_SOCKET}"\n' if args.crio_socket else ""))
        engine.log = args.results / "davitd.log"
        for place in ("kubelet", "runtime", "system"):
            make_cgroups(f"{PLACES}/{place}")
        before = engine.snapshot()
        engine.start()
        enter_cgroups(f"{PLACES}/runtime", engine.pid)
        say(f"specs: {args.label_filter}, {args.procs} at a time (log: {shown}/suite.log)")
        with open(args.results / "suite.log", "wb") as log:
            notes["exit"] = subprocess.run(suite_command(args, work, engine.endpoint), stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL, cwd=work).returncode
        notes["davitd"] = "runs" if engine.alive() else f"ended during the suite: {engine.log_tail(5)}"
        notes["pods"] = left_in(engine) if engine.alive() else []
        try:
            engine.stop()
            # /sys shows the links of the machine, not those of this namespace.
            notes["left"] = [line for line in engine.leaks(before) if not line.startswith("+ link")
                             and (not line.startswith("+ cgroup") or CONTAINER.search(line))] + pod_links()
        except EngineError as error:
            notes["left"] = [str(error)]
    (args.results / "notes.json").write_text(json.dumps(notes, indent=1))
    return 0


# ---- Outside: what is needed, what came of it ----

def empty(results: Path) -> None:
    """Makes the directory; removes what an earlier run left in it and nothing else."""
    results.mkdir(parents=True, exist_ok=True)
    if any(results.iterdir()) and not (results / MARK).exists():
        raise FixtureError(f"{results} is not empty and not the results of an earlier run")
    shutil.rmtree(results)
    results.mkdir()
    (results / MARK).touch()


def prepare(work: Path) -> None:
    build(*PROGRAMS, log=say)
    say("test images")
    node_images.catalogue(say)  # needs the network, which there is not inside
    for name in (CGROUP, PLACES):
        for found in (root / name for root in cgroup_roots() if (root / name).exists()):
            raise FixtureError(f"{found} exists: another kubelet runs here, or one was killed (then rmdir it)")
    subprocess.run([str(paths.SUPPORT / "cgroups")], check=False, stdout=subprocess.DEVNULL)
    (work / "engine").mkdir()


def run_node(args, work: Path) -> int:
    sysctls = read_sysctls()
    point = Path(own_node.KUBELET)  # something has to be there to mount on
    made = not point.exists()
    point.mkdir(exist_ok=True)
    node = own_node.OwnNode([sys.executable, __file__, *sys.argv[1:], "--inside", str(work),
                             "--results", str(args.results)])
    try:
        return node.wait(args.timeout + 900)
    except subprocess.TimeoutExpired:
        say("not finished in time")
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        node.end()
        restore_sysctls(sysctls)
        remove_cgroups(CGROUP)
        remove_cgroups(PLACES)
        if made and not any(point.iterdir()):
            point.rmdir()


def missing_here(name: str) -> str:
    """What this machine has not that the spec takes, or nothing."""
    for pattern, what, probe in NEEDS:
        if re.search(pattern, name) and subprocess.run(probe, capture_output=True).returncode != 0:
            return what
    return ""


def tell(args, code: int) -> int:
    report = Report("node_conformance")
    ginkgo, noted = args.results / "ginkgo.json", args.results / "notes.json"
    specs = ginkgo_report.read(ginkgo, missing_here) if ginkgo.exists() else []
    notes = json.loads(noted.read_text()) if noted.exists() else {}
    (args.results / "results.json").write_text(json.dumps({
        "kubernetes": VERSION, "date": time.strftime("%Y-%m-%d", time.gmtime()), "filter": args.label_filter,
        "gates": args.feature_gates, "crio_socket": args.crio_socket, "handler": args.handler, "procs": args.procs, "notes": notes,
        "specs": [asdict(spec) for spec in specs]}, indent=1))
    table = ginkgo_report.table(specs)
    (args.results / "results.md").write_text(table)
    print(table, flush=True)
    for spec in specs:
        if spec.state == "passed":
            report.passed += 1
            report.passed_names.append(spec.name)
        elif spec.state == "failed":
            report.failed.append((spec.name, spec.reason))
        else:
            report.skipped.append((spec.name, spec.reason))
    if not specs or code != 0 or not notes:
        tail = args.results / "suite.log"
        last = tail.read_text(errors="replace")[-1500:] if tail.exists() else ""
        report.add_failure("the run", f"exit {code}, {len(specs)} specs: {last}")
    if notes and notes["davitd"] != "runs":
        report.add_failure("davitd", str(notes["davitd"]))
    for line in notes.get("left", ()):
        report.add_failure("left behind", line)
    say(f"results: {args.results}/results.json")
    return report.finish()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of davitd (default: newest build/*/bin)")
    parser.add_argument("--handler", choices=("crun", "runc", "native"), default="crun", help="davitd's default runtime")
    parser.add_argument("--procs", type=int, default=8, help="specs at a time (default: 8)")
    parser.add_argument("--focus", action="append", default=[], help="regular expression on spec names (repeatable)")
    parser.add_argument("--skip", action="append", default=[], help="the reverse of --focus (repeatable)")
    parser.add_argument("--label-filter", default=FILTER, help=f"ginkgo's expression (default: {FILTER})")
    parser.add_argument("--feature-gates", default=GATES, help=f"of the kubelet and the suite (default: {GATES})")
    parser.add_argument("--crio-socket", action="store_true",
                        help="davitd answers for CRI-O to the kubelet's cAdvisor (api.crio_socket); with --feature-gates ''")
    parser.add_argument("--timeout", type=int, default=7200, help="seconds for the specs (default: 7200)")
    parser.add_argument("--log-level", default="info", help="davitd's (default: info)")
    parser.add_argument("--results", type=Path, default=cache_dir() / "node-conformance",
                        help="where results and logs go (default: ~/.cache/davit/node-conformance)")
    parser.add_argument("--build", action="store_true", help="only build what is needed")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return own_node.as_init(lambda: inside(args))
    report = Report("node_conformance")
    work = Path("/var/lib/davit-node-conformance")
    try:
        if not shutil.which("go"):
            raise paths.Skip("no Go toolchain: Kubernetes is built from its Go module")
        if args.build:
            build(*PROGRAMS, log=say)
            return 0
        paths.need_root()
        paths.find_bin_dir(args.bin_dir)
        work.mkdir(mode=0o755)
    except paths.Skip as reason:
        report.add_skip("everything", str(reason))
        return report.finish()
    except FileExistsError:
        report.add_failure("preparation", f"{work} exists: another run goes on, or one was killed (then remove it)")
        return report.finish()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        args.results = args.results.resolve()
        empty(args.results)
        prepare(work)
        return tell(args, run_node(args, work))
    except (FixtureError, RegistryError, BuildError, OSError) as error:
        report.add_failure("preparation", str(error))
        return report.finish()
    except KeyboardInterrupt:
        print("node_conformance: interrupted: everything it started has ended", flush=True)
        return 130
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
