"""Seccomp: which system calls a container may make, with the compiled filter and without."""

from __future__ import annotations

import ctypes
import json
import os

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
