#!/usr/bin/env python3
"""kubeadm init with Davit as the node's runtime, in a node of its own: a control plane of static pods, then a pod by kubectl.

kubeadm, its kubelet and every program of the control plane are built from the Go module k8s.io/kubernetes (etcd too, which
it requires). No registry is asked: the images are made of these programs and busybox and loaded by `davit image load` under
the names that `kubeadm config images list` gives. There is no systemd inside, so the suite starts the kubelet, with what
kubeadm wrote for it. CoreDNS is another project's and left out. Not part of tools/test; logs are in --results.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.engine import CNI_BIN_DIRS, EngineError, answers, wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402

import images  # noqa: E402
import own_node  # noqa: E402
from busybox import FixtureError, busybox  # noqa: E402
from kubelet_host import cgroup_roots, read_sysctls, remove_cgroups, restore_sysctls  # noqa: E402
from kubernetes_build import CACHE, VERSION, BuildError, build  # noqa: E402
from node_images import pause_image  # noqa: E402
from oci_image import Image, Layer, cache_dir, host_file, write_layout  # noqa: E402

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
PROGRAMS = (*CONTROL_PLANE, "kubelet", "kubectl", "kubeadm", "kube-proxy")
NODE = "davit-node"
CGROUP = "kubepods"
SOCKET = "/run/davit/davit.sock"
BUSYBOX = "registry.k8s.io/e2e-test-images/busybox:1.29-2"
ADMIN = "/etc/kubernetes/admin.conf"
BEGIN = time.monotonic()


def say(text: str) -> None:
    print(f"[{int(time.monotonic() - BEGIN):4d} s] {text}", flush=True)


def call(*command: str, timeout_s: float = 120, check: bool = True, **more: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{shlex.join(command)[:200]}: exit {done.returncode}: {(done.stderr + done.stdout)[-1500:]}")
    return done.stdout


def kubectl(*words: str, **more: object) -> str:
    return call(str(CACHE / "kubectl"), "--kubeconfig", ADMIN, *words, **more)


# ---- Images under kubeadm's names ----

def iptables_entries() -> list:
    """Debian's iptables with its extensions, for kube-proxy."""
    program = Path("/usr/sbin/xtables-nft-multi")
    plugins = Path("/usr/lib/x86_64-linux-gnu/xtables")
    entries = images.libraries(program) + [images.directory("usr/lib/x86_64-linux-gnu/xtables")]
    entries += [host_file(str(path), path) for path in sorted(plugins.glob("*.so"))] + [host_file(str(program), program)]
    for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"):
        entries.append(images.Entry(f"usr/sbin/{name}", "symlink", target="xtables-nft-multi", mode=0o777))
    return entries


def image_of(name: str, base: Layer) -> Image:
    layers = [base, Layer.of([images.directory("usr/local"), images.directory("usr/local/bin"),
                              host_file(f"usr/local/bin/{name}", CACHE / name)])]
    if name == "kube-proxy":
        layers.insert(1, Layer.of(iptables_entries()))
    return Image(layers, {"Env": [images.PATH_ENV], "Entrypoint": [f"/usr/local/bin/{name}"]})


def load_images(davit: list[str], work: Path) -> None:
    base = Layer.of(images.base_entries(busybox(say)))
    named = {BUSYBOX: Image([base], {"Env": [images.PATH_ENV], "Cmd": ["sh"]})}
    for reference in call(str(CACHE / "kubeadm"), "config", "images", "list", f"--kubernetes-version={VERSION}").split():
        name = reference.rsplit("/", 1)[1].split(":")[0]
        if name == "pause":
            named[reference] = pause_image()
        elif name in PROGRAMS:
            named[reference] = image_of(name, base)
        else:
            say(f"{reference} is left out")
    for number, (reference, image) in enumerate(named.items()):
        layout = work / f"image{number}"
        write_layout(image, layout, reference)
        call(*davit, "image", "load", "-q", "-i", str(layout), timeout_s=300)
        shutil.rmtree(layout)
        say(f"loaded {reference}")


# ---- Inside ----

def start_davitd(args, work: Path) -> list[str]:
    conf = work / "cni"
    conf.mkdir()
    (conf / "10-node.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "kubeadm", "plugins": [
        {"type": "bridge", "bridge": "kadmpods", "isGateway": True, "ipMasq": True, "hairpinMode": True,
         "ipam": {"type": "host-local", "dataDir": str(work / "ipam"), "ranges": [[{"subnet": "10.240.1.0/24"}]],
                  "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}}]}))
    bins = ", ".join(json.dumps(d) for d in CNI_BIN_DIRS)
    config = work / "davit.toml"
    # What a packaged davit.toml has, but for the places.
    config.write_text(f'root = "{work}/davit"\n[stream]\nport = 0\n[network]\nconf_dir = "{conf}"\nbin_dirs = [{bins}]\n')
    with open(args.results / "davitd.log", "wb") as log:
        subprocess.Popen([str(paths.find_bin_dir(args.bin_dir) / "davitd"), "--config", str(config)], stdin=subprocess.DEVNULL,
                         stdout=log, stderr=log)
    wait_for("davitd's socket", lambda: answers(Path(SOCKET)), 60)
    return [str(paths.find_bin_dir(args.bin_dir) / "davit")]


def kubeadm_config(work: Path) -> Path:
    documents = [
        {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "InitConfiguration",
         "localAPIEndpoint": {"advertiseAddress": own_node.ADDRESS, "bindPort": 6443},
         "nodeRegistration": {"name": NODE, "criSocket": f"unix://{SOCKET}", "taints": [],
                              "kubeletExtraArgs": [{"name": "node-ip", "value": own_node.ADDRESS}]},
         "timeouts": {"controlPlaneComponentHealthCheck": "15m0s", "kubeletHealthCheck": "10m0s", "kubernetesAPICall": "5m0s"}},
        {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", "kubernetesVersion": VERSION,
         "networking": {"podSubnet": "10.240.1.0/24", "serviceSubnet": "10.232.0.0/24"}},
        # What this machine lacks, not Davit: cgroup v2, and the right to lower scores.
        {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "failCgroupV1": False,
         "oomScoreAdj": 0, "failSwapOn": False, "volumePluginDir": str(work / "volume-plugins"),
         "makeIPTablesUtilChains": False,
         "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"}},
        {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "conntrack": {"maxPerCore": 0},
         "mode": "iptables"},
    ]
    path = work / "kubeadm.yaml"
    path.write_text("\n---\n".join(json.dumps(document) for document in documents))
    return path


class Kubelet(threading.Thread):
    """What systemd does where there is one: runs the kubelet as soon as kubeadm has written how."""

    CONFIG = Path(own_node.KUBELET) / "config.yaml"
    FLAGS = Path(own_node.KUBELET) / "kubeadm-flags.env"

    def __init__(self, results: Path):
        super().__init__(daemon=True)
        self.results = results

    def run(self) -> None:
        while not (self.CONFIG.exists() and self.FLAGS.exists()):
            time.sleep(0.2)
        flags = shlex.split(self.FLAGS.read_text().partition("=")[2].strip().strip('"'))
        while True:
            with open(self.results / "kubelet.log", "ab") as log:
                subprocess.run([str(CACHE / "kubelet"), "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
                                "--kubeconfig=/etc/kubernetes/kubelet.conf", f"--config={self.CONFIG}", *flags],
                               stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            time.sleep(2)


def init(args, work: Path) -> None:
    skipped = [f"--skip-phases={args.skip_phases}"] if args.skip_phases else []
    command = [str(CACHE / "kubeadm"), "init", f"--config={kubeadm_config(work)}", "--v=1",
               f"--ignore-preflight-errors={args.ignore}", *skipped]
    say(shlex.join(command))
    with open(args.results / "kubeadm.log", "wb") as log:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=args.timeout,
                              env={**os.environ, "PATH": f"{CACHE}:{os.environ['PATH']}"})  # where it looks for the kubelet
    text = (args.results / "kubeadm.log").read_text(errors="replace")
    for line in text.splitlines():
        if "[WARNING" in line or "[ERROR" in line:
            say(line.strip())
    assert done.returncode == 0, f"exit {done.returncode}: {text[-2500:]}"
    assert "initialized successfully" in text, text[-1500:]


def node_ready() -> None:
    def ready() -> bool:
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return kubectl("get", "node", NODE, "-o", path, check=False).strip() == "True"
    wait_for("the node is ready", ready, 300, 1)
    version = kubectl("get", "node", NODE, "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}")
    assert version.startswith("davit://"), version
    say(kubectl("get", "nodes", "-o", "wide"))


def control_plane() -> None:
    def running() -> bool:
        pods = json.loads(kubectl("get", "pods", "-n", "kube-system", "-o", "json", check=False) or '{"items": []}')["items"]
        good = {p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"
                and all(c["ready"] for c in p["status"].get("containerStatuses", [{"ready": False}]))}
        return all(f"{name}-{NODE}" in good for name in CONTROL_PLANE)
    wait_for("the control plane's pods are ready", running, 300, 1)
    say(kubectl("get", "pods", "-A", "-o", "wide"))


def proxy() -> None:
    wait_for("kube-proxy is ready", lambda: kubectl("get", "daemonset", "kube-proxy", "-n", "kube-system", "-o",
                                                    "jsonpath={.status.numberReady}").strip() == "1", 180, 1)


def a_pod() -> None:
    wait_for("the default service account", lambda: kubectl("get", "serviceaccount", "default", check=False).strip(), 120, 1)
    kubectl("run", "hello", f"--image={BUSYBOX}", "--restart=Never", "--image-pull-policy=Never", "--", "echo", "hi")
    wait_for("the pod is done", lambda: kubectl("get", "pod", "hello", "-o", "jsonpath={.status.phase}") == "Succeeded", 180, 1)
    assert kubectl("logs", "hello") == "hi\n"


def reset(args) -> None:
    text = call(str(CACHE / "kubeadm"), "reset", "--force", f"--cri-socket=unix://{SOCKET}", timeout_s=300)
    (args.results / "reset.log").write_text(text)
    left = json.loads(call(str(paths.find_bin_dir(args.bin_dir) / "davit"), "pod", "list", "-o", "json") or "[]")
    left = left if isinstance(left, list) else left.get("items", [])
    assert not left, f"pods after kubeadm reset: {left}"


def inside(args) -> int:
    work = args.inside
    shown, args.results = args.results, work / "results"
    own_node.furnish(work, NODE, {shown: args.results})
    for place in ("/etc/kubernetes", "/var/lib/etcd"):
        own = work / place.strip("/").replace("/", "-")
        own.mkdir()
        call("mount", "--bind", str(own), place)
    report = Report("kubeadm")
    davit = start_davitd(args, work)
    load_images(davit, work)
    Kubelet(args.results).start()
    if report.run("kubeadm init", lambda: init(args, work)):
        report.run("the node is ready", node_ready)
        report.run("the control plane runs as static pods", control_plane)
        if "kube-proxy" not in args.skip_phases:
            report.run("kube-proxy runs", proxy)
        report.run("kubectl run and logs", a_pod)
    report.run("kubeadm reset leaves no pod", lambda: reset(args))
    (work / "results" / "outcome.json").write_text(json.dumps({"passed": report.passed_names, "failed": report.failed}))
    return report.finish()


# ---- Outside ----

def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of davitd (default: newest build/*/bin)")
    parser.add_argument("--skip-phases", default="addon/coredns", help="kubeadm's (default: addon/coredns)")
    parser.add_argument("--ignore", default="SystemVerification,Swap,NumCPU,Mem,Service-Kubelet,FileContent--proc-sys-net-ipv4-ip_forward,ImagePull",
                        help="preflight errors that are the machine's")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for kubeadm init")
    parser.add_argument("--results", type=Path, default=cache_dir() / "kubeadm", help="logs (default: ~/.cache/davit/kubeadm)")
    parser.add_argument("--build", action="store_true", help="only build what is needed")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return own_node.as_init(lambda: inside(args))
    report = Report("kubeadm")
    work = Path("/var/lib/davit-kubeadm")
    stray = [Path(p) for p in (own_node.KUBELET, "/etc/kubernetes", "/var/lib/etcd") if not Path(p).exists()]
    try:
        if not shutil.which("go"):
            raise paths.Skip("no Go toolchain: Kubernetes is built from its Go module")
        build(*PROGRAMS, log=say)
        if args.build:
            return 0
        paths.need_root()
        paths.find_bin_dir(args.bin_dir)
        busybox(say)
        for found in (root / CGROUP for root in cgroup_roots() if (root / CGROUP).exists()):
            raise FixtureError(f"{found} exists: another kubelet runs here, or one was killed (then rmdir it)")
        subprocess.run([str(paths.SUPPORT / "cgroups")], check=False, stdout=subprocess.DEVNULL)
        work.mkdir(mode=0o755)
        for path in stray:  # something has to be there to mount on
            path.mkdir(parents=True)
    except paths.Skip as reason:
        report.add_skip("everything", str(reason))
        return report.finish()
    except (FixtureError, BuildError, OSError) as error:
        report.add_failure("preparation", str(error))
        return report.finish()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.results = args.results.resolve()
    shutil.rmtree(args.results, ignore_errors=True)
    args.results.mkdir(parents=True)
    sysctls = read_sysctls()
    node = own_node.OwnNode([sys.executable, __file__, *sys.argv[1:], "--inside", str(work), "--results", str(args.results)])
    try:
        return node.wait(args.timeout + 1800)
    except (subprocess.TimeoutExpired, EngineError) as error:
        say(f"not finished: {error}")
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        node.end()
        restore_sysctls(sysctls)
        remove_cgroups(CGROUP)
        for path in stray:
            if path.exists() and not any(path.iterdir()):
                path.rmdir()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
