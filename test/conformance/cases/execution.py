"""ExecSync, Exec, Attach, PortForward and the log calls."""

import http.client
import os
import re
import threading
import urllib.parse
from pathlib import Path

from bench import case, has_cgroup2
from davit_test.grpc_client import CallFailed

CAP = 16 << 20


def open_files(t) -> int:
    return len(os.listdir(f"/proc/{t.engine.pid}/fd"))


def resident(t) -> int:
    for line in Path(f"/proc/{t.engine.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


@case("exec", "ExecSync: streams apart, bytes as they are, the exit code and that of a signal")
def sync(t):
    box = t.run()
    answer = box.exec_sync("sh", "-c", r"printf 'o\0\377'; printf 'e\n' >&2; exit 42")
    assert answer.stdout == b"o\0\xff" and answer.stderr == b"e\n" and answer.exit_code == 42, answer
    assert box.exec_sync("sh", "-c", "kill -9 $$").exit_code == 137
    assert box.exec_sync("echo", "$HOME", "a  b").stdout == b"$HOME a  b\n", "a shell came between"
    t.cri.refused("ExecSync", "INVALID_ARGUMENT", "no-such-program", container_id=box.id, cmd=["no-such-program"])
    t.cri.refused("ExecSync", "INVALID_ARGUMENT", "command", container_id=box.id, cmd=["/etc/passwd"])


@case("exec", "ExecSync: user, groups, capabilities, environment and limits are the container's")
def inherits(t):
    box = t.run("sleep", "1000", security={"run_as_user": {"value": 1234}, "run_as_group": {"value": 2345},
                                           "supplemental_groups": [77], "no_new_privs": True,
                                           "capabilities": {"drop_capabilities": ["ALL"]}},
                envs=[{"key": "FROM", "value": b"request"}])
    status = box.exec("cat", "/proc/self/status")
    seen = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert seen["Uid"].split() == ["1234"] * 4 and seen["Gid"].split() == ["2345"] * 4, status
    assert set(seen["Groups"].split()) == {"77", "2345"} and seen["NoNewPrivs"] == "1", status
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(seen[name], 16) == 0, f"{name} {seen[name]}"
    assert box.exec("printenv", "FROM") == "request"
    # The command runs in the container's cgroup, which its own namespace shows as "/" on version 2.
    assert ("0::/" if has_cgroup2() else box.info()["cgroup"]) in box.sh("cat /proc/self/cgroup")


@case("exec", "ExecSync timeout: the command and its children are gone when the call returns")
def timeout(t):
    box = t.run()
    t.cri.refused("ExecSync", "DEADLINE_EXCEEDED", "timed out", container_id=box.id, timeout=1,
                  cmd=["sh", "-c", "sleep 4321 & sleep 4321"])
    assert "4321" not in box.exec("ps", "-o", "args").replace("ps -o args", "")


@case("exec", "ExecSync timeout 0 has no limit of its own")
def no_timeout(t):
    assert t.run().exec_sync("sh", "-c", "sleep 2; echo late", timeout=0).stdout == b"late\n"


@case("exec", "ExecSync: what is written past 16 MiB is dropped, in bounded memory, and the command goes on")
def cap(t):
    box = t.run()
    box.exec("true")
    before = resident(t)
    # A pipe's worth below what one message may have, with both streams full.
    script = "head -c 1000000 /dev/zero >&2; head -c 400000000 /dev/zero; exit 7"
    answer = box.exec_sync("sh", "-c", script, timeout=60)
    assert answer.exit_code == 7 and 15 << 20 <= len(answer.stdout) + len(answer.stderr) <= CAP, \
        (answer.exit_code, len(answer.stdout), len(answer.stderr))
    grown = resident(t) - before
    # The answer exists a few times at once for a moment; 400 MB kept would be far above.
    assert grown < 128 << 20, f"the engine grew by {grown >> 20} MiB"


@case("exec", "ExecSync returns though a grandchild holds its output, and keeps no descriptor")
def grandchild(t):
    box = t.run()
    box.exec("true")
    before = open_files(t)
    for _ in range(20):
        # It would time out if the grandchild were waited for.
        assert box.exec_sync("sh", "-c", "sleep 1000 & echo out").stdout == b"out\n"
    t.wait_for("the descriptors close", lambda: open_files(t) <= before + 2)


@case("exec", "ExecSync, Exec and Attach say that a container does not run")
def not_running(t):
    box = t.pod().create("true")
    for call in ("ExecSync", "Exec"):
        t.cri.refused(call, "FAILED_PRECONDITION", "not running", container_id=box.id, cmd=["true"],
                      **({"stdout": True} if call == "Exec" else {}))
    box.start().wait_exit()
    t.cri.refused("Attach", "FAILED_PRECONDITION", "not running", container_id=box.id, stdout=True)
    t.cri.refused("ExecSync", "FAILED_PRECONDITION", "not running", container_id=box.id, cmd=["true"])


def upgrade(url: str) -> int:
    """Asks for a WebSocket session and leaves; gives the HTTP status."""
    parts = urllib.parse.urlparse(url)
    link = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    protocol = "SPDY/3.1+portforward.k8s.io" if "portforward" in parts.path else "v5.channel.k8s.io"
    link.request("GET", parts.path, headers={
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": protocol})
    status = link.getresponse().status
    link.close()
    return status


def listeners(port: int) -> set[str]:
    """The addresses on which anybody listens at this port, as the kernel writes them."""
    lines = [line.split() for f in ("tcp", "tcp6") for line in Path(f"/proc/net/{f}").read_text().splitlines()[1:]]
    return {line[1].split(":")[0] for line in lines if line[3] == "0A" and int(line[1].split(":")[1], 16) == port}


@case("exec", "Exec, Attach and PortForward give addresses on loopback that are good once")
def addresses(t):
    pod = t.pod()
    box = pod.container()
    urls = [t.cri.Exec(container_id=box.id, cmd=["true"], stdout=True).url,
            t.cri.Attach(container_id=box.id, stdout=True).url,
            t.cri.PortForward(pod_sandbox_id=pod.id, port=[80]).url]
    tokens = set()
    for url in urls:
        parts = urllib.parse.urlparse(url)
        assert parts.scheme == "http" and parts.hostname == "127.0.0.1", url
        token = parts.path.rsplit("/", 1)[1]
        assert re.fullmatch("[0-9a-f]{40}", token), f"{token} is not 160 bits"
        tokens.add(token)
        assert listeners(parts.port) == {"0100007F"}, "it listens elsewhere than on 127.0.0.1"
        assert [upgrade(url), upgrade(url)] == [101, 404], url
        assert upgrade(url.replace(token, "0" * len(token))) == 404
    assert len(tokens) == 3


@case("exec", "Exec streams through the davit command: output, exit code, input")
def streaming(t):
    import subprocess
    box = t.run()
    base = [str(t.engine.bin_dir / "davit"), "--connect", str(t.engine.socket), "ctr", "exec"]
    done = subprocess.run([*base, "-i", box.id, "sh", "-c", "cat; echo err >&2; exit 6"], input=b"typed\n",
                          capture_output=True, timeout=30)
    assert done.returncode == 6 and done.stdout == b"typed\n" and b"err" in done.stderr, done


@case("exec", "PortForward reaches a port of the pod that listens on its loopback")
def port_forward(t):
    import re
    import socket
    import subprocess
    pod = t.pod()
    pod.container("tcpsvd", "127.0.0.1", "8081", "echo", "inside")
    forward = subprocess.Popen([str(t.engine.bin_dir / "davit"), "--connect", str(t.engine.socket), "port-forward",
                                pod.id, ":8081"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        line = forward.stdout.readline().decode()
        port = int(re.search(r"127\.0\.0\.1:(\d+)", line).group(1))

        def says() -> bool:
            with socket.create_connection(("127.0.0.1", port), 5) as link:
                return link.recv(100) == b"inside\n"

        t.wait_for("the forwarded port answers", says)
    finally:
        forward.terminate()
        forward.wait()


@case("exec", "ReopenContainerLog: a new file at once, nothing lost; refused when the container does not run")
def reopen(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 1000")
    path = Path(box.status().log_path)
    rotated = []
    for number in range(3):
        rotated.append(path.with_suffix(f".{number}"))
        path.rename(rotated[-1])
        t.cri.ReopenContainerLog(container_id=box.id)
        assert path.exists(), "no new file when the call returned"

    def lines() -> list[str]:
        text = "".join(p.read_text() for p in [*rotated, path])
        return [line.split(" F ", 1)[1] for line in text.splitlines()]

    t.wait_for("every line arrives", lambda: len(lines()) >= 3000)
    assert lines() == [f"line {i}" for i in range(3000)], "lines lost or out of order"
    box.stop()
    t.cri.refused("ReopenContainerLog", "FAILED_PRECONDITION", "not running", container_id=box.id)
    t.cri.refused("ReopenContainerLog", "FAILED_PRECONDITION", "not running", container_id=pod.create("true").id)


@case("exec", "log lines longer than the limit are cut into partial ones that join to the whole")
def long_lines(t):
    pod = t.pod()
    box = pod.container("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'no newline'")
    box.wait_exit()
    raw = Path(box.status().log_path).read_text().splitlines()
    tags = [line.split(" ", 3)[2] for line in raw]
    assert tags[0] == "P" and tags[-1] == "P" and "F" in tags, tags  # nothing ends the last line
    assert max(len(line.split(" ", 3)[3]) for line in raw) <= 16 << 10
    assert box.log().replace("\n", "") == "x" * 100000 + "no newline"


@case("exec", "ExecSync: commands that never end, in some containers, keep no probe of another waiting")
def never_ending(t):
    greedy = [t.run() for _ in range(6)]
    other = t.run()
    left = [threading.Thread(target=endless, args=(box,), daemon=True) for box in greedy for _ in range(43)]
    for thread in left:
        thread.start()
    t.wait_for("they all run", lambda: all(
        int(box.exec("sh", "-c", "ls -d /proc/[0-9]* | wc -l")) > 43 for box in greedy), 60)
    for _ in range(20):
        assert other.exec("echo", "alive") == "alive"
    for box in greedy:
        box.stop(0)
    for thread in left:
        thread.join(60)
        assert not thread.is_alive()


def endless(box) -> None:
    try:
        box.exec_sync("sleep", "100000", timeout=0)
    except CallFailed:
        pass  # its container was stopped
