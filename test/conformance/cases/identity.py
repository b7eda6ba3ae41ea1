"""Users and groups: what the kernel says of the process, of a command in it, and of what the status claims."""

import images
from bench import case
from busybox import busybox
from oci_image import Entry, Layer

PASSWD = images.PASSWD + "ann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:3000::/home/bob:/bin/sh\n"
GROUP = images.GROUP + "ann:x:1000:\none:x:5001:ann,bob\ntwo:x:5002:ann\nother:x:5003:nobody\n"


def users_image(t, user: str = "", name: str = "users") -> str:
    layer = Layer.of([*images.base_entries(busybox()), Entry("etc/passwd", data=PASSWD.encode()),
                      Entry("etc/group", data=GROUP.encode())])
    return t.image(name, images.shell_image(layer, **({"User": user} if user else {})), tag=user.replace(":", ".") or "1")


def ids(box) -> tuple[int, int, set[int]]:
    """uid, gid and all groups of the first process; the same of a command and of the status, or it fails."""
    uid, gid = int(box.proc_status("Uid").split()[0]), int(box.proc_status("Gid").split()[0])
    assert box.proc_status("Uid").split() == [str(uid)] * 4 and box.proc_status("Gid").split() == [str(gid)] * 4
    groups = {int(word) for word in box.proc_status("Groups").split()} | {gid}
    assert int(box.exec("id", "-u")) == uid and int(box.exec("id", "-g")) == gid
    assert {int(word) for word in box.exec("id", "-G").split()} == groups
    claimed = box.status().user.linux
    assert (claimed.uid, claimed.gid, set(claimed.supplemental_groups) | {gid}) == (uid, gid, groups), claimed
    return uid, gid, groups


@case("identity", "run_as_user, run_as_group and run_as_username against the image's files")
def run_as(t):
    image = users_image(t)
    pod = t.pod()
    number = lambda n: {"value": n}  # noqa: E731
    for security, want in (
            ({}, (0, 0, {0})),
            ({"run_as_user": number(1000)}, (1000, 1000, {1000, 5001, 5002})),
            ({"run_as_user": number(1001)}, (1001, 3000, {3000, 5001})),
            ({"run_as_user": number(4242)}, (4242, 0, {0})),
            ({"run_as_user": number(1000), "run_as_group": number(7)}, (1000, 7, {7, 5001, 5002})),
            ({"run_as_username": "ann"}, (1000, 1000, {1000, 5001, 5002})),
            ({"run_as_username": "ann", "run_as_group": number(0)}, (1000, 0, {0, 5001, 5002})),
            ({"run_as_user": number(0)}, (0, 0, {0}))):
        box = pod.container(image=image, security=security)
        assert ids(box) == want, f"{security}: {ids(box)}"
        box.remove()
    t.pod().refused("INVALID_ARGUMENT", "run_as_group", security={"run_as_group": number(5)})


@case("identity", "the image's user: number, name, with group, and the request over it")
def image_user(t):
    for user, want in (("1000", (1000, 1000, {1000, 5001, 5002})), ("ann", (1000, 1000, {1000, 5001, 5002})),
                       ("ann:two", (1000, 5002, {5001, 5002})), ("ann:77", (1000, 77, {77, 5001, 5002})),
                       ("4242:4343", (4242, 4343, {4343}))):
        box = t.run("sleep", "1000", image=users_image(t, user))
        assert ids(box) == want, f"{user}: {ids(box)}"
    box = t.run("sleep", "1000", image=users_image(t, "ann:two"), security={"run_as_user": {"value": 1001}})
    assert ids(box) == (1001, 3000, {3000, 5001})


@case("identity", "supplemental_groups: Merge adds the image's, Strict does not; the primary group is in both")
def groups(t):
    image = users_image(t)
    pod = t.pod()
    base = {"run_as_user": {"value": 1000}}
    for more, want in (({}, {1000, 5001, 5002}),
                       ({"supplemental_groups": [60, 70]}, {60, 70, 1000, 5001, 5002}),
                       ({"supplemental_groups_policy": "Strict"}, {1000}),
                       ({"supplemental_groups": [60, 70], "supplemental_groups_policy": "Strict"}, {60, 70, 1000}),
                       ({"supplemental_groups": [5002], "supplemental_groups_policy": "Strict"}, {5002, 1000})):
        box = pod.container(image=image, security={**base, **more})
        assert ids(box) == (1000, 1000, want), f"{more}: {ids(box)}"
        # By the kernel's list, which a negative group permission goes by (CVE-2022-2995).
        assert {int(w) for w in box.proc_status("Groups").split()} == want, box.proc_status("Groups")
        box.remove()


@case("identity", "HOME is the user's of the image's files, unless somebody gives one")
def home(t):
    image = users_image(t)
    pod = t.pod()
    for security, want in (({}, "/root"), ({"run_as_user": {"value": 1000}}, "/home/ann"),
                           ({"run_as_user": {"value": 4242}}, "/")):
        assert pod.ends("printenv", "HOME", image=image, security=security) == (0, f"{want}\n"), security
    assert pod.ends("printenv", "HOME", image=image, envs=[{"key": "HOME", "value": b"/given"}]) == (0, "/given\n")


@case("identity", "readonly_rootfs: nothing of the root can be written, volumes and /dev/shm can")
def readonly_rootfs(t):
    folder = t.folder("rw")
    box = t.run("sleep", "1000", security={"readonly_rootfs": True},
                mounts=[{"container_path": "/data", "host_path": str(folder)}])
    for place in ("/x", "/etc/x", "/root/x", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"):
        answer = box.exec_sync("sh", "-c", f"echo x >> {place}")
        assert answer.exit_code != 0 and b"Read-only" in answer.stderr, f"{place}: {answer}"
    box.sh("echo x > /data/x; echo x > /dev/shm/x")
    assert (folder / "x").read_text() == "x\n"
    plain = t.run()
    plain.sh("echo x > /x; echo x >> /etc/hosts")


@case("identity", "no_new_privs: the kernel's flag, and a set-uid program stays what it was")
def no_new_privs(t):
    from davit_test.stage import BUSYBOX
    image = "registry.k8s.io/e2e-test-images/nonewprivs:1.3"
    t.cri.PullImage(image={"image": image})
    assert BUSYBOX
    pod = t.pod()
    for flag, want in ((True, "1000"), (False, "0")):
        code, text = pod.ends("/nnp", image=image, security={"no_new_privs": flag, "run_as_user": {"value": 1000}})
        assert (code, text) == (0, f"Effective uid: {want}\n"), (flag, code, text)
        box = pod.container(security={"no_new_privs": flag})
        assert box.proc_status("NoNewPrivs") == str(int(flag))


@case("identity", "a user without a line in the image can look itself up; /etc/mtab is there")
def looked_up(t):
    pod = t.pod()
    box = pod.container(security={"run_as_user": {"value": 12345}, "run_as_group": {"value": 23456}})
    assert box.exec("whoami") == "12345" and "23456" in box.exec("id", "-gn")
    assert box.exec("readlink", "/etc/mtab") == "/proc/mounts" and "overlay" in box.exec("cat", "/etc/mtab")
    # The image itself, and so every other container, is as it was.
    assert "12345" not in pod.container().exec("cat", "/etc/passwd")
