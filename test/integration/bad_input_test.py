#!/usr/bin/env python3
"""Bad input of every kind: the engine answers with an error that names it, stays alive, leaves nothing.

Lying, cutting and stalling registries, evil layers, a full disk, a broken network configuration, unknown
names and ids, and requests made twice.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test import paths  # noqa: E402
from davit_test.cri import Client, container_config, pod_config  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.fake_registry import FakeRegistry, Fault  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

from oci_image import OCI, Entry, Image, Layer, directory, digest_of  # noqa: E402

HOST = "bad.example"
UNKNOWN = "0123456789abcdef" * 4
MIB = 1 << 20
STALL_S = 10


def plain_image(data: bytes = b"hello\n", platforms: tuple[str, ...] = ("amd64",)) -> Image:
    return Image([Layer.of([directory("d"), Entry("d/file", data=data)])], {"Cmd": ["/d/file"]}, OCI, platforms)


def incompressible(size: int) -> bytes:
    return os.urandom(size)


# Registries.

# A stall is told apart from slowness only by a time limit: those have cases of their own.
PULL_FAULTS = [f for f in Fault if f not in (Fault.NONE, Fault.STALL_BLOB, Fault.STALL_MANIFEST)]


def pull_fault(stage: Stage, client: Client, fake: FakeRegistry, fault: Fault) -> None:
    repository = fault.name.lower().replace("_", "-")
    image = plain_image(incompressible(2 * MIB), ("amd64", "arm64"))
    fake.add(repository, image, fault)
    error = client.refuse("pull", f"{HOST}/{repository}:1")
    assert repository in error, f"the error does not name the image: {error[-300:]}"
    assert not listed(client, repository), "the image is listed"
    # The same name works as soon as the registry tells the truth: nothing bad was kept.
    fake.add(repository, image)
    client.pull(f"{HOST}/{repository}:1")
    assert listed(client, repository), "the good image is not listed"
    client.remove_image(f"{HOST}/{repository}:1")


def listed(client: Client, repository: str) -> bool:
    return any(f"{HOST}/{repository}" in name for i in client.images()
               for name in (i.get("repoTags") or []) + (i.get("repoDigests") or []))


def stalled_pull(stage: Stage, client: Client, fake: FakeRegistry, fault: Fault) -> None:
    """A stalled registry holds up its own pull only: other calls and pulls go on, a client may leave."""
    fake.add("stalls", plain_image(incompressible(2 * MIB)), fault)
    fake.add("flows", plain_image())
    stalled = subprocess.Popen(client.command("pull", f"{HOST}/stalls:1"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        wait_for("the stalled request arrives", lambda: any("/stalls/" in r for r in fake.requests), 10)
        client.images()
        client.pull(f"{HOST}/flows:1")
        client.remove_image(f"{HOST}/flows:1")
        assert stalled.poll() is None, "other calls waited for the stalled pull"
    finally:
        stalled.kill()
        stalled.wait()
    stage.engine.stop(20)
    stage.engine.start()
    assert not listed(client, "stalls"), "the image is listed"


def stall_ends(client: Client, fake: FakeRegistry) -> None:
    """The configured patience (a few seconds here) ends a stalled pull with an error of its own."""
    fake.add("stalls-long", plain_image(incompressible(2 * MIB)), Fault.STALL_BLOB)
    error = client.refuse("pull", f"{HOST}/stalls-long:1")
    assert "stalls-long" in error, f"the error does not name the image: {error[-300:]}"


def refused_names(client: Client) -> None:
    for name in (f"{HOST}/UPPER:1", f"{HOST}/a:b:c", f"{HOST}/a@sha256:123", f"{HOST}/a/../b:1", "", "-",
                 f"{HOST}/{'a' * 5000}:1", f"{HOST}/a:{'t' * 200}", "http://x/y:1", f"{HOST}/a b:1"):
        error = client.refuse("pull", name) if name not in ("", "-") else client.refuse("pull", "--", name)
        assert "panic" not in error and "Unavailable" not in error, error[-200:]


def unknown_image(client: Client) -> None:
    error = client.refuse("pull", f"{HOST}/nobody/has-this:1")
    assert "has-this" in error, f"the error does not name the image: {error[-300:]}"


# Layers.

def evil_layers(target: Path) -> dict[str, bytes]:
    """Tar streams that try to write to or read from `target`, a directory outside every rootfs."""
    up = "../" * 12

    def tar(*members: tuple[str, bytes, str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
            for name, kind, link, data in members:
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o755
                out.addfile(info, io.BytesIO(data) if data else None)
        return buffer.getvalue()

    file, link, hard, folder = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
    inside = str(target).lstrip("/")
    return {
        "dot-dot": tar((f"{up}{inside}/dot-dot", file, "", b"x")),
        "absolute": tar((f"{target}/absolute", file, "", b"x")),
        "through-symlink": tar(("out", link, str(target), b""), ("out/through-symlink", file, "", b"x")),
        "through-relative-symlink": tar(("out", link, f"{up}{inside}", b""), ("out/relative", file, "", b"x")),
        "symlink-swapped": tar(("a", folder, "", b""), ("a", link, str(target), b""), ("a/swapped", file, "", b"x")),
        "hardlink-out": tar(("got", hard, f"{up}{inside}/secret", b""), ("got", file, "", b"overwritten")),
        "hardlink-symlink": tar(("out", link, f"{target}/secret", b""), ("got", hard, "out", b""),
                                ("got", file, "", b"overwritten")),
        "whiteout-out": tar((f"{up}{inside}/.wh.secret", file, "", b"")),
        "whiteout-dot-dot": tar((".wh...", file, "", b""), (".wh.", file, "", b"")),
        "opaque-through-symlink": tar(("out", link, str(target), b""), ("out/.wh..wh..opq", file, "", b"")),
        "directory-mode-out": tar(("out", link, str(target), b""), ("out", folder, "", b"")),
        "long-name": tar(("n/" * 3000 + "x", file, "", b"x")),
    }


def evil_layer(client: Client, fake: FakeRegistry, name: str, tar: bytes, target: Path) -> None:
    """Refused or contained, both are right; writing or reading outside is not."""
    before = {p.name: (p.stat().st_mode, p.read_bytes()) for p in target.iterdir()}
    mode = target.stat().st_mode
    repository = f"evil-{name}"
    fake.add(repository, Image([Layer.of_tar(tar)], {}, OCI, ("amd64",)))
    answer = client.try_call("pull", f"{HOST}/{repository}:1")
    after = {p.name: (p.stat().st_mode, p.read_bytes()) for p in target.iterdir()}
    assert after == before, f"the layer changed files outside: {sorted(set(after) ^ set(before)) or 'contents'}"
    assert target.stat().st_mode == mode, "the layer changed a directory outside"
    if answer.code == 0:
        client.remove_image(f"{HOST}/{repository}:1")
    else:
        assert repository in answer.text, f"the error does not name the image: {answer.text[-300:]}"


def damaged_layer(client: Client, fake: FakeRegistry, name: str, blob: bytes, diff_id: str) -> None:
    repository = f"damaged-{name}"
    fake.add(repository, Image([Layer(blob, diff_id)], {}, OCI, ("amd64",)))
    error = client.refuse("pull", f"{HOST}/{repository}:1")
    assert repository in error, f"the error does not name the image: {error[-300:]}"


def damaged_layers() -> dict[str, tuple[bytes, str]]:
    tar = b"".join([Entry("f", data=b"x" * 100_000).tar_info().tobuf(), b"x" * 100_000, bytes(1024)])
    packed = gzip.compress(tar, mtime=0)
    return {
        "cut-gzip": (packed[:-20], digest_of(tar)),
        "bad-gzip-checksum": (packed[:-8] + b"\0\0\0\0" + packed[-4:], digest_of(tar)),
        "cut-tar": (gzip.compress(tar[:50_000], mtime=0), digest_of(tar[:50_000])),
        "not-a-tar": (gzip.compress(b"hello" * 1000, mtime=0), digest_of(b"hello" * 1000)),
        "not-gzip": (b"hello" * 1000, digest_of(b"hello" * 1000)),
    }


def full_disk(stage: Stage, args: argparse.Namespace) -> None:
    """A pull that does not fit fails with the reason, gives the space back and harms nothing else."""
    with FakeRegistry() as fake, Stage("full", bin_dir=args.bin_dir, engine=args.engine,
                                       extra_mirrors={HOST: fake.url}) as small:
        small.engine.root.mkdir()
        disk = small.work / "disk.img"
        with open(disk, "wb") as out:
            out.truncate(64 * MIB)
        made = subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", str(disk)], capture_output=True, text=True)
        mounted = subprocess.run(["mount", "-o", "loop", str(disk), str(small.engine.root)], capture_output=True, text=True)
        if made.returncode or mounted.returncode:
            raise paths.Skip(f"no loop file system here: {made.stderr}{mounted.stderr}".strip())
        small.engine.start()
        client = small.client()
        fake.add("big", plain_image(incompressible(96 * MIB)))
        fake.add("little", plain_image(incompressible(MIB)))
        client.pull(f"{HOST}/little:1")
        free = space(small.engine.root)
        error = client.refuse("pull", f"{HOST}/big:1")
        assert re.search("no space|disk full|ENOSPC|not enough space", error, re.I), f"the reason is missing: {error[-300:]}"
        wait_for("the space comes back", lambda: space(small.engine.root) > free - 2 * MIB, 30)
        assert listed(client, "little") and not listed(client, "big"), "wrong images are listed"
        client.remove_image(f"{HOST}/little:1")
        client.pull(f"{HOST}/little:1")
        small.engine.stop()


def space(path: Path) -> int:
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


# Pods and containers.

def unknown_ids(client: Client) -> None:
    for words in (["inspect", UNKNOWN], ["inspectp", UNKNOWN], ["start", UNKNOWN], ["exec", "-s", UNKNOWN, "true"],
                  ["exec", UNKNOWN, "true"], ["attach", UNKNOWN], ["logs", UNKNOWN], ["logs", "-r", UNKNOWN],
                  ["update", "--cpu-share", "100", UNKNOWN], ["stats", "--id", UNKNOWN, "-o", "json"],
                  ["port-forward", UNKNOWN, "18081:80"], ["checkpoint", "--export=/tmp/none.tar", UNKNOWN]):
        answer = client.try_call(*words, timeout_s=20)
        if words[0] == "stats":
            continue  # an empty list is a fine answer
        assert answer.code != 0, f"{words[0]} of an unknown id succeeded"
        assert "not implemented" in answer.text or "Unimplemented" in answer.text or \
            re.search("not ?found|no such|does not exist|unknown", answer.text, re.I), f"{words[0]}: {answer.text[-200:]}"
    # What removes is idempotent.
    for verb in ("stopp", "rmp", "stop", "rm", "rmi"):
        answer = client.try_call(verb, UNKNOWN)
        assert answer.code == 0 or re.search("not ?found|no such", answer.text, re.I), f"{verb}: {answer.text[-200:]}"


def unknown_handler(client: Client) -> None:
    error = client.refuse("runp", "--runtime", "no-such-handler", client.write("p.json", pod_config("handler")))
    assert "no-such-handler" in error, f"the error does not name the handler: {error[-300:]}"


def pod_requests(client: Client) -> None:
    accepted = []
    for change in ({"metadata": None}, {"metadata": {"name": "", "uid": "", "namespace": ""}},
                   {"hostname": "x" * 300}, {"dns_config": {"servers": ["not an address\nnameserver 1.2.3.4"]}},
                   {"port_mappings": [{"container_port": 99999, "host_port": 1}]},
                   {"linux": {"sysctls": {"kernel.shmmax; rm": "1"}}}, {"linux": {"sysctls": {"../../etc/x": "1"}}},
                   {"linux": {"cgroup_parent": "../../escape"}}):
        answer = client.try_call("runp", client.write("p.json", {**pod_config("bad"), **change}))
        if answer.code == 0:
            accepted.append(str(change))
    assert not accepted, f"accepted: {accepted}"
    assert client.pods() == [], "a refused pod is listed"


def container_requests(stage: Stage, client: Client) -> None:
    pod = pod_config("good", log_directory=str(stage.logs("good")))
    pod_id = client.run_pod(pod)
    base = container_config("c", BUSYBOX, "sleep", "1000")
    context = lambda **more: {"linux": {"security_context": more}}  # noqa: E731
    dangling = stage.work / "dangling-link"
    dangling.unlink(missing_ok=True)
    dangling.symlink_to("nowhere")
    escaped = stage.work / "escaped.log"
    accepted = []
    for what, change in (
            ("mount source", {"mounts": [{"host_path": str(dangling), "container_path": "/x"}]}),
            ("image", {"image": {"image": f"{HOST}/absent:1"}}),
            ("name", {"metadata": {"name": ""}}),
            ("log path", {"log_path": f"../../../../../..{escaped}"}),
            ("device", {"devices": [{"host_path": "/dev/no-such-device", "container_path": "/dev/x"}]}),
            ("user", context(run_as_username="no-such-user")),
            ("group without user", context(run_as_group={"value": 5})),
            ("capability", context(capabilities={"add_capabilities": ["NO_SUCH_CAPABILITY"]})),
            ("seccomp profile", context(seccomp={"profile_type": 2, "localhost_ref": "/no/such/profile.json"})),
            ("working directory", {"working_dir": "relative/../../x"})):
        config = {**base, **change}
        words = ("create", "--no-pull", pod_id, client.write("c.json", config), client.write("p.json", pod))
        answer = client.try_call(*words)
        if answer.code == 0:
            # Some of it only the start can know: then that has to fail.
            container = answer.out.strip()
            started = client.try_call("start", container)
            client.remove(container, force=True)
            if started.code == 0:
                accepted.append(what)
    if escaped.exists():
        escaped.unlink()
        accepted.append("a log path that left the log directory")
    assert not accepted, f"accepted: {accepted}"
    left = [c for c in client.containers() if c["podSandboxId"] == pod_id]
    assert left == [], f"{len(left)} refused containers are listed"


def missing_command(stage: Stage, client: Client) -> None:
    pod = pod_config("command", log_directory=str(stage.logs("command")))
    pod_id = client.run_pod(pod)
    words = ("create", "--no-pull", pod_id, client.write("c.json", container_config("c", BUSYBOX, "/no/such/program")),
             client.write("p.json", pod))
    answer = client.try_call(*words)
    text = answer.text if answer.code else client.refuse("start", answer.out.strip())
    assert "/no/such/program" in text, f"the error does not name the program: {text[-300:]}"


def created_twice(stage: Stage, client: Client) -> None:
    """Requests at the same time share one outcome; a later one is told what is there already."""
    pod = pod_config("twice", log_directory=str(stage.logs("twice")))
    pods = at_once(client, lambda n: ("runp", client.write(f"p{n}.json", pod)))
    assert len(pods) == 1, f"four requests for one pod gave {len(pods)} pods"
    [pod_id] = pods
    create = ("create", "--no-pull", pod_id, client.write("c.json", container_config("c", BUSYBOX, "sleep", "1000")),
              client.write("p.json", pod))
    containers = at_once(client, lambda _: create)
    assert len(containers) == 1, f"four requests for one container gave {len(containers)} containers"
    [container_id] = containers
    text = client.refuse(*create)
    assert "AlreadyExists" in text and container_id in text, f"the second create: {text[-300:]}"
    client.start(container_id)


def at_once(client: Client, words) -> set[str]:
    """The ids that four equal requests answer with, or name as existing when they came late."""
    def one(number: int) -> str:
        answer = client.try_call(*words(number))
        if answer.code == 0:
            return answer.out.strip()
        found = re.search(r"exists already with id ([0-9a-f]{64})", answer.text)
        assert found, answer.text[-300:]
        return found.group(1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return set(pool.map(one, range(4)))


def broken_network(stage: Stage, client: Client) -> None:
    """A plugin that is not there fails the pod with its name; mending the file mends the engine."""
    conf = stage.engine.network.conf_dir / "10-davit-test.conflist"
    good = conf.read_text()
    try:
        conf.write_text(good.replace('"portmap"', '"no-such-plugin"'))
        wait_for("the engine sees the change", lambda: "no-such-plugin" in client.try_call(
            "runp", client.write("p.json", pod_config("network"))).text, 15, 0.5)
        assert client.pods() == [], "a pod without network is listed"
    finally:
        conf.write_text(good)

    def works() -> bool:
        answer = client.try_call("runp", client.write("p.json", pod_config("network")))
        return answer.code == 0

    wait_for("the mended network works", works, 15, 0.5)


def big_output(stage: Stage, client: Client) -> None:
    """ExecSync of endless output is bounded: an error or a cut, never a dead engine."""
    pod = pod_config("big", log_directory=str(stage.logs("big")))
    pod_id = client.run_pod(pod)
    container = client.create(pod_id, container_config("c", BUSYBOX, "sleep", "1000"), pod)
    client.start(container)
    client.try_call("exec", "-s", container, "dd", "if=/dev/zero", "bs=1M", "count=200", timeout_s=60)
    assert client.exec_sync(container, "echo", "alive").strip() == "alive"


def cases(stage: Stage, client: Client, fake: FakeRegistry, args: argparse.Namespace):
    """(name, function) pairs."""
    for fault in PULL_FAULTS:
        yield f"registry: {fault.value}", lambda fault=fault: pull_fault(stage, client, fake, fault)
    yield "registry: refuses names that are no references", lambda: refused_names(client)
    yield "registry: unknown image", lambda: unknown_image(client)
    target = stage.work / "outside"
    target.mkdir(exist_ok=True)
    (target / "secret").write_text("untouched")
    for name, tar in evil_layers(target).items():
        yield f"layer: {name}", lambda n=name, t=tar: evil_layer(client, fake, n, t, target)
    for name, (blob, diff_id) in damaged_layers().items():
        yield f"layer: {name}", lambda n=name, b=blob, d=diff_id: damaged_layer(client, fake, n, b, d)
    yield "pod: unknown handler", lambda: unknown_handler(client)
    yield "pod: bad requests", lambda: pod_requests(client)
    yield "container: bad requests", lambda: container_requests(stage, client)
    yield "container: a program that is not there", lambda: missing_command(stage, client)
    yield "container: the same request four times at once", lambda: created_twice(stage, client)
    yield "container: 200 MB from exec", lambda: big_output(stage, client)
    yield "ids: unknown to every call", lambda: unknown_ids(client)
    yield "network: a plugin that is not there", lambda: broken_network(stage, client)
    yield "registry: stalls at the manifest", lambda: stalled_pull(stage, client, fake, Fault.STALL_MANIFEST)
    yield "registry: stalls in a layer", lambda: stalled_pull(stage, client, fake, Fault.STALL_BLOB)
    if args.engine == "davit":
        yield "registry: a stall ends by itself", lambda: stall_ends(client, fake)
    yield "disk: full during a pull", lambda: full_disk(stage, args)


def main() -> int:
    parser = options(__doc__, engines=True)
    parser.add_argument("-k", metavar="REGEX", default="", help="only cases whose name matches")
    args = parser.parse_args()
    report = Report("bad input")
    with reported(report), FakeRegistry() as fake, \
            stage_of("bad", args, extra_mirrors={HOST: fake.url},
                     extra=f"[image]\nstall_timeout_seconds = {STALL_S}\n") as stage:
        stage.engine.start()
        client = stage.client()
        client.pull(BUSYBOX)
        before = stage.engine.snapshot()
        for name, case in cases(stage, client, fake, args):
            if not re.search(args.k, name):
                continue

            def checked(case=case, before=before) -> None:
                case()
                assert stage.engine.alive(), f"the engine ended: {stage.engine.log_tail(5)}"
                client.remove_everything()
                stage.engine.check_leaks(before)

            if not report.run(name, checked):
                if not stage.engine.alive():
                    stage.engine.kill()
                    stage.engine.start()
                client.remove_everything()
                before = stage.engine.snapshot()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
