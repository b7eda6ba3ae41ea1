"""Version, Status, RuntimeConfig: what the engine says about itself."""

import json
import os
from pathlib import Path

from bench import case
from davit_test.grpc_client import pb


@case("info", "Version names the runtime and the API")
def version(t):
    answer = t.cri.Version(version="v1")
    assert (answer.version, answer.runtime_name, answer.runtime_api_version) == ("0.1.0", "davit", "v1")
    assert answer.runtime_version and t.cri.Version() == answer


@case("info", "Status: both conditions, every handler with its features, the default one also without a name")
def status(t):
    answer = t.cri.Status()
    assert {c.type: c.status for c in answer.status.conditions} == {"RuntimeReady": True, "NetworkReady": True}
    handlers = {h.name: h.features for h in answer.runtime_handlers}
    assert {"", t.handler} <= set(handlers) and handlers[""] == handlers[t.handler]
    assert answer.features.supplemental_groups_policy
    assert not answer.info


@case("info", "Status verbose: the configuration in force and the network, without a password",
      config='[image.registries."secret.example"]\nusername = "u"\npassword = "hidden-word"\n')
def verbose(t):
    info = t.cri.Status(verbose=True).info
    config = json.loads(info["config"])
    assert config["rootDir"] == str(t.engine.root) and config["stateDir"] == str(t.engine.state)
    assert config["defaultRuntimeHandler"] == t.handler and "log_level" in config["effective"]
    assert "secret.example" in config["effective"] and "hidden-word" not in str(info)
    assert t.engine.network.bridge in info["network"]
    assert "hidden-word" not in Path(t.engine.log).read_text(errors="replace")


@case("info", "NetworkReady is false while there is no CNI configuration, and says why", config="[runtime]\n")
def network(t):
    def condition():
        [found] = [c for c in t.cri.Status().status.conditions if c.type == "NetworkReady"]
        return found

    conf = t.engine.network.conf_dir / "10-davit-test.conflist"
    text = conf.read_text()
    conf.unlink()
    try:
        t.wait_for("the engine sees it", lambda: not condition().status)
        assert condition().reason and condition().message, condition()
        t.refused_pod("", "network")
        # A pod on the node's network needs none.
        assert t.pod(namespaces={"network": "NODE", "pid": "CONTAINER"}).container().exec("true") == ""
    finally:
        conf.write_text(text)
    t.wait_for("the engine sees the file again", lambda: condition().status)
    assert t.pod().ip


@case("info", "RuntimeConfig says the driver whose kind of path the containers' cgroups have")
def runtime_config(t):
    driver = t.cri.RuntimeConfig().linux.cgroup_driver
    path = t.run().info()["cgroup"]
    assert driver == (pb.SYSTEMD if ".slice" in path or ":" in path else pb.CGROUPFS), path


@case("info", "UpdateRuntimeConfig is taken and changes no network: CNI's configuration decides")
def update_runtime_config(t):
    before = t.engine.network.conf_dir / "10-davit-test.conflist"
    text = before.read_text()
    t.cri.UpdateRuntimeConfig(runtime_config={"network_config": {"pod_cidr": "10.44.0.0/16"}})
    t.cri.UpdateRuntimeConfig()
    assert before.read_text() == text and os.listdir(before.parent) == [before.name]
    assert not t.pod().ip.startswith("10.44.")


@case("info", "every call of both services is there: none answers that it is unknown")
def every_call(t):
    from davit_test.grpc_client import CallFailed
    for name in t.cri.methods():
        try:
            answer = t.cri.call(name, timeout_s=3)
            if name in ("GetContainerEvents",):
                answer.cancel()
            elif not hasattr(answer, "DESCRIPTOR"):
                list(answer)
        except CallFailed as error:
            # gRPC itself answers a method that nobody registered with an empty text.
            assert error.code != "UNIMPLEMENTED" or error.details, f"{name}: nobody answers"
            assert error.code not in ("INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE"), error


@case("info", "what is not built says so, and does nothing")
def not_built(t):
    box = t.run()
    target = t.folder("checkpoint") / "c.tar"
    for name, fields in (("CheckpointContainer", {"container_id": box.id, "location": str(target), "timeout": 5}),
                         ("CheckpointPod", {"pod_sandbox_id": box.pod.id, "output_path": str(target)}),
                         ("RestorePod", {"checkpoint_path": str(target), "config": box.pod.config})):
        t.cri.refused(name, "UNIMPLEMENTED", "not built", **fields)
    assert not target.exists() and box.exec("echo", "alive") == "alive"
    assert len(t.cri.ListPodSandbox().items) == 1
