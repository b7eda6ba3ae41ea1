"""Port mappings, by connecting to them."""

import random
import socket
import subprocess
from pathlib import Path

from bench import case


def free_port(kind=socket.SOCK_STREAM) -> int:
    for _ in range(50):
        port = random.randrange(20000, 32000)
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


def says(address: str, port: int) -> bytes:
    try:
        with socket.create_connection((address, port), 2) as link:
            return link.recv(100)
    except OSError:
        return b""


def echoes(address: str, port: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(1)
        link.connect((address, port))
        try:
            link.send(b"ping\n")
            return link.recv(100)
        except OSError:
            return b""


def bridge_address(t) -> str:
    shown = subprocess.run(["ip", "-4", "-o", "addr", "show", t.engine.network.bridge], capture_output=True, text=True)
    return shown.stdout.split("inet ")[1].split("/")[0]


@case("network", "port_mappings TCP: the node's port answers until the pod stops")
def tcp(t):
    port = free_port()
    pod = t.pod(port_mappings=[{"protocol": "TCP", "container_port": 8080, "host_port": port}])
    pod.container("tcpsvd", "0.0.0.0", "8080", "echo", "hello")
    t.wait_for("the mapped port answers", lambda: says("127.0.0.1", port) == b"hello\n")
    assert says(bridge_address(t), port) == b"hello\n", "it does not answer on the node's other addresses"
    assert says(pod.ip, 8080) == b"hello\n"
    pod.stop()
    assert says("127.0.0.1", port) == b"", "it answers after the pod was stopped"


@case("network", "port_mappings host_ip: only that address of the node answers")
def host_ip(t):
    port = free_port()
    t.run()  # makes the bridge
    address = bridge_address(t)
    pod = t.pod(port_mappings=[{"container_port": 8080, "host_port": port, "host_ip": address}])
    pod.container("tcpsvd", "0.0.0.0", "8080", "echo", "hello")
    t.wait_for("the mapped port answers", lambda: says(address, port) == b"hello\n")
    assert says("127.0.0.1", port) == b"", "it answers on an address that it was not asked for"


@case("network", "port_mappings UDP: a datagram comes back, and TCP on the same port is not mapped")
def udp(t):
    port = free_port(socket.SOCK_DGRAM)
    pod = t.pod(port_mappings=[{"protocol": "UDP", "container_port": 9090, "host_port": port}])
    pod.container("udpsvd", "0.0.0.0", "9090", "cat")
    t.wait_for("the datagram comes back", lambda: echoes("127.0.0.1", port) == b"ping\n")
    assert says("127.0.0.1", port) == b""


@case("network", "port_mappings without a host port map nothing")
def no_host_port(t):
    pod = t.pod(port_mappings=[{"container_port": 8080}])
    rules = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True).stdout
    mapped = [line for line in rules.splitlines() if pod.id in line and "DN-" in line]
    assert not mapped, f"rules for a port that was not asked for: {mapped}"
    pod.container("tcpsvd", "0.0.0.0", "8080", "echo", "hello")
    t.wait_for("the pod's own address answers", lambda: says(pod.ip, 8080) == b"hello\n")


@case("network", "port_mappings: two mappings of one pod, TCP and UDP on one number")
def both(t):
    port = free_port()
    pod = t.pod(port_mappings=[{"protocol": "TCP", "container_port": 8080, "host_port": port},
                               {"protocol": "UDP", "container_port": 8080, "host_port": port}])
    pod.container("tcpsvd", "0.0.0.0", "8080", "echo", "hello")
    pod.container("udpsvd", "0.0.0.0", "8080", "cat")
    t.wait_for("TCP answers", lambda: says("127.0.0.1", port) == b"hello\n")
    t.wait_for("UDP answers", lambda: echoes("127.0.0.1", port) == b"ping\n")


@case("network", "each pod has an address of its own that goes back when it ends")
def addresses(t):
    pods = [t.pod() for _ in range(3)]
    seen = [pod.ip for pod in pods]
    assert len(set(seen)) == 3 and all(seen), seen
    leases = {p.name for p in t.engine.network.leases.rglob("*") if p.name in seen}
    assert leases == set(seen), leases
    for pod in pods:
        pod.stop()
    left = {p.name for p in t.engine.network.leases.rglob("*") if p.name in seen}
    assert not left, f"leases of stopped pods: {left}"


@case("network", "two families: the first address is ip, the other one additional_ips, and both are in /etc/hosts",
      config="[runtime]\n")
def dual_stack(t):
    import json
    if not Path("/proc/net/if_inet6").exists():
        t.skip("this kernel has no IPv6")
    conf = t.engine.network.conf_dir / "10-davit-test.conflist"
    wanted = json.loads(conf.read_text())
    wanted["plugins"][0]["ipam"]["ranges"].append([{"subnet": "fd00:77::/64"}])
    conf.write_text(json.dumps(wanted))

    def both():
        pod = t.pod()
        if len(pod.status().network.additional_ips) == 1:
            return pod
        pod.remove()
        return None

    pod = t.wait_for("the engine sees the change", both)
    network = pod.status().network
    second = network.additional_ips[0].ip
    assert network.ip.startswith("10.") and second.startswith("fd00:77::"), network
    box = pod.container()
    shown = box.exec("ip", "addr")
    assert network.ip in shown and second in shown, shown
    hosts = box.exec("cat", "/etc/hosts")
    assert network.ip in hosts and second in hosts, hosts
