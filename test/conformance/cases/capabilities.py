"""Capabilities: the five sets of the first process and of a command in it, against a golden matrix."""

from pathlib import Path

from bench import case

# linux/capability.h
NAMES = ("CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
         "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
         "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
         "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE").split()
DEFAULT = set("AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP "
              "SETUID SYS_CHROOT".split())
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
# (inheritable, permitted, effective, bounding, ambient)
Five = tuple[set[str], set[str], set[str], set[str], set[str]]


def decode(mask: str) -> set[str]:
    bits = int(mask, 16)
    return {NAMES[i] if i < len(NAMES) else str(i) for i in range(64) if bits >> i & 1}


def node() -> set[str]:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return decode(line.split()[1])
    raise AssertionError("no CapBnd")


def five(text: str) -> Five:
    seen = dict(line.split(":\t", 1) for line in text.splitlines() if line.startswith("Cap"))
    return tuple(decode(seen[name]) for name in SETS)  # type: ignore[return-value]


def root(held: set[str], ambient: set[str] = frozenset()) -> Five:
    return set(ambient), set(held), set(held), set(held), set(ambient)


def user(held: set[str], ambient: set[str] = frozenset()) -> Five:
    """Of another uid exec clears permitted and effective, except what is ambient (capabilities(7))."""
    return set(ambient), set(ambient), set(ambient), set(held), set(ambient)


def check(t, pod, capabilities: dict, want: Five, uid: int = 0, privileged: bool = False) -> None:
    box = pod.container(security={"capabilities": capabilities, "run_as_user": {"value": uid}, "privileged": privileged})
    for what, text in (("process", box.proc("status")), ("exec", box.exec("cat", "/proc/self/status"))):
        for name, have, wanted in zip(SETS, five(text), want):
            assert have == wanted, (f"{capabilities} uid {uid}, {what}: {name} has {sorted(have - wanted)} too many and "
                                    f"lacks {sorted(wanted - have)}")
    box.remove()


@case("capabilities", "add, drop and ALL: the golden matrix for root")
def matrix(t):
    pod, all_of_node, default = t.pod(), node(), DEFAULT & node()
    for capabilities, held in (
            ({}, default),
            ({"add_capabilities": ["NET_ADMIN"]}, default | {"NET_ADMIN"}),
            ({"add_capabilities": ["CAP_NET_ADMIN", "cap_sys_time"]}, default | {"NET_ADMIN", "SYS_TIME"}),
            ({"drop_capabilities": ["NET_RAW", "CAP_CHOWN"]}, default - {"NET_RAW", "CHOWN"}),
            ({"add_capabilities": ["ALL"]}, all_of_node),
            ({"add_capabilities": ["ALL"], "drop_capabilities": ["NET_RAW"]}, all_of_node - {"NET_RAW"}),
            ({"drop_capabilities": ["ALL"]}, set()),
            ({"add_capabilities": ["CHOWN"], "drop_capabilities": ["ALL"]}, {"CHOWN"}),
            ({"add_capabilities": ["NET_RAW"], "drop_capabilities": ["NET_RAW"]}, default - {"NET_RAW"})):
        check(t, pod, capabilities, root(held))


@case("capabilities", "another user than root: bounding set only, nothing inheritable or ambient")
def of_user(t):
    pod, default = t.pod(), DEFAULT & node()
    check(t, pod, {}, user(default), uid=1000)
    check(t, pod, {"add_capabilities": ["NET_ADMIN"]}, user(default | {"NET_ADMIN"}), uid=1000)
    check(t, pod, {"add_capabilities": ["ALL"]}, user(node()), uid=1000)
    check(t, pod, {"drop_capabilities": ["ALL"]}, user(set()), uid=1000)


@case("capabilities", "ambient ones only when asked for, and only of those that are held (KEP-2763)")
def ambient(t):
    pod, default = t.pod(), DEFAULT & node()
    asked = {"add_ambient_capabilities": ["NET_BIND_SERVICE"]}
    check(t, pod, asked, user(default, {"NET_BIND_SERVICE"}), uid=1000)
    pod.refused("INVALID_ARGUMENT", "SYS_TIME",
                security={"capabilities": {"add_ambient_capabilities": ["SYS_TIME"]}})


@case("capabilities", "privileged: all that the node has, and no more")
def privileged(t):
    pod = t.pod(security={"privileged": True})
    check(t, pod, {}, root(node()), privileged=True)


@case("capabilities", "what is not there is refused by name; so is what the node lacks")
def refused(t):
    pod = t.pod()
    for field in ("add_capabilities", "drop_capabilities", "add_ambient_capabilities"):
        pod.refused("INVALID_ARGUMENT", "NO_SUCH", security={"capabilities": {field: ["NO_SUCH"]}})
    lacks = [name for name in NAMES if name not in node()]
    if not lacks:
        t.skip("this node lacks no capability")
    pod.refused("FAILED_PRECONDITION", lacks[0], security={"capabilities": {"add_capabilities": [lacks[0]]}})


@case("capabilities", "the effect: without NET_ADMIN no interface, without CHOWN no owner")
def effect(t):
    pod = t.pod()
    plain = pod.container()
    assert plain.exec_sync("ip", "link", "add", "dummy0", "type", "dummy").exit_code != 0
    plain.sh("touch /tmp/x && chown 5:5 /tmp/x")
    box = pod.container(security={"capabilities": {"drop_capabilities": ["CHOWN"]}})
    answer = box.exec_sync("sh", "-c", "touch /tmp/x && chown 5:5 /tmp/x")
    assert answer.exit_code != 0 and b"not permitted" in answer.stderr, answer
