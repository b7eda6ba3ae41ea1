"""Python's podman against davit-api: containers, a pod, volumes, networks, images, errors."""

import os

import podman

IMAGE = os.environ["IMAGE"]


def containers(client) -> None:
    assert client.containers.run(IMAGE, ["echo", "hi"], remove=True) == b"hi\n"
    made = client.containers.create(IMAGE, ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"], name="ppy",
                                    labels={"a": "b"}, ports={"80/tcp": None}, environment={"X": "y"})
    try:
        made.start()
        made.reload()
        assert made.status == "running", made.status
        assert int(made.ports["80/tcp"][0]["HostPort"]) > 0, made.ports
        code, output = made.exec_run(["sh", "-c", "echo a; exit 3"])
        assert code == 3 and output.endswith(b"a\n"), (code, output)
        assert [one.name for one in client.containers.list(filters={"label": "a=b"})] == ["ppy"]
        assert "sleep 1000" in str(made.top())
        assert next(made.stats(stream=True, decode=True))["Stats"][0]["Name"] == "ppy"
        made.stop(timeout=1)
        # Of several conditions the first that holds ends the wait.
        assert made.wait(condition=["running", "exited"]) == 137
        made.start()
        made.kill()
        assert made.wait() == 137
        assert sorted(made.logs(stream=False)) == [b"err\n", b"err\n", b"out\n", b"out\n"]
    finally:
        made.remove(force=True)


def pods(client) -> None:
    pod = client.pods.create("ppypod")
    try:
        pod.start()
        client.containers.create(IMAGE, ["sleep", "1000"], pod=pod, name="ppym").start()
        assert [one.name for one in client.pods.list()] == ["ppypod"]
        pod.stop(timeout=1)
    finally:
        pod.remove(force=True)


with podman.PodmanClient(base_url=os.environ["DOCKER_HOST"]) as client:
    assert client.ping() and client.version()["ApiVersion"]
    assert client.info()["host"]["os"] == "linux"
    assert client.images.exists(IMAGE)
    assert any(IMAGE in (image.tags or []) for image in client.images.list())
    containers(client)
    pods(client)
    volume = client.volumes.create("ppyv", labels={"a": "b"})
    assert client.volumes.get("ppyv").name == volume.name
    volume.remove()
    network = client.networks.create("ppyn")
    assert client.networks.get("ppyn").name == "ppyn"
    network.remove(force=True)
    assert client.df()["Images"]
    client.images.get(IMAGE).tag("localhost/ppy", "1")
    client.images.remove("localhost/ppy:1")
    try:
        client.containers.get("nosuch")
    except podman.errors.NotFound:
        pass
    else:
        raise AssertionError("a container that is not there was found")
print("ok podman")
