"""Python's testcontainers against davit-api: a server and a client on a network of their own, found by name."""

import os
import urllib.request

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.waiting_utils import wait_for_logs

IMAGE = os.environ["IMAGE"]
SERVE = ["sh", "-c", "mkdir /w; echo served > /w/index.html; echo ready; exec httpd -f -p 8080 -h /w"]

with Network() as network:
    serving = DockerContainer(IMAGE).with_command(SERVE).with_exposed_ports(8080)
    with serving.with_network(network).with_network_aliases("server") as server:
        wait_for_logs(server, "ready", timeout=30)
        url = f"http://{server.get_container_host_ip()}:{server.get_exposed_port(8080)}/index.html"
        assert urllib.request.urlopen(url, timeout=20).read() == b"served\n"
        with DockerContainer(IMAGE).with_command("sleep 1000").with_network(network) as client:
            code, output = client.exec(["wget", "-qO-", "http://server:8080/index.html"])
            assert (code, output) == (0, b"served\n"), (code, output)
print("ok testcontainers")
