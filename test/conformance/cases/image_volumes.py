"""Image volumes (KEP-4639) and the volumes that an image declares."""

import os
from pathlib import Path

from bench import case
from cases.user_namespaces import HOST_ID, MAPPED, base_layers, mapped_pod
from oci_image import Artifact, Entry, Image, Layer, digest_of, directory

AREA = "image volumes"

DATA = Layer.of([directory("sub"), Entry("sub/deep", data=b"deep"), Entry("top", data=b"top", uid=11, gid=12),
                 Entry("gone", data=b"gone"), Entry("out", "symlink", target="../../../../etc"),
                 Entry("alias", "symlink", target="/sub")])
CHANGE = Layer.of([Entry(".wh.gone"), Entry("second", data=b"second")])


def data_image(t) -> str:
    return t.image("data", Image([DATA, CHANGE]))


def mount(reference: str, path: str = "/i", sub_path: str = "", **fields) -> dict:
    return {"container_path": path, "image": {"image": reference}, "image_sub_path": sub_path, "readonly": True, **fields}


def mounts_of(box) -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if box.id in line]


@case(AREA, "all layers of the image are there, read-only whatever the request says")
def whole(t):
    box = t.pod().container(mounts=[mount(data_image(t)), mount(data_image(t), "/rw", readonly=False)])
    assert box.exec("cat", "/i/top", "/i/second", "/i/sub/deep") == "topseconddeep"
    assert "gone" not in box.exec("ls", "/i").split()
    assert box.exec("stat", "-c", "%u:%g", "/i/top") == "11:12"
    for path in ("/i", "/rw"):
        assert b"Read-only" in box.exec_sync("touch", f"{path}/new").stderr


@case(AREA, "one layer alone, and one image for two containers")
def one_layer(t):
    reference = t.image("single", Image([DATA]))
    pod = t.pod()
    for _ in range(2):
        box = pod.container(mounts=[mount(reference)])
        assert box.exec("cat", "/i/top") == "top"


@case(AREA, "an OCI artifact: its blobs are files under their titles, and what oras has packed is unpacked")
def artifact(t):
    title = "org.opencontainers.image.title"
    packed = Layer.of([directory("packed"), Entry("packed/inside", data=b"inside")]).blob
    made = Artifact([
        ("application/vnd.davit.test.model", {title: "models/one.bin"}, b"weights" * 1000),
        ("application/vnd.oci.image.layer.v1.tar", {title: "README"}, b"no tar at all"),  # as oras names any file
        ("text/plain", {}, b"untitled"),
        ("application/vnd.acme.tar", {title: "packed", "io.deis.oras.content.unpack": "true"}, packed)])
    reference = t.image("artifact", made)
    image = t.cri.ImageStatus(image={"image": reference}).image
    assert image.id == digest_of(made.top()[1]) and image.size > 7000, image
    assert [i.id for i in t.cri.ListImages(filter={"image": {"image": image.id}}).images] == [image.id]
    box = t.pod().container(mounts=[mount(reference), mount(reference, "/sub", "models")])
    assert box.exec("sh", "-c", "cd /i; find . -type f | sort").split() == sorted(
        ["./README", "./" + digest_of(b"untitled").removeprefix("sha256:"), "./models/one.bin", "./packed/inside"])
    assert box.exec("cat", "/i/README", "/i/packed/inside") == "no tar at allinside"
    assert box.exec("sha256sum", "/sub/one.bin").split()[0] == digest_of(b"weights" * 1000).removeprefix("sha256:")
    error = t.pod().refused("INVALID_ARGUMENT", "artifact", image=reference)
    assert "image volume" in error.details
    box.remove()
    t.cri.RemoveImage(image={"image": reference})
    assert not t.cri.ListImages(filter={"image": {"image": image.id}}).images


@case(AREA, "an OCI artifact whose titles are no places in a directory is refused by name")
def evil_artifact(t):
    for title in ("../evil", "/etc/evil", "a/../../evil", ".wh.x"):
        try:
            t.image("evil-artifact", Artifact([("text/plain", {"org.opencontainers.image.title": title}, b"x")]))
        except AssertionError as error:
            assert "title" in str(error) and title in str(error), error
        else:
            raise AssertionError(f"{title} was taken")


@case(AREA, "a sub path, through a link that stays inside the image")
def sub_path(t):
    box = t.pod().container(mounts=[mount(data_image(t), "/d", "sub"), mount(data_image(t), "/f", "sub/deep"),
                                    mount(data_image(t), "/l", "alias")])
    assert box.exec("ls", "/d") == "deep"
    assert box.exec("cat", "/f") == "deep"
    assert box.exec("ls", "/l") == "deep"


@case(AREA, "in a user namespace the image's owners are its own")
def mapped(t):
    for mappings in ({}, MAPPED):  # the kubelet sets them on every mount of the pod
        box = mapped_pod(t).container(mounts=[{**mount(data_image(t)), **mappings},
                                              {**mount(data_image(t), "/d", "sub"), **mappings}])
        assert box.exec("stat", "-c", "%u:%g", "/i/top") == "11:12"
        assert box.exec("stat", "-c", "%u:%g", "/d/deep") == "0:0"


@case(AREA, "mount options hold")
def options(t):
    program = t.image("program", Image(base_layers(t)))
    box = t.pod().container(mounts=[mount(program), mount(program, "/n", mount_options=["noexec"])])
    assert box.exec("/i/bin/busybox", "echo", "runs") == "runs"
    assert box.exec_sync("sh", "-c", "/n/bin/busybox echo runs").exit_code == 126


@case(AREA, "what is missing or does not fit is refused by name")
def refusals(t):
    reference = data_image(t)
    pod = t.pod()
    pod.refused("NOT_FOUND", "no.such/image", mounts=[mount("no.such/image:1")])
    pod.refused("INVALID_ARGUMENT", "image_sub_path", mounts=[mount(reference, "/i", "not/there")])
    pod.refused("INVALID_ARGUMENT", "image_sub_path", mounts=[mount(reference, "/i", "../etc")])
    pod.refused("INVALID_ARGUMENT", "image_sub_path", mounts=[mount(reference, "/i", "out/passwd")])
    pod.refused("INVALID_ARGUMENT", "mounts[0].host_path", mounts=[mount(reference, host_path="/tmp")])
    pod.refused("INVALID_ARGUMENT", "mounts[0].image.image", mounts=[mount("")])
    pod.refused("INVALID_ARGUMENT", "mounts[0].propagation",
                mounts=[mount(reference, propagation="PROPAGATION_HOST_TO_CONTAINER")])
    assert not [m for m in Path("/proc/self/mountinfo").read_text().splitlines() if f"{t.engine.state}/containers" in m]


@case(AREA, "a sub path without an image is the kubelet's, which has resolved it in host_path")
def sub_path_of_another(t):
    folder = t.folder("volume")
    (folder / "f").write_text("whole")
    box = t.pod().container(mounts=[{"host_path": str(folder), "container_path": "/v", "image_sub_path": "sub"}])
    assert box.exec("cat", "/v/f") == "whole"


@case(AREA, "the layers stay while the container does, and go with it")
def held(t):
    reference = t.image("held", Image([Layer.of([Entry("only-here", data=b"x" * 5000)])]))
    pod = t.pod()
    box = pod.container(mounts=[mount(reference)])
    before = len(list((t.engine.root / "layers").iterdir()))
    t.cri.RemoveImage(image={"image": reference})
    assert box.exec("cat", "/i/only-here") == "x" * 5000
    assert len(list((t.engine.root / "layers").iterdir())) == before
    assert mounts_of(box)
    box.stop()
    box.remove()
    assert len(list((t.engine.root / "layers").iterdir())) == before - 1
    assert not mounts_of(box)


@case(AREA, "status tells the image and the sub path")
def status(t):
    reference = data_image(t)
    box = t.pod().container(mounts=[mount(reference, "/d", "sub")])
    found = [m for m in box.status().mounts if m.container_path == "/d"]
    assert found and found[0].image.image == reference and found[0].image_sub_path == "sub"


def declaring(t, name: str, volumes: list[str], *entries: Entry) -> str:
    return t.image(name, Image([*base_layers(t), Layer.of(list(entries))], {"Volumes": {v: {} for v in volumes}}))


@case(AREA, "a declared volume has the image's content, is writable and goes with the container")
def declared(t):
    reference = declaring(t, "declares", ["/data", "/fresh"], Entry("data", "dir", mode=0o1777, uid=5, gid=6),
                          Entry("data/f", data=b"seed", uid=7, gid=8, mode=0o640),
                          Entry("data/link", "symlink", target="/etc/passwd"))
    pod = t.pod()
    box = pod.container("sleep", "1000", image=reference, security={"readonly_rootfs": True})
    assert box.exec("cat", "/data/f") == "seed"
    assert box.exec("stat", "-c", "%u:%g %a", "/data") == "5:6 1777"
    assert box.exec("stat", "-c", "%u:%g %a", "/data/f") == "7:8 640"
    box.sh("echo x > /data/new && echo y > /fresh/new")
    mounts = box.exec("cat", "/proc/mounts")
    assert " /data " in mounts and " /fresh " in mounts
    second = pod.container("sleep", "1000", image=reference)
    assert "new" not in second.exec("ls", "/data").split(), "two containers share a declared volume"
    home = t.engine.root / "containers" / box.id
    assert (home / "volumes").is_dir()
    box.stop()
    box.remove()
    assert not home.exists()


@case(AREA, "a mount of the request takes the place of a declared volume")
def replaced(t):
    source = t.folder("mine")
    (source / "mine").write_text("")
    reference = declaring(t, "replaced", ["/data/"], directory("data"), Entry("data/f", data=b"seed"))
    box = t.pod().container("sleep", "1000", image=reference,
                            mounts=[{"host_path": str(source), "container_path": "/data"}])
    assert box.exec("ls", "/data") == "mine"


@case(AREA, "a declared volume in a user namespace keeps its owners")
def declared_mapped(t):
    reference = declaring(t, "mapped", ["/data"], Entry("data", "dir", uid=5, gid=6), Entry("data/f", data=b"s", uid=7))
    box = mapped_pod(t).container("sleep", "1000", image=reference)
    assert box.exec("stat", "-c", "%u:%g", "/data") == "5:6"
    assert box.exec("stat", "-c", "%u", "/data/f") == "7"
    box.exec("touch", "/data/new")
    assert os.stat(f"/proc/{box.pid}/root/data/new").st_uid == HOST_ID


@case(AREA, "a declared volume cannot reach the host (CVE-2022-23648)")
def traversal(t):
    secret = t.folder("secret")
    (secret / "node-secret").write_text("secret")
    # Inside the image the same path leads to a directory of its own.
    reference = declaring(t, "traversal", ["/../../../../etc", "/up"], Entry("etc", "dir"), Entry("etc/own", data=b"own"),
                          directory(str(secret)[1:]),
                          Entry("up", "symlink", target="../" * 16 + str(secret).lstrip("/")))
    box = t.pod().container("sleep", "1000", image=reference)
    assert box.exec("cat", "/etc/own") == "own"
    assert "shadow" not in box.exec("ls", "/etc").split()
    assert box.exec("ls", "/up/") == ""


@case(AREA, "a declared volume at / is refused")
def reserved(t):
    t.pod().refused("INVALID_ARGUMENT", "volume at /", "sleep", "1", image=declaring(t, "reserved", ["/.."]))
