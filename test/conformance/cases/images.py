"""Images: one identity everywhere, what the fields say, and the file system's numbers."""

import os
import subprocess
import time

import images as catalogue
from bench import case
from busybox import busybox
from davit_test.stage import BUSYBOX
from oci_image import Entry, Image, Layer, digest_of

MIB = 1 << 20


def named(t, reference: str):
    return t.cri.ImageStatus(image={"image": reference}).image


@case("images", "image_ref is the repository's digest and image_id the id, by whatever name the image is asked for")
def identity(t):
    pulled = t.cri.PullImage(image={"image": BUSYBOX}).image_ref
    image = named(t, BUSYBOX)
    assert image.id == pulled and image.id.startswith("sha256:") and len(image.id) == 71
    [digest] = image.repo_digests
    pod = t.pod()
    for name in (BUSYBOX, image.id, digest, image.id.removeprefix("sha256:")):
        assert named(t, name) == image, name
        box = pod.container(image=name, linux={})
        [listed] = t.cri.ListContainers(filter={"id": box.id}).containers
        status = box.status()
        assert status.image_id == listed.image_id == image.id
        assert status.image_ref == listed.image_ref == digest, status
        shown = name if name in (BUSYBOX, digest) else image.repo_tags[0]
        assert status.image.image == shown == listed.image.image, status
        assert [i.id for i in t.cri.ListImages(filter={"image": {"image": name}}).images] == [image.id]
        box.remove()


@case("images", "each looks as if alone on the node: what a layer does not name belongs to the layers below")
def alone(t):
    base = [entry for entry in catalogue.base_entries(busybox()) if entry.path.rstrip("/") != "etc"]
    conf = Layer.of([Entry("etc/app.conf", data=b"x")])  # no entry for etc/
    link = Layer.of([Entry("h", "hardlink", target="etc/app.conf")])  # into the layer below
    nothing = Layer.of([Entry("nope/.wh.z"), Entry("nope/none/.wh..wh..opq"), Entry("own", "dir"), Entry("own/.wh.z")])
    for name, mode, owner in (("open", 0o777, 1000), ("closed", 0o755, 0)):
        below = Layer.of([Entry(".", "dir", mode=0o551), *base, Entry("etc", "dir", mode=mode, uid=owner, gid=owner)])
        box = t.run("sleep", "1000", image=t.image(f"alone-{name}", catalogue.shell_image(below, conf, nothing, link)))
        assert box.exec("stat", "-c", "%a %u %g", "/etc").split() == [f"{mode:o}", str(owner), str(owner)], name
        assert box.exec("stat", "-c", "%a", "/").strip() == "551"
        assert box.exec("sh", "-c", "ls -A /nope /nope/none /own 2>&1").split() == ["/nope:", "none", "/nope/none:", "/own:"]
        h, conf_file = (box.exec("stat", "-c", "%i %h", path).split() for path in ("/h", "/etc/app.conf"))
        assert h == conf_file and h[1] == "2", (h, conf_file)
        assert box.exec("cat", "/h").strip() == "x"


@case("images", "user_specified_image and annotations of the image come back in the status")
def specified(t):
    image = named(t, BUSYBOX)
    pod = t.pod()
    config = pod.container_config("true", image=image.id)
    config.image.user_specified_image = BUSYBOX
    config.image.annotations["k"] = "v"
    answer = t.cri.CreateContainer(pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)
    shown = t.cri.ContainerStatus(container_id=answer.container_id).status.image
    assert shown.image == shown.user_specified_image == BUSYBOX and shown.annotations["k"] == "v"


@case("images", "size, uid and username are the image's; tags and digests are complete")
def fields(t):
    layer = Layer.of([*catalogue.base_entries(busybox()), Entry("blob", data=os.urandom(3 * MIB))])
    for user, uid, username in (("1002:5", 1002, ""), ("0", 0, ""), ("web:5", None, "web"), ("", None, "")):
        reference = t.image("fields", catalogue.shell_image(layer, User=user), tag=f"u{user.replace(':', '.')}")
        image = named(t, reference)
        assert image.username == username and image.HasField("uid") == (uid is not None), image
        assert not image.HasField("uid") or image.uid.value == uid
        assert image.repo_tags == [reference] and len(image.repo_digests) == 1
        assert image.repo_digests[0].startswith(reference.rsplit(":", 1)[0] + "@sha256:")
        assert 3 * MIB < image.size < 40 * MIB, image.size
        assert not image.pinned and image.spec.image == image.id
        t.cri.RemoveImage(image={"image": reference})
    assert not t.cri.ImageStatus(image={"image": "registry.k8s.io/conformance/fields:u0"}).HasField("image")


@case("images", "ImageStatus verbose tells the configuration")
def verbose(t):
    import json
    reference = t.image("verbose", catalogue.shell_image(Layer.of(catalogue.base_entries(busybox())), Entrypoint=["/e"],
                                                         Cmd=["c"], Env=["A=b"], User="7", WorkingDir="/w"))
    info = json.loads(t.cri.ImageStatus(image={"image": reference}, verbose=True).info["info"])
    assert (info["entrypoint"], info["cmd"], info["user"], info["workingDir"]) == (["/e"], ["c"], "7", "/w"), info
    assert "A=b" in info["env"] and info["architecture"] == "amd64"
    assert not t.cri.ImageStatus(image={"image": reference}).info


@case("images", "a removed image that a container uses stays on disk for it, and is no longer listed")
def removal_in_use(t):
    layer = Layer.of([*catalogue.base_entries(busybox()), Entry("kept", data=b"kept\n")])
    reference = t.image("in-use", catalogue.shell_image(layer))
    box = t.run("sleep", "1000", image=reference)
    t.cri.RemoveImage(image={"image": reference})
    assert not t.cri.ImageStatus(image={"image": reference}).HasField("image")
    assert box.exec("cat", "/kept") == "kept"
    t.cri.RemoveImage(image={"image": reference})  # again: no error
    box.pod.refused("NOT_FOUND", "in-use", image=reference)


@case("images", "ImageFsInfo counts as du does: up by a pulled image, down by a removed one, and the containers'")
def filesystem(t):
    def info():
        answer = t.cri.ImageFsInfo()
        [images], [containers] = answer.image_filesystems, answer.container_filesystems
        assert images.fs_id.mountpoint == containers.fs_id.mountpoint == str(t.engine.root)
        assert abs(images.timestamp - time.time_ns()) < 300e9
        return images.used_bytes.value, images.inodes_used.value

    def disk() -> tuple[int, int]:
        used = subprocess.run(["du", "-xs", "--exclude=davit.db*", "--block-size=1", str(t.engine.root)], capture_output=True, text=True)
        nodes = subprocess.run(["du", "-xs", "--exclude=davit.db*", "--inodes", str(t.engine.root)], capture_output=True, text=True)
        return int(used.stdout.split()[0]), int(nodes.stdout.split()[0])

    layer = Layer.of([*[Entry(f"f{i}", data=os.urandom(MIB // 4)) for i in range(40)]])
    before, inodes = info()
    reference = t.image("sized", Image([layer], {"Cmd": ["/x"]}, platforms=("amd64",)))
    t.wait_for("the new image is counted", lambda: 9 * MIB < info()[0] - before < 12 * MIB and info()[1] - inodes >= 40,
               60)

    def agrees() -> bool:
        (used, nodes), (real, real_nodes) = info(), disk()
        shown.append(f"ImageFsInfo {used} bytes and {nodes} inodes, du {real} and {real_nodes}")
        # Directories of the store itself belong to neither images nor containers.
        return abs(used - real) < MIB + real // 20 and abs(nodes - real_nodes) < 100 + real_nodes // 20

    shown: list[str] = []
    try:
        # What other cases removed is deleted at leisure.
        t.wait_for("it agrees with du", agrees, 30)
    except Exception as error:
        raise AssertionError(f"{error}: {shown[-1]}") from None
    t.cri.RemoveImage(image={"image": reference})
    t.wait_for("the removed image is no longer counted", lambda: info()[0] < before + MIB, 60)


@case("images", "ListImages filter: a name, an id, a digest, and what is not there")
def filters(t):
    everything = t.cri.ListImages().images
    assert everything and len({i.id for i in everything}) == len(everything)
    image = named(t, BUSYBOX)
    assert t.cri.ListImages(filter={"image": {"image": BUSYBOX}}).images[0] == image
    assert not t.cri.ListImages(filter={"image": {"image": "registry.k8s.io/none:1"}}).images
    assert not t.cri.ListImages(filter={"image": {"image": digest_of(b"none")}}).images


@case("images", "an image is a reference, never a file: no path of the host is looked at")
def not_a_path(t):
    archive = t.folder("archive") / "image.tar"
    archive.write_bytes(b"not an image")
    for name in ("/etc/passwd", str(archive), f"file://{archive}", f"oci-archive:{archive}", "../../etc/passwd"):
        error = t.pod().refused(("NOT_FOUND", "INVALID_ARGUMENT"), "", image=name)
        assert "not an image" not in error.details and "root:" not in error.details, error
        t.cri.refused("PullImage", ("NOT_FOUND", "INVALID_ARGUMENT"), image={"image": name})


@case("images", "image.pinned of the configuration marks what the kubelet must not collect",
      config='[image]\npinned = ["registry.k8s.io/e2e-test-images/*"]\n')
def pinned(t):
    t.cri.PullImage(image={"image": BUSYBOX})
    other = t.image("not-pinned", catalogue.shell_image(Layer.of(catalogue.base_entries(busybox())), Cmd=["other"]))
    assert named(t, BUSYBOX).pinned and not named(t, other).pinned
    assert {i.pinned for i in t.cri.ListImages().images if i.id == named(t, BUSYBOX).id} == {True}


@case("images", "PullImage: the pod it is for changes nothing; a second pull is the same image")
def pull(t):
    from davit_test.grpc_client import pod_config
    layer = Layer.of([*catalogue.base_entries(busybox()), Entry("once", data=b"1")])
    reference = t.image("pulled", catalogue.shell_image(layer))
    image = named(t, reference)
    for fields in ({"sandbox_config": pod_config("p")}, {"auth": {"username": "u", "password": "not needed"}}, {}):
        assert t.cri.PullImage(image={"image": reference}, **fields).image_ref == image.id
    assert named(t, reference) == image and t.run("cat", "/once", image=reference)
