#!/usr/bin/env python3
"""Images on a node: `davit df` names an owner for every byte, damage of layers and manifests is found and healed by a
pull, root filesystems become images, and a preload directory is loaded at the start.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.cri import CallError, container_config, pod_config  # noqa: E402
from davit_test.engine import EngineError, wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

from full_disk_test import Disk  # noqa: E402

import images  # noqa: E402
from busybox import busybox  # noqa: E402
from oci_image import Entry, Image, Layer, digest_of, directory as folder, write_layout  # noqa: E402

ONE = "registry.k8s.io/node/one:1"
TWO = "registry.k8s.io/node/two:1"
MIB = 1 << 20


class Node:
    def __init__(self, stage: Stage):
        self.stage, self.client, self.root = stage, stage.client(), stage.engine.root
        base = Layer.of(images.base_entries(busybox()))
        self.shared = Layer.of([Entry("shared", data=os.urandom(2 * MIB)), folder("data"),
                                *(Entry(f"data/{i}", data=b"%d" % i) for i in range(50))])
        self.tops = {name: Layer.of([Entry("top", data=name.encode() * 50000)]) for name in (ONE, TWO)}
        self.images = {}
        for name, top in self.tops.items():
            self.images[name] = images.shell_image(base, self.shared, top)
            repository, tag = name.removeprefix("registry.k8s.io/").split(":")
            stage.pusher.push(self.images[name], repository, tag)

    def davit(self, *words: str, data: bytes | None = None, timeout: int = 120) -> subprocess.CompletedProcess:
        return subprocess.run([str(self.stage.engine.bin_dir / "davit"), "--connect", str(self.stage.engine.socket), *words],
                              input=data, capture_output=True, timeout=timeout)

    def json(self, *words: str) -> dict:
        done = self.davit(*words, "-o", "json")
        assert done.stdout, done.stderr.decode()
        return json.loads(done.stdout)

    def run(self, image: str, *command: str, name: str = "node") -> str:
        pod = pod_config(name, log_directory=str(self.stage.logs(name)))
        pod_id = self.client.run_pod(pod)
        box = self.client.create(pod_id, container_config("main", image, *(command or ("sleep", "1000")), log_path="m.log"), pod)
        self.client.start(box)
        return box

    def layer(self, layer: Layer) -> Path:
        return self.root / "layers" / layer.diff_id.removeprefix("sha256:")

    def empty(self) -> None:
        self.client.remove_everything()
        for image in self.client.images():
            self.client.remove_image(image["id"])


def allocated(path: Path) -> int:
    seen, total = set(), 0
    for folder, _, names in os.walk(path):
        for entry in [folder, *(os.path.join(folder, name) for name in names)]:
            info = os.lstat(entry)
            if (info.st_dev, info.st_ino) not in seen:
                seen.add((info.st_dev, info.st_ino))
                total += info.st_blocks * 512
    return total


# ---- davit df ----

def df_owners(node: Node) -> None:
    for name in (ONE, TWO):
        node.client.pull(name)
    box = node.run(ONE, "sh", "-c", "head -c 3000000 /dev/zero >/written; sleep 1000")
    wait_for("the container has written",
             lambda: node.client.exec_sync(box, "sh", "-c", "wc -c </written").strip() == "3000000", 20)
    (node.root / "quarantine" / "0123456789abcdef").mkdir(parents=True)
    (node.root / "quarantine" / "0123456789abcdef" / "old").write_bytes(bytes(100_000))
    (node.root / "somebody").write_bytes(bytes(50_000))

    def known() -> dict | None:
        df = node.json("df")
        boxes = [c for c in df["containers"] if c["id"] == box]
        fresh = boxes and int(boxes[0]["bytes"]) >= 3_000_000 and any(p["name"] == "somebody" for p in df["parts"])
        return df if fresh and not df["lowerBound"] else None

    df = wait_for("all is measured", known, 30, 0.5)
    by_name = {image["names"][0]: image for image in df["images"] if image["names"]}
    shared = next(layer for layer in df["layers"] if layer["id"] == node.shared.diff_id)
    assert sorted(shared["images"]) == sorted(by_name[name]["id"] for name in (ONE, TWO)), shared
    assert shared["containers"] == [box], shared
    assert int(shared["bytes"]) >= 2 * MIB and sum(layer["id"] == shared["id"] for layer in df["layers"]) == 1
    for name in (ONE, TWO):
        assert int(by_name[name]["sharedBytes"]) >= 2 * MIB, by_name[name]
    assert by_name[ONE]["containers"] == 1 and int(by_name[ONE]["reclaimableBytes"]) == 0
    top = int(next(layer for layer in df["layers"] if layer["id"] == node.tops[TWO].diff_id)["bytes"])
    assert int(by_name[TWO]["reclaimableBytes"]) == top, "its own layer alone: the rest is shared, and in use"
    [container] = [c for c in df["containers"] if c["id"] == box]
    assert container["podName"] == "node" and container["name"] == "main" and not container["exited"], container
    parts = {(p["owner"], p["name"]): int(p["bytes"]) for p in df["parts"]}
    assert parts["quarantine", "0123456789abcdef"] >= 100_000 and parts["unknown", "somebody"] >= 50_000, parts
    assert parts["database", ""] > 0 and parts["content", ""] > 0 and parts["records", ""] > 0, parts
    # Nothing is left out, and nothing is counted twice.
    real, said = allocated(node.root), int(df["accountedBytes"])
    assert abs(real - said) < MIB // 4, f"{real} bytes are below the root, df says {said}"
    assert int(df["filesystemUsed"]) >= said
    text = node.davit("df", "-v").stdout.decode()
    for word in ("OWNER", "RECLAIMABLE", "quarantine", "somebody", "node", TWO, "Filesystem"):
        assert word in text, text
    (node.root / "somebody").unlink()
    shutil.rmtree(node.root / "quarantine" / "0123456789abcdef")


def df_exited(node: Node) -> None:
    """What an exited container wrote and what no container needs can be freed, and is when it is removed."""
    box = node.client.containers()[0]["id"]
    node.client.stop(box)
    df = node.json("df")
    [container] = [c for c in df["containers"] if c["id"] == box]
    assert container["exited"] and int(df["reclaimableBytes"]) >= int(container["bytes"]) > 3_000_000, container
    node.empty()

    def gone() -> bool:
        df = node.json("df")
        return not df["containers"] and not df["layers"] and not [p for p in df["parts"] if p["owner"] == "trash" and
                                                                  int(p["bytes"]) > 100_000]

    wait_for("the trash is empty", gone, 40, 0.5)


# ---- davit image verify ----

def verify(node: Node, *names: str, code: int) -> dict:
    done = node.davit("image", "verify", *names, "-o", "json")
    assert done.returncode == code, (done.returncode, done.stdout.decode(), done.stderr.decode())
    return json.loads(done.stdout)


def whole(node: Node) -> None:
    for name in (ONE, TWO):
        node.client.pull(name)
    first = verify(node, code=0)
    assert first["images"] == 2 and first["layers"] == 4 and first["firstTime"] == 4, first
    second = verify(node, code=0)
    assert second["firstTime"] == 0 and 2 * MIB < int(second["bytesRead"]) < 16 * MIB, f"a file of many names is read once: {second}"
    assert verify(node, ONE, code=0)["layers"] == 3
    said = node.davit("image", "verify", "registry.k8s.io/node/none:1")
    assert said.returncode == 1 and "NOT_FOUND" in said.stderr.decode(), said
    said = node.davit("image", "verify").stdout.decode()
    assert "no damage" in said, said


def keep_times(path: Path, change) -> None:
    """What a disk does: nothing but the bytes is another."""
    info = os.stat(path)
    change(path)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(os.stat(path).st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


DAMAGES = {
    "a file is gone": lambda fs: (fs / "data/7").unlink(),
    "a byte is flipped": lambda fs: keep_times(fs / "shared", flip),
    "a file is cut": lambda fs: keep_times(fs / "shared", lambda path: os.truncate(path, 1000)),
    "a file is more": lambda fs: (fs / "data/more").write_bytes(b"x"),
    "a mode is another": lambda fs: (fs / "data/7").chmod(0o4755),
    "an owner is another": lambda fs: os.chown(fs / "data/7", 1000, 1000),
    "a directory is a file": lambda fs: (shutil.rmtree(fs / "data"), (fs / "data").write_bytes(b"")),
    "all of it is gone": lambda fs: shutil.rmtree(fs),
    "its list is damaged": lambda fs: keep_times(fs.parent / "checksums", flip),
}


def damaged(node: Node, what: str) -> None:
    """A layer that nobody runs from goes to quarantine, and a pull fetches it and nothing else."""
    damage = DAMAGES[what]
    for name in (ONE, TWO):
        node.client.pull(name)
    verify(node, code=0)
    others = {path.name: os.stat(path / "fs").st_ino for path in (node.root / "layers").iterdir()
              if path != node.layer(node.shared)}
    damage(node.layer(node.shared) / "fs")
    report = verify(node, ONE, code=1)
    [found] = report["damage"]
    assert found["digest"] == node.shared.diff_id and sorted(found["images"]) == [ONE, TWO], found
    assert not found["inUse"] and Path(found["quarantine"]).is_dir() and found["damages"] != "0", found
    assert not node.client.images(), "both images have it"
    shutil.rmtree(Path(found["quarantine"]).parent)
    for name in (ONE, TWO):
        node.client.pull(name)
    now = {path.name: os.stat(path / "fs").st_ino for path in (node.root / "layers").iterdir()
           if path != node.layer(node.shared)}
    assert now == others, f"more than the damaged layer was fetched: {others} {now}"
    verify(node, code=0)
    box = node.run(ONE)
    assert node.client.exec_sync(box, "cat", "/data/7").strip() == "7"
    node.client.remove_everything()


def unlisted(node: Node) -> None:
    """Before its first verification there is a layer's journal to compare with: what is gone, cut or changed is named."""
    for name, hurt in (("data/7", lambda path: path.unlink()), ("shared", lambda path: os.truncate(path, 1000)),
                       ("shared", flip)):
        node.empty()
        node.client.pull(ONE)
        hurt(node.layer(node.shared) / "fs" / name)
        [found] = verify(node, code=1)["damage"]
        assert found["digest"] == node.shared.diff_id and f'"{name}"' in found["paths"][0]["what"], found
        shutil.rmtree(Path(found["quarantine"]).parent)


def manifest(node: Node) -> None:
    """A manifest and a config: a pull fetches them, and no layer."""
    for which in ("manifest", "config"):
        node.client.pull(ONE)
        [image] = [i for i in node.client.images() if ONE in i["repoTags"]]
        inodes = {path.name: os.stat(path).st_ino for path in (node.root / "layers").iterdir()}
        config = node.root / "content/sha256" / image["id"].removeprefix("sha256:")
        flip(config if which == "config" else
             next(path for path in config.parent.iterdir() if path.name != config.name))
        [found] = verify(node, code=1)["damage"]
        assert found["kind"] == which and found["images"] == [ONE], found
        assert not node.client.images()
        node.client.pull(ONE)
        assert {path.name: os.stat(path).st_ino for path in (node.root / "layers").iterdir()} == inodes
        verify(node, code=0)


def in_use(node: Node) -> None:
    node.client.pull(ONE)
    verify(node, code=0)
    box = node.run(ONE)
    (node.layer(node.shared) / "fs/data/7").unlink()
    report = verify(node, code=1)
    [found] = report["damage"]
    assert found["inUse"] and not found["quarantine"] and "data/7" in [p["path"] for p in found["paths"]], found
    said = node.davit("image", "verify").stdout.decode()
    assert "containers run from it" in said and f"davit image pull {ONE}" in said and "DAMAGED" in said, said

    def refused() -> None:
        try:
            node.run(ONE, name="second")
        except CallError as error:
            assert "damaged" in str(error) and "davit image pull" in str(error) and "DataLoss" in str(error), error
        else:
            raise AssertionError("a container was made of a damaged layer")

    refused()
    node.stage.engine.kill()
    node.stage.engine.start()
    refused()
    assert node.client.exec_sync(box, "cat", "/data/8").strip() == "8", "what runs goes on"
    node.client.pull(ONE)
    assert node.client.exec_sync(box, "cat", "/data/9").strip() == "9", "what runs goes on"
    new = node.run(ONE, name="third")
    assert node.client.exec_sync(new, "cat", "/data/7").strip() == "7"
    verify(node, code=0)
    node.client.remove_everything()
    shutil.rmtree(node.root / "quarantine")


def killed(node: Node) -> None:
    """davitd is killed at each step of a verification: the next start has whole images or none, and says so."""
    for point in ("store.layer.checksums.written", "image.set_aside.forgotten", "store.layer.set_aside.unrecorded"):
        node.empty()
        node.client.pull(ONE)
        if point != "store.layer.checksums.written":
            verify(node, code=0)
            (node.layer(node.shared) / "fs/data/7").unlink()
        node.stage.engine.stop()
        node.stage.engine.start(env={"DAVIT_FAULT_KILL": point})
        assert node.davit("image", "verify").returncode == 1
        assert node.stage.engine.wait_killed(20), f"{point} was not reached"
        node.stage.engine.start()
        listed = [i for i in node.client.images() if ONE in i["repoTags"]]
        assert bool(listed) == (point == "store.layer.checksums.written"), f"{point}: {listed}"
        node.client.pull(ONE)
        verify(node, code=0)
        box = node.run(ONE)
        assert node.client.exec_sync(box, "cat", "/data/7").strip() == "7"
        node.client.remove_everything()
    shutil.rmtree(node.root / "quarantine", ignore_errors=True)


def after_power_loss(node: Node) -> None:
    """The machine went down while davitd ran: the next start verifies by itself."""
    node.empty()
    for name in (ONE, TWO):
        node.client.pull(name)
    verify(node, code=0)
    node.stage.engine.kill()
    with contextlib.closing(sqlite3.connect(node.root / "davit.db")) as database:
        changed = database.execute("UPDATE intent SET body = 'another boot' WHERE id = 'running'")
        assert changed.rowcount == 1
        database.commit()
    keep_times(node.layer(node.tops[TWO]) / "fs/top", flip)
    node.stage.engine.start()
    wait_for("the damaged image is away", lambda: [i["repoTags"] for i in node.client.images()] == [[ONE]], 30)
    wait_for("the log says what happened", lambda: f"pull {TWO} again" in node.stage.engine.log.read_text(), 10)
    node.client.pull(TWO)
    assert verify(node, code=0)["layers"] == 4
    node.empty()
    shutil.rmtree(node.root / "quarantine")


def cancelled(node: Node) -> None:
    """A client that goes away ends its verification, and nothing is wrong afterwards."""
    node.client.pull(ONE)
    child = subprocess.Popen([str(node.stage.engine.bin_dir / "davit"), "--connect", str(node.stage.engine.socket),
                              "image", "verify"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    child.kill()
    child.wait()
    verify(node, code=0)
    node.empty()


# ---- davit image import ----

def rootfs(*more: Entry) -> bytes:
    return gzip.decompress(Layer.of([*images.base_entries(busybox()), Entry("etc/mark", data=b"rootfs"), *more]).blob)


def import_(node: Node, *words: str, data: bytes | None = None) -> str:
    done = node.davit("image", "import", "-q", *words, data=data)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def config_of(node: Node, image_id: str) -> dict:
    return json.loads((node.root / "content/sha256" / image_id.removeprefix("sha256:")).read_bytes())


def imports(node: Node) -> None:
    """A tar, packed or not, from a file or a pipe, becomes an image that runs as its changes say."""
    node.empty()
    tar = rootfs()
    path = node.stage.work / "rootfs.tar"
    packed = {"plain": tar, "gzip": gzip.compress(tar)}
    if shutil.which("zstd"):
        packed["zstd"] = subprocess.run(["zstd", "-q", "-c"], input=tar, capture_output=True, check=True).stdout
    for kind, data in packed.items():
        path.write_bytes(data)
        name = f"registry.test/import/{kind}:1"
        made = import_(node, "-c", 'CMD ["sleep", "1000"]', "-c", "ENV COLOUR=red", "-c", "WORKDIR /etc", "-c", "USER 7",
                       "-c", "LABEL a=b", "-m", "by hand", str(path), name)
        [image] = [i for i in node.client.images() if i["repoTags"] == [name]]
        assert image["id"] == made, image
        config = config_of(node, made)
        assert config["config"]["Env"] == ["COLOUR=red"] and config["history"][0]["comment"] == "by hand", config
        assert config["os"] == "linux" and len(config["rootfs"]["diff_ids"]) == 1, config
        pod = pod_config(kind, log_directory=str(node.stage.logs(kind)))
        pod_id = node.client.run_pod(pod)
        spec = container_config("main", name, log_path="m.log")
        spec.pop("command", None)
        box = node.client.create(pod_id, spec, pod)
        node.client.start(box)
        said = node.client.exec_sync(box, "sh", "-c", "cat mark; echo; echo $COLOUR; id -u; pwd").split()
        assert said == ["rootfs", "red", "7", "/etc"], said
        node.client.remove_everything()
    assert len(list((node.root / "layers").iterdir())) == 1, "one content is one layer"
    verify(node, code=0)
    node.empty()
    piped = import_(node, "-", data=packed["gzip"])
    [image] = node.client.images()
    assert image["id"] == piped and not image["repoTags"], image
    box = node.run(piped)
    assert node.client.exec_sync(box, "cat", "/etc/mark").strip() == "rootfs"
    node.client.remove_everything()
    said = json.loads(node.davit("image", "import", "--platform", "linux/arm64/v8", "-o", "json", str(path), "other").stdout)
    assert said["names"] == ["docker.io/library/other:latest"], said
    assert config_of(node, said["id"])["architecture"] == "arm64"
    node.empty()


def no_imports(node: Node) -> None:
    """What is no root filesystem, and a slip on the command line, leaves nothing."""
    path = node.stage.work / "bad.tar"
    good = rootfs()
    cases = [(b"", (), "empty"), (b"hello, this is no tar at all", (), "bad.tar"), (good[:len(good) // 2], (), "bad.tar"),
             (gzip.compress(good)[:-20], (), "bad.tar"), (b"BZh91AY&SY" + bytes(100), (), "bzip2"),
             (good, ("-c", "RUN make"), "RUN make"), (good, ("-c", "EXPOSE http"), "http"),
             (good, ("--platform", "linux"), "linux/arm64"),
             (rootfs(Entry("../../escape", data=b"x")), (), "")]
    for data, words, word in cases:
        path.write_bytes(data)
        before = sorted(p.name for p in (node.root / "layers").iterdir())
        done = node.davit("image", "import", *words, str(path), "registry.test/bad:1")
        said = done.stderr.decode()
        if word:
            assert done.returncode == 1 and word in said, (word, done)
        assert sorted(p.name for p in (node.root / "layers").iterdir()) == before or not word
        assert not (node.root / "escape").exists() and not (node.root.parent / "escape").exists()
        node.empty()
    path.write_bytes(good)
    for words, word in ((("https://example.org/x.tar",), "pipe it in"), ((str(node.stage.work),), "no file"),
                        ((str(node.stage.work / "none.tar"),), "none.tar"), ((str(path), "Not/A Name"), "Not/A"),
                        ((str(path), f"a/b@sha256:{'0' * 64}"), "digest")):
        done = node.davit("image", "import", *words)
        assert done.returncode == 1 and word in done.stderr.decode(), (word, done)
    assert not node.client.images()


def import_killed(node: Node) -> None:
    path = node.stage.work / "rootfs.tar"
    path.write_bytes(rootfs(Entry("big", data=os.urandom(4 * MIB))))
    for point in ("image.pull.resolved", "image.pull.unpacked", "image.pull.layer", "image.pull.manifest"):
        node.stage.engine.stop()
        node.stage.engine.start(env={"DAVIT_FAULT_KILL": point})
        assert node.davit("image", "import", str(path), "registry.test/killed:1").returncode == 1
        assert node.stage.engine.wait_killed(20), f"{point} was not reached"
        node.stage.engine.start()
        assert not node.client.images() and not list((node.root / "layers").iterdir()), point
    import_(node, str(path), "registry.test/killed:1")
    verify(node, code=0)
    node.empty()


# ---- The preload directory ----

def bundle(path: Path, *named: tuple[str, Image]) -> None:
    """As docker save writes several images: a layer that they share is there once."""
    manifest, files = [], {}
    for name, image in named:
        config = image.config_blob("amd64")
        member = digest_of(config).removeprefix("sha256:") + ".json"
        files[member] = config
        layers = [f"{layer.diff_id.removeprefix('sha256:')}/layer.tar" for layer in image.layers]
        files |= {of: gzip.decompress(layer.blob) for of, layer in zip(layers, image.layers)}
        manifest.append({"Config": member, "RepoTags": [name], "Layers": layers})
    files["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w") as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))


def tags(node: Node) -> list[str]:
    return sorted(tag for image in node.client.images() for tag in image["repoTags"])


def preloaded(node: Node, *names: str) -> str:
    """Waits for the end of it; what `davit info` says."""

    def at_end() -> str:
        said = node.davit("info").stdout.decode()
        [line] = [line for line in said.splitlines() if line.startswith("Preload:")] or [""]
        return line if line and ", now " not in line else ""

    said = wait_for("the preload has ended", at_end, 60, 0.2)
    assert tags(node) == sorted(names), (tags(node), said)
    return said


def preload(node: Node, directory: Path) -> None:
    node.empty()
    node.stage.engine.stop()
    bundle(directory / "10-bundle.tar", (ONE, node.images[ONE]), (TWO, node.images[TWO]))
    (directory / "20-packed.tar.gz").write_bytes(b"")
    bundle(node.stage.work / "three.tar", ("registry.test/three:1", node.images[ONE]))
    (directory / "20-packed.tar.gz").write_bytes(gzip.compress((node.stage.work / "three.tar").read_bytes()))
    write_layout(node.images[TWO], directory / "30-layout", "registry.test/layout:1")
    (directory / "40-broken.tar").write_bytes(b"no archive")
    names = (ONE, TWO, "registry.test/three:1", "registry.test/layout:1")
    node.stage.engine.start()
    said = preloaded(node, *names)
    assert "3 of 4 files" in said and "40-broken.tar" in said, said
    box = node.run(TWO)
    assert node.client.exec_sync(box, "cat", "/data/7").strip() == "7"
    node.client.remove_everything()
    verify(node, code=0)
    # A restart loads nothing again, not what somebody removed either; a changed file is loaded.
    node.empty()
    node.stage.engine.stop()
    bundle(node.stage.work / "three.tar", ("registry.test/three:2", node.images[ONE]))
    (directory / "20-packed.tar.gz").write_bytes(gzip.compress((node.stage.work / "three.tar").read_bytes()))
    node.stage.engine.start()
    said = preloaded(node, "registry.test/three:2")
    assert "3 of 4 files" in said, said
    node.empty()


def preload_killed(node: Node, directory: Path) -> None:
    """davitd is killed while it loads: the next start goes on."""
    for path in directory.iterdir():
        (shutil.rmtree if path.is_dir() else os.unlink)(path)
    for number, point in enumerate(("image.pull.layer", "image.pull.record#2", "engine.preload.loaded")):
        node.empty()
        node.stage.engine.stop()
        bundle(directory / f"{number}.tar", (ONE, node.images[ONE]), (TWO, node.images[TWO]))
        with open(node.stage.engine.log, "ab") as log:
            log.write(f"-- {point}\n".encode())
        try:
            node.stage.engine.start(env={"DAVIT_FAULT_KILL": point})
        except EngineError:
            pass  # it ended before it was asked
        else:
            assert node.stage.engine.wait_killed(20), f"{point} was not reached"
        node.stage.engine.start()
        preloaded(node, ONE, TWO)
        verify(node, code=0)


def preload_heals(node: Node, directory: Path) -> None:
    """On a node without a registry a damaged image comes from where it came from."""
    (node.layer(node.shared) / "fs/data/7").unlink()
    [found] = verify(node, code=1)["damage"]
    assert sorted(found["images"]) == [ONE, TWO], found
    wait_for("the images are back", lambda: tags(node) == [ONE, TWO], 30)
    verify(node, code=0)
    box = node.run(ONE)
    assert node.client.exec_sync(box, "cat", "/data/7").strip() == "7"
    node.client.remove_everything()
    directory.chmod(0o777)
    node.stage.engine.stop()
    node.stage.engine.start()
    assert "others may write" in preloaded(node, ONE, TWO)
    node.empty()


# ---- A full disk ----

def full_disk(node: Node, disk: Disk) -> None:
    """Nothing is called damaged for want of room, and an import that does not fit leaves nothing."""
    node.client.pull(ONE)
    filler = disk.fill()
    report = verify(node, code=0)
    assert not report["damage"], report
    df = node.json("df")
    assert int(df["filesystemAvailable"]) < MIB and [i for i in df["images"] if i["names"] == [ONE]], df
    path = node.stage.work / "rootfs.tar"
    path.write_bytes(rootfs(Entry("big", data=os.urandom(8 * MIB))))
    done = node.davit("image", "import", str(path), "registry.test/full:1")
    assert done.returncode == 1 and tags(node) == [ONE], done
    filler.unlink()
    verify(node, code=0)
    node.empty()


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("nodeimages")
    directory = Path(tempfile.mkdtemp(prefix="davit-preload-"))
    directory.chmod(0o755)
    extra = f"[image]\npreload_dir = {json.dumps(str(directory))}\n"
    with reported(report), stage_of("nodeimages", args, extra=extra) as stage:
        stage.engine.start()
        before = stage.engine.snapshot()
        node = Node(stage)
        report.run("df: each byte has an owner, shared layers count once", lambda: df_owners(node))
        report.run("df: what exited containers wrote can be freed", lambda: df_exited(node))
        report.run("verify: whole images are whole", lambda: whole(node))
        for what in DAMAGES:
            report.run(f"verify: {what}", lambda what=what: damaged(node, what))
        report.run("verify: a layer that was never verified", lambda: unlisted(node))
        report.run("verify: a manifest, a config", lambda: manifest(node))
        report.run("verify: a layer in use is marked, and a pull heals it", lambda: in_use(node))
        report.run("verify: davitd is killed in between", lambda: killed(node))
        report.run("verify: the start after a loss of power", lambda: after_power_loss(node))
        report.run("verify: a client that goes away", lambda: cancelled(node))
        report.run("import: tars, packed and from a pipe, with changes", lambda: imports(node))
        report.run("import: what is none, and slips", lambda: no_imports(node))
        report.run("import: davitd is killed in between", lambda: import_killed(node))
        report.run("preload: each file once, a broken one is named", lambda: preload(node, directory))
        report.run("preload: davitd is killed in between", lambda: preload_killed(node, directory))
        report.run("preload: a damaged image is loaded again", lambda: preload_heals(node, directory))
        report.run("nothing is left behind", lambda: stage.engine.check_leaks(before))
    shutil.rmtree(directory)
    with reported(report), stage_of("nodeimages-full", args) as stage:
        disk = Disk(stage)
        try:
            stage.engine.start()
            node = Node(stage)
            report.run("a full disk is no damage", lambda: full_disk(node, disk))
        finally:
            stage.engine.kill()
            disk.umount()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
