"""Seccomp: which system calls a container may make, with the compiled filter and without."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
from pathlib import Path

from bench import case

PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SECCOMP_GET_FILTER = 16, 17, 0x420C
X86 = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]


def profile(t, **more) -> str:
    """A file that lets everything through but chmod (EXDEV), mkdir (ENOSYS) and one personality (EPERM)."""
    rules = [{"names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18},
             {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
             {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}]
    path = t.folder("seccomp") / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, **more}))
    return str(path)


def localhost(path: str) -> dict:
    return {"seccomp": {"profile_type": "Localhost", "localhost_ref": path}}


def check_denials(box) -> None:
    for command, message in ((["chmod", "700", "/"], b"Invalid cross-device link"),
                             (["mkdir", "/x"], b"Function not implemented")):
        answer = box.exec_sync(*command)
        assert answer.exit_code != 0 and message in answer.stderr, f"{command}: {answer}"
    box.exec("touch", "/y")


def filters_of(pid: int) -> list[bytes]:
    """The filters that the kernel runs for a process, newest first (ptrace(2), PTRACE_SECCOMP_GET_FILTER)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace attach")
    try:
        os.waitpid(pid, 0x40000000)  # __WALL
        found = []
        for index in range(16):
            length = libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, None)
            if length < 0:
                break
            buffer = ctypes.create_string_buffer(8 * length)
            libc.ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, ctypes.addressof(buffer))
            found.append(buffer.raw)
        return found
    finally:
        libc.ptrace(PTRACE_DETACH, pid, None, None)


def is_compiled(box) -> bool:
    return "run.oci.seccomp_bpf_data" in box.info()["runtimeSpec"].get("annotations", {})


@case("seccomp", "a profile's denials have its error numbers, in the container and in an exec")
def denials(t):
    box = t.run("sh", "-c", "mkdir /x 2>/tmp-err; sleep 1000", security=localhost(profile(t)))
    check_denials(box)
    t.wait_for("the first process's own attempt", lambda: "not implemented" in box.exec("cat", "/tmp-err"))


@case("seccomp", "the compiled filter is the one that the runtime compiles", handlers=("crun",),
      why="runc takes no compiled filter")
def same_filter(t):
    pod = t.pod()
    # An empty list of flags changes nothing but leaves the compiling to the runtime.
    cached = pod.container(security=localhost(profile(t, architectures=X86)))
    plain = pod.container(security=localhost(profile(t, architectures=X86, flags=[])))
    assert is_compiled(cached) and not is_compiled(plain)
    check_denials(cached)
    check_denials(plain)
    ours, theirs = filters_of(cached.pid), filters_of(plain.pid)
    assert ours and ours == theirs, f"{[len(f) for f in ours]} and {[len(f) for f in theirs]} bytes"


@case("seccomp", "the default profile compiled is the one that the runtime compiles", handlers=("crun",),
      why="runc takes no compiled filter")
def same_default(t):
    pod = t.pod()
    cached = pod.container(security={"seccomp": {"profile_type": "RuntimeDefault"}})
    rendered = cached.info()["runtimeSpec"]["linux"]["seccomp"]
    path = t.folder("seccomp") / "default.json"
    path.write_text(json.dumps({**rendered, "flags": []}))
    plain = pod.container(security=localhost(str(path)))
    assert is_compiled(cached) and not is_compiled(plain)
    ours, theirs = filters_of(cached.pid), filters_of(plain.pid)
    assert ours and ours == theirs, f"{[len(f) for f in ours]} and {[len(f) for f in theirs]} bytes"


# The numbers of a call for x86-64, for arm64, and for 32-bit x86 (asm/unistd.h); 0: there is none, or not looked at.
REFUSED = {"add_key": (248, 217, 286), "request_key": (249, 218, 287), "keyctl": (250, 219, 288),
           "io_uring_setup": (425, 425, 425), "io_uring_enter": (426, 426, 426), "io_uring_register": (427, 427, 427),
           "userfaultfd": (323, 282, 374), "kexec_load": (246, 104, 283), "kexec_file_load": (320, 294, 0)}
REFUSED_WITHOUT = {
    "SYS_ADMIN": {"bpf": (321, 280, 357), "perf_event_open": (298, 241, 336), "clone3": (435, 435, 435),
                  "setns": (308, 268, 346), "unshare": (272, 97, 310), "mount": (165, 40, 21), "umount2": (166, 39, 52),
                  "pivot_root": (155, 41, 217), "open_tree": (428, 428, 428), "move_mount": (429, 429, 429),
                  "fsopen": (430, 430, 430), "fsconfig": (431, 431, 431), "fsmount": (432, 432, 432),
                  "fspick": (433, 433, 433), "mount_setattr": (442, 442, 442), "fanotify_init": (300, 262, 338),
                  "quotactl": (179, 60, 131), "lookup_dcookie": (212, 18, 253)},
    "SYS_MODULE": {"init_module": (175, 105, 128), "finit_module": (313, 273, 350), "delete_module": (176, 106, 129)},
    "SYS_TIME": {"settimeofday": (164, 170, 79), "clock_settime": (227, 112, 264)},
    "SYS_BOOT": {"reboot": (169, 142, 88)},
    "SYSLOG": {"syslog": (103, 116, 103)},
    "SYS_PACCT": {"acct": (163, 89, 51)},
    "DAC_READ_SEARCH": {"open_by_handle_at": (304, 265, 342)}}
ALLOWED = {"read": (0, 63, 3), "execve": (59, 221, 11), "openat": (257, 56, 295), "futex": (202, 98, 240)}
SOCKET, CLONE = (41, 198, 359), (56, 220, 120)
AUDIT_ARCHES = (0xC000003E, 0xC00000B7, 0x40000003)
X32 = 0x40000000


def verdict(filters: list[bytes], number: int, audit_arch: int, arguments: tuple[int, ...] = ()) -> str:
    """What the kernel answers a call with these filters (bpf(4) and seccomp(2)): "allow", "EPERM", ..."""
    data = struct.pack("=IIQ6Q", number, audit_arch, 0, *arguments, *[0] * (6 - len(arguments)))

    def run(program: bytes) -> int:
        steps = list(struct.iter_unpack("=HBBI", program))
        at = accumulator = 0
        while True:
            code, yes, no, k = steps[at]
            at += 1
            if code == 0x20:                                  # LD W ABS
                accumulator = struct.unpack_from("=I", data, k)[0]
            elif code == 0x54:                                # ALU AND K
                accumulator &= k
            elif code == 0x05:                                # JA
                at += k
            elif code in (0x15, 0x25, 0x35, 0x45):            # JEQ, JGT, JGE, JSET K
                jumps = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k, 0x45: accumulator & k}
                at += yes if jumps[code] else no
            else:
                assert code == 0x06, f"unknown instruction {code:#x}"  # RET K
                return k

    # The strictest of several wins; allowing is the largest number.
    action = min(run(program) for program in filters)
    if action == 0x7FFF0000:
        return "allow"
    return os.strerror(action & 0xFFFF) if action >> 16 == 5 else f"{action:#x}"


def table_of_machine(table: dict) -> list[tuple[str, int, int]]:
    """(name, number, architecture) for the machine's own calls and those of the others that it runs."""
    arm = platform.machine() == "aarch64"
    rows = []
    for name, numbers in table.items():
        if arm:
            rows.append((name, numbers[1], AUDIT_ARCHES[1]))
            continue
        rows += [(name, numbers[0], AUDIT_ARCHES[0]), (f"{name} (x32)", numbers[0] | X32, AUDIT_ARCHES[0])]
        if numbers[2]:
            rows.append((f"{name} (i386)", numbers[2], AUDIT_ARCHES[2]))
    return rows


@case("seccomp", "RuntimeDefault refuses what the kernel is attacked through: keys, rings, namespaces, mounts, AF_ALG")
def golden(t):
    pod = t.pod()
    default = {"seccomp": {"profile_type": "RuntimeDefault"}}
    box = pod.container(security=default)
    filters = filters_of(box.pid)
    assert filters
    refused = (os.strerror(1), os.strerror(38))
    everything = {**REFUSED, **{name: n for group in REFUSED_WITHOUT.values() for name, n in group.items()}}
    for name, number, arch in table_of_machine(everything):
        assert verdict(filters, number, arch) in refused, f"{name}: {verdict(filters, number, arch)}"
    for name, number, arch in table_of_machine(ALLOWED):
        if "x32" not in name:
            assert verdict(filters, number, arch) == "allow", name
    # Every family of sockets but the kernel's ciphers and the hypervisor's, whatever the register's upper half says.
    for name, number, arch in table_of_machine({"socket": SOCKET}):
        if "x32" in name or "i386" in name:
            continue
        for family in range(46):
            for upper in (0, 1 << 32, 0xFFFFFFFF << 32):
                have = verdict(filters, number, arch, (family | upper, 1))
                assert (have == "allow") == (family not in (38, 40)), f"{name} of family {family | upper:#x}: {have}"
    for name, number, arch in table_of_machine({"clone": CLONE}):
        if "x32" in name:
            continue
        assert verdict(filters, number, arch, (0x3D0F00,)) == "allow", "a thread"
        for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
            assert verdict(filters, number, arch, (flag | 17,)) in refused, f"{name} with namespace {flag:#x}"
    assert box.exec_sync("unshare", "-r", "true").exit_code != 0 and box.sh("(true); echo lives") == "lives"
    # A capability brings the calls that it is for, and no other.
    for capability, brought in REFUSED_WITHOUT.items():
        strong = pod.container(security={**default, "capabilities": {"add_capabilities": [capability]}})
        filters = filters_of(strong.pid)
        for name, number, arch in table_of_machine(everything):
            if "(" in name:
                continue
            # CAP_SYS_ADMIN is what CAP_SYSLOG was split from.
            may = name in brought or (name, capability) == ("syslog", "SYS_ADMIN")
            have = verdict(filters, number, arch)
            assert (have == "allow") == may, f"{name} with CAP_{capability}: {have}"


@case("seccomp", "an administrator's default profile is taken as it is",
      config='[runtime]\nseccomp_profile = "/usr/share/containers/seccomp.json"\n')
def own_default(t):
    # Podman's, named by hand.
    if '"keyctl"' not in Path("/usr/share/containers/seccomp.json").read_text():
        t.skip("this version of containers-common refuses keyctl itself")
    box = t.run(security={"seccomp": {"profile_type": "RuntimeDefault"}})
    filters = filters_of(box.pid)
    for name, number, arch in table_of_machine({"keyctl": REFUSED["keyctl"], "socket": SOCKET}):
        if "(" not in name:
            assert verdict(filters, number, arch, (38,)) == "allow", name


@case("seccomp", "profiles with flags go to the runtime and still deny", handlers=("crun",), why="runc 1.1 refuses flags")
def flags(t):
    box = t.run(security=localhost(profile(t, flags=["SECCOMP_FILTER_FLAG_LOG"])))
    assert not is_compiled(box)
    check_denials(box)


@case("seccomp", "the deprecated field, and the typed one wins over it")
def deprecated(t):
    pod = t.pod()
    path = profile(t)
    check_denials(pod.container(security={"seccomp_profile_path": f"localhost/{path}"}))
    for word in ("runtime/default", "docker/default"):
        assert pod.container(security={"seccomp_profile_path": word}).proc_status("Seccomp") == "2", word
    assert pod.container(security={"seccomp_profile_path": "unconfined"}).proc_status("Seccomp") == "0"
    both = {"seccomp_profile_path": f"localhost/{path}", "seccomp": {"profile_type": "Unconfined"}}
    assert pod.container(security=both).proc_status("Seccomp") == "0"
    pod.refused("INVALID_ARGUMENT", "seccomp_profile_path", security={"seccomp_profile_path": "nonsense"})


@case("seccomp", "a profile that is not there or is none is refused by its path")
def refused(t):
    pod = t.pod()
    pod.refused("INVALID_ARGUMENT", "/not/there.json", security=localhost("/not/there.json"))
    pod.refused("INVALID_ARGUMENT", "localhost_ref", security=localhost("relative.json"))
    broken = t.folder("seccomp") / "broken.json"
    broken.write_text("{")
    pod.refused("INVALID_ARGUMENT", str(broken), security=localhost(str(broken)))


@case("seccomp", "privileged has no filter")
def privileged(t):
    security = {"privileged": True}
    box = t.pod(security=security).container(security={**security, **localhost(profile(t))})
    assert box.proc_status("Seccomp") == "0"
