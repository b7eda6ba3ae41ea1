#!/usr/bin/env python3
"""Tests of the test support itself: images are reproducible, leftovers are seen, results are counted."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import node, paths  # noqa: E402
from davit_test.fake_registry import FakeRegistry, Fault  # noqa: E402
from davit_test.engine import EngineError, wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.suite import reported  # noqa: E402

import ginkgo_report  # noqa: E402
import node_images  # noqa: E402
import own_node  # noqa: E402
from oci_image import Entry, Image, Layer, digest_of, directory, write_layout  # noqa: E402


def image() -> Image:
    return Image([Layer.of([directory("d"), Entry("d/f", data=b"x" * 5000), Entry("h", "hardlink", target="d/f")])],
                 {"Cmd": ["/f"]})


def same_content_same_digests() -> None:
    assert image().digest == image().digest
    assert image().blobs().keys() == image().blobs().keys()


def layer_says_what_is_in_it() -> None:
    layer = image().layers[0]
    tar = zlib.decompress(layer.blob, 31)
    assert digest_of(tar) == layer.diff_id
    names = {m.name: m.type for m in tarfile.open(fileobj=io.BytesIO(tar))}
    assert names == {"d": tarfile.DIRTYPE, "d/f": tarfile.REGTYPE, "h": tarfile.LNKTYPE}, names


def layout_is_complete() -> None:
    with tempfile.TemporaryDirectory() as where:
        write_layout(image(), where, "1")
        todo = [m["digest"] for m in json.loads(Path(where, "index.json").read_text())["manifests"]]
        while todo:
            digest = todo.pop()
            data = Path(where, "blobs", digest.replace(":", "/")).read_bytes()
            assert digest_of(data) == digest
            if data.startswith(b"{"):
                value = json.loads(data)
                todo += [d["digest"] for d in value.get("manifests", []) + value.get("layers", [])]
                todo += [value["config"]["digest"]] if "mediaType" in value.get("config", {}) else []


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def faults_do_what_they_say() -> None:
    with FakeRegistry() as fake:
        layer = image().layers[0]
        for fault in (Fault.NONE, Fault.BLOB_LIES, Fault.BLOB_LONG):
            fake.add("a/b", image(), fault)
            data = fetch(f"{fake.url}/v2/a/b/blobs/{layer.digest}")
            assert (digest_of(data) == layer.digest) == (fault is Fault.NONE), fault
        fake.add("a/b", image(), Fault.BLOB_MISSING)
        try:
            fetch(f"{fake.url}/v2/a/b/blobs/{layer.digest}")
            raise AssertionError("a missing layer was served")
        except urllib.error.HTTPError as error:
            assert error.code == 404


def leftovers_are_seen() -> None:
    with tempfile.TemporaryDirectory() as where:
        watch = node.Watch(programs=("sleep-davit",), folders=(Path(where),), leases=(Path(where),),
                           markers=(where, "sleep-davit"))
        before = node.Snapshot.take(watch)
        Path(where, "10.1.2.3").write_text("")
        child = subprocess.Popen(["sleep-davit", "100"], executable="/bin/sleep")
        try:
            new = node.leaks(before, watch, timeout_s=0)
            assert [line.split()[1] for line in new] == ["process", "file", "lease"], new
            try:
                node.check_leaks(before, watch, timeout_s=0)
            except AssertionError as error:
                assert "10.1.2.3" in str(error), error
            else:
                raise AssertionError("a check took leftovers for nothing")
        finally:
            child.kill()
            child.wait()
            os.unlink(Path(where, "10.1.2.3"))
        assert node.leaks(before, watch, timeout_s=0) == []


def failures_are_counted() -> None:
    with tempfile.TemporaryDirectory() as where:
        script = ("import sys; sys.path[:0] = sys.argv[1:]\n"
                  "from davit_test.report import Report\n"
                  "r = Report('x'); r.run('good', lambda: None); r.run('bad', lambda: 1 / 0); sys.exit(r.finish())")
        done = subprocess.run([sys.executable, "-B", "-c", script, *sys.path[:3]], capture_output=True, text=True,
                              env={**os.environ, "DAVIT_TEST_REPORT_DIR": where, "DAVIT_TEST_NAME": "n"})
        assert done.returncode == 1 and done.stdout.splitlines()[-1] == "1 passed, 1 failed, 0 skipped", done
        assert len(json.loads(Path(where, "n.json").read_text())["failed"]) == 1


def what_ends_a_suite_is_in_its_report() -> None:
    for raised, failed, skipped in ((paths.Skip("no root"), 0, 1), (EngineError("did not start"), 1, 0)):
        report = Report("inner")
        with contextlib.redirect_stdout(io.StringIO()), reported(report):
            raise raised
        assert (report.passed, len(report.failed), len(report.skipped)) == (0, failed, skipped), vars(report)
    try:
        with reported(Report("inner")):
            raise KeyError("a fault of the suite itself")
    except KeyError:
        return
    raise AssertionError("a fault of the suite itself was swallowed")


def a_report_of_ginkgo_is_counted() -> None:
    def spec(name: str, state: str, message: str = "", kind: str = "It") -> dict:
        return {"ContainerHierarchyTexts": ["[sig] Area"], "LeafNodeText": name, "LeafNodeType": kind, "State": state,
                "RunTime": 2_500_000_000,
                "Failure": {"Message": message, "Location": {"FileName": "/a/b.go", "LineNumber": 7}} if message else {}}

    reports = [spec("works", "passed"), spec("breaks", "failed", "no\n such file"), spec("hangs", "timedout", "too long"),
               spec("lacks", "failed", "refused"), spec("not here", "skipped", "no swap"), spec("filtered", "skipped"),
               spec("", "passed", kind="BeforeEach"), spec("set-up", "failed", "no node", kind="SynchronizedBeforeSuite")]
    with tempfile.TemporaryDirectory() as where:
        path = Path(where, "ginkgo.json")
        path.write_text(json.dumps([{"SpecReports": reports}]))
        specs = ginkgo_report.read(path, lambda name: "gadget" if "lacks" in name else "")
    states = {s.name.removeprefix("[sig] Area "): (s.state, s.reason) for s in specs}
    assert states == {"works": ("passed", ""), "breaks": ("failed", "no such file"),
                      "hangs": ("failed", "timedout: too long"), "lacks": ("lacking", "no gadget: refused"),
                      "not here": ("skipped", "no swap"), "set-up": ("failed", "no node")}, states
    text = ginkgo_report.table(specs)
    assert "| all | 1 | 3 | 1 | 1 |" in text and "- [sig] Area breaks: no such file b.go:7" in text, text


def an_image_for_agnhosts_registry_is_complete() -> None:
    files = {e.path: e.data for e in node_images.registry_entries("pause", "testing", image()) if e.kind == "file"}

    def stored(kind: str, digest: str) -> dict | None:
        digits = digest.removeprefix("sha256:")
        data = files[f"var/registry/pause/{kind}/sha256/{digits[:2]}/{digits}/data"]
        assert digest_of(data) == digest
        return json.loads(data) if data.startswith(b"{") else None

    top = stored("manifests", files["var/registry/pause/manifests/testing"].decode().strip())
    for platform in top["manifests"]:
        manifest = stored("manifests", platform["digest"])
        for blob in [manifest["config"], *manifest["layers"]]:
            stored("blobs", blob["digest"])


def a_node_of_its_own_ends_with_all_that_it_started() -> None:
    paths.need_root()
    name = f"davit-own-node-{os.getpid()}"

    def running() -> set[str]:
        return {found for found in node.processes(("python", Path(sys.executable).name)) if name in found}

    # One that nobody waits for, in a session of its own.
    sleeper = f"setsid {sys.executable} -c 'import time; time.sleep(1000)' {name} & exec sleep 1000"
    started = own_node.OwnNode(["sh", "-c", sleeper])
    try:
        wait_for("the command", running, 30)
    finally:
        started.end()
    assert not running(), running()


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_known_args()
    report = Report("test support")
    for case in (same_content_same_digests, layer_says_what_is_in_it, layout_is_complete, faults_do_what_they_say,
                 leftovers_are_seen, failures_are_counted, what_ends_a_suite_is_in_its_report,
                 a_report_of_ginkgo_is_counted, an_image_for_agnhosts_registry_is_complete,
                 a_node_of_its_own_ends_with_all_that_it_started):
        report.run(case.__name__.replace("_", " "), case)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
