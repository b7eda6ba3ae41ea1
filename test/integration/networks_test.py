#!/usr/bin/env python3
"""Networks of standalone pods: made, joined and left, names of containers, host ports, kept over davitd's death."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.engine import wait_for  # noqa: E402
from davit_test.grpc_client import GrpcClient, control  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

ENDS_S = 30
THIRD = random.randrange(0, 200)


class Desk:
    """A client of NetworkService and StandaloneService."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.net = GrpcClient(stage.engine.socket, messages=control("networks"))
        self.call = GrpcClient(stage.engine.socket, messages=control("standalone"))
        self.cri = GrpcClient(stage.engine.socket)
        self.cri.PullImage(image={"image": BUSYBOX})
        self.made: list[str] = []

    def reconnect(self) -> None:
        for client in (self.net, self.call, self.cri):
            client.reconnect()

    def network(self, name: str, **more):
        """One with a subnet and a bridge that nobody else on this machine has."""
        number = len(self.made)
        more.setdefault("subnets", [{"subnet": f"10.253.{THIRD + number % 50}.0/24"}])
        more["options"] = {"com.docker.network.bridge.name": f"dvt{THIRD}n{number}", **more.get("options", {})}
        self.made.append(name)
        return self.net.CreateNetwork(name=name, **more).network

    def run(self, name: str, *networks: dict, command=("sleep", "1000"), pod_config: dict | None = None,
            **pod_options) -> str:
        namespaces = {"pid": "CONTAINER"}
        made = self.call.CreateContainer(
            config={"image": {"image": BUSYBOX}, "command": list(command),
                    "linux": {"security_context": {"namespace_options": namespaces}}},
            options={"name": name},
            pod_config={"linux": {"security_context": {"namespace_options": namespaces}}, **(pod_config or {})},
            pod_options={"networks": list(networks), **pod_options}).container_id
        self.call.StartContainer(container=made)
        return made

    def pod(self, container: str):
        listed = self.call.ListContainers(containers=[container]).containers[0]
        return self.call.ListPods(pods=[listed.pod_id]).pods[0]

    def sh(self, container: str, script: str) -> str:
        box = self.call.ListContainers(containers=[container]).containers[0].id
        done = self.cri.ExecSync(container_id=box, cmd=["sh", "-c", script], timeout=20)
        return (done.stdout + done.stderr).decode()

    def remove(self, *containers: str) -> None:
        for container in containers:
            self.call.RemoveContainer(container=container, force=True)

    def shown(self, name: str):
        return self.net.ListNetworks(networks=[name]).networks[0]


def links() -> list[str]:
    return [link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-j", "link"]))]


def made_listed_removed(desk: Desk) -> None:
    made = desk.network("front", labels={"team": "blue"}, options={"mtu": "1400"})
    assert len(made.id) == 64 and made.driver == "bridge" and made.dns and made.created_at > 0
    assert made.subnets[0].gateway == made.subnets[0].subnet.replace(".0/24", ".1")
    assert dict(made.labels) == {"team": "blue"}
    default = [n for n in desk.net.ListNetworks().networks if n.is_default]
    assert len(default) == 1 and default[0].name == "bridge" and not default[0].dns
    assert desk.shown(made.id[:12]).name == "front"
    desk.net.refused("CreateNetwork", "ALREADY_EXISTS", "front", name="front")
    desk.net.refused("CreateNetwork", "INVALID_ARGUMENT", made.subnets[0].subnet, name="twin",
                     subnets=[{"subnet": made.subnets[0].subnet}])
    desk.net.refused("CreateNetwork", "INVALID_ARGUMENT", "overlay", name="wide", driver="overlay")
    desk.net.refused("ListNetworks", "NOT_FOUND", "nowhere", networks=["nowhere"])
    desk.net.refused("RemoveNetwork", "FAILED_PRECONDITION", "default", network="bridge")
    desk.net.RemoveNetwork(network="front")
    desk.net.refused("RemoveNetwork", "NOT_FOUND", "front", network="front")


def names(desk: Desk) -> None:
    front, back = desk.network("front"), desk.network("back")
    desk.run("db", {"network": "back", "aliases": ["database", "store"]}, pod_config={"hostname": "dbhost"})
    desk.run("db2", {"network": "back", "aliases": ["database"]})
    web = desk.run("web", {"network": "front"}, {"network": back.id[:12]})
    lone = desk.run("lone", {"network": "front"})
    ip = desk.pod("db").networks[0].ip_cidrs[0].split("/")[0]
    assert desk.sh(web, "cat /etc/resolv.conf").count("nameserver 127.0.0.11") == 1
    short = desk.call.ListContainers(containers=["db"]).containers[0].id[:12]
    for name in ("db", "DB", "database", "store", "dbhost", short, "db.back"):
        told = desk.sh(web, f"nslookup {name} 127.0.0.11; ping -c1 -w5 {name}")
        assert ip in told and " 0% packet loss" in told, (name, told)
    both = desk.sh(web, "nslookup database")
    assert ip in both and desk.pod("db2").networks[0].ip_cidrs[0].split("/")[0] in both, both
    assert ip not in desk.sh(lone, "nslookup db; ping -c1 -w2 db"), "not on that network"
    assert "db.back" in desk.sh(web, f"nslookup {ip}")
    assert len(desk.shown("back").members) == 3 and desk.shown("front").members
    desk.net.refused("RemoveNetwork", "FAILED_PRECONDITION", "web", network="front")
    desk.remove("db", "db2", "web", "lone")
    for made in (front, back):
        desk.net.RemoveNetwork(network=made.id)
        assert made.interface not in links()


def static_addresses(desk: Desk) -> None:
    made = desk.network("fixed")
    address = made.subnets[0].gateway.rsplit(".", 1)[0] + ".77"
    desk.run("one", {"network": "fixed", "ipv4_address": address, "mac_address": "02:42:0a:fd:00:4d"})
    place = desk.pod("one").networks[0]
    assert list(place.ip_cidrs) == [f"{address}/24"] and place.mac_address == "02:42:0a:fd:00:4d", place
    assert place.gateway == made.subnets[0].gateway and place.interface == "eth0"
    assert "02:42:0a:fd:00:4d" in desk.sh("one", "cat /sys/class/net/eth0/address")
    try:
        desk.run("two", {"network": "fixed", "ipv4_address": address})
        raise AssertionError("the address was given twice")
    except AssertionError as error:
        assert address in str(error), error
    desk.remove("one", "two")
    desk.net.RemoveNetwork(network="fixed")


def connect_and_disconnect(desk: Desk) -> None:
    front, back = desk.network("front"), desk.network("back")
    desk.run("db", {"network": "back"})
    desk.run("web", {"network": "front"})
    assert "bad address" in desk.sh("web", "ping -c1 -w2 db")
    desk.net.ConnectNetwork(network="back", container="web", aliases=["www"])
    desk.net.refused("ConnectNetwork", "ALREADY_EXISTS", "back", network="back", container="web")
    assert [p.network for p in desk.pod("web").networks] == ["front", "back"]
    assert " 0% packet loss" in desk.sh("web", "ping -c1 -w5 db")
    assert " 0% packet loss" in desk.sh("db", "ping -c1 -w5 www")
    desk.net.DisconnectNetwork(network="front", container="web")
    assert [p.interface for p in desk.pod("web").networks] == ["eth1"]
    assert not desk.shown("front").members
    desk.net.refused("DisconnectNetwork", "FAILED_PRECONDITION", "front", network="front", container="web")
    # What was changed holds for the next run, too; of one that is down, too.
    desk.call.StopContainer(container="web", timeout_seconds=0)
    wait_for("the pod is down", lambda: not desk.pod("web").ready, ENDS_S)
    desk.net.ConnectNetwork(network="front", container="web")
    desk.call.StartContainer(container="web")
    assert [p.network for p in desk.pod("web").networks] == ["back", "front"]
    desk.remove("web", "db")
    for made in (front, back):
        desk.net.RemoveNetwork(network=made.name)


def joins_names_later(desk: Desk) -> None:
    """A pod of the default network asks nobody for names until it is connected to a network that has some."""
    made = desk.network("late")
    desk.run("db", {"network": "late"})
    desk.run("web")
    desk.net.ConnectNetwork(network="late", container="web")
    assert " 0% packet loss" in desk.sh("web", "ping -c1 -w5 db")
    desk.remove("web", "db")
    desk.net.RemoveNetwork(network=made.name)


def host_ports(desk: Desk) -> None:
    desk.network("ports")
    serve = ("sh", "-c", "mkdir /w; echo hello > /w/index.html; httpd -f -p 80 -h /w")
    mapping = {"port_mappings": [{"container_port": 80}]}
    desk.run("http", {"network": "ports"}, command=serve, pod_config=mapping, random_ports=True)
    ports = desk.pod("http").ports
    assert len(ports) == 1 and ports[0].container_port == 80 and ports[0].host_port > 0, ports

    def fetched() -> bool:
        with socket.create_connection(("127.0.0.1", ports[0].host_port), timeout=5) as link:
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"hello" in b"".join(iter(lambda: link.recv(4096), b""))

    def tried() -> bool:
        try:
            return fetched()
        except OSError:
            return False

    wait_for("the page", tried, ENDS_S)
    taken = {"port_mappings": [{"container_port": 80, "host_port": ports[0].host_port}]}
    try:
        desk.run("second", {"network": "ports"}, command=serve, pod_config=taken)
        raise AssertionError("the port was given twice")
    except AssertionError as error:
        assert "already allocated" in str(error), error
    desk.remove("http", "second")
    with socket.create_server(("127.0.0.1", ports[0].host_port)):
        pass  # it is given back
    desk.net.RemoveNetwork(network="ports")


def no_network_and_internal(desk: Desk) -> None:
    desk.run("alone", no_network=True)
    assert desk.sh("alone", "ls /sys/class/net").split() == ["lo"]
    made = desk.network("inside", internal=True)
    desk.run("hidden", {"network": "inside"})
    assert "default" not in desk.sh("hidden", "ip route")
    assert "NXDOMAIN" in desk.sh("hidden", "nslookup db.example 127.0.0.11"), "no question leaves an internal network"
    desk.remove("alone", "hidden")
    desk.net.RemoveNetwork(network=made.name)


def goes_with_its_last_container(desk: Desk) -> None:
    """What a client does after `run --rm`: the network is free as soon as the container is gone."""
    for _ in range(5):
        made = desk.network("brief")
        box = desk.call.CreateContainer(
            config={"image": {"image": BUSYBOX}, "command": ["true"],
                    "linux": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}},
            options={"name": "brief", "auto_remove": True},
            pod_config={"linux": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}},
            pod_options={"networks": [{"network": "brief"}]}).container_id
        gone = desk.call.call("WaitContainer", container=box, condition=2)
        next(gone)
        desk.call.StartContainer(container=box)
        assert list(gone)[-1].done
        desk.net.RemoveNetwork(network="brief")
        assert made.interface not in links()


def survives_davitd(desk: Desk) -> None:
    engine = desk.stage.engine
    front = desk.network("front")
    desk.run("db", {"network": "front"})
    desk.run("web", {"network": "front"})
    before = desk.pod("web").networks[0]
    engine.kill()
    engine.start()
    desk.reconnect()
    assert desk.pod("web").networks[0] == before
    assert desk.shown("front").id == front.id and len(desk.shown("front").members) == 2
    assert " 0% packet loss" in desk.sh("web", "ping -c1 -w9 db")
    desk.remove("web", "db")
    desk.net.RemoveNetwork(network="front")
    assert front.interface not in links()


def killed_at_every_step(desk: Desk) -> None:
    """SIGKILL of davitd between two steps of a connection: it is made or it is not, and it leaves nothing."""
    engine = desk.stage.engine
    front, back = desk.network("front"), desk.network("back")
    desk.run("web", {"network": "front"})
    plugins = ("pod.run.cni.add.0", "pod.run.cni.added.0", "pod.stop.cni.del.0", "pod.stop.cni.deleted.0")
    builtin = ("pod.run.builtin.lease", "pod.run.builtin.veth", "pod.run.builtin.addressed", "pod.run.builtin.gateway",
               "pod.run.builtin.nat", "pod.stop.builtin.nat", "pod.stop.builtin.link", "pod.stop.builtin.lease")
    steps = builtin if engine.builtin_network else plugins
    for point in ("network.connect.intent", "network.disconnect.intent", *steps):
        assert engine.stop() == 0
        engine.start(env={"DAVIT_FAULT_KILL": point})
        desk.reconnect()
        try:
            desk.net.call("ConnectNetwork", timeout_s=20, network="back", container="web")
            desk.net.call("DisconnectNetwork", timeout_s=20, network="back", container="web")
        except AssertionError:
            pass
        assert engine.wait_killed(), f"davitd did not come by {point}"
        engine.start()
        desk.reconnect()
        assert [p.network for p in desk.pod("web").networks] == ["front"], point
        assert "eth1" not in desk.sh("web", "ls /sys/class/net"), point
        desk.net.ConnectNetwork(network="back", container="web")
        desk.net.DisconnectNetwork(network="back", container="web")
    desk.remove("web")
    for made in (front, back):
        desk.net.RemoveNetwork(network=made.name)
        assert made.interface not in links()
    assert not list((desk.stage.engine.state / "networks").rglob("10.253.*"))


CASES = [made_listed_removed, names, static_addresses, connect_and_disconnect, joins_names_later, host_ports,
         no_network_and_internal, goes_with_its_last_container, survives_davitd, killed_at_every_step]


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--focus", default="", help="only the cases with this in their names")
    args = parser.parse_args()
    report = Report("networks")
    with reported(report), stage_of("networks", args) as stage:
        stage.engine.start()
        desk = Desk(stage)
        for case in CASES:
            if args.focus in case.__name__:
                report.run(case.__name__.replace("_", " "), lambda case=case: case(desk))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
