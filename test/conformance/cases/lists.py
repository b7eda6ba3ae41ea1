"""List filters: every field alone and all together."""

from bench import case
from davit_test.grpc_client import pb


@case("lists", "ListPodSandbox by id, state and labels")
def pods(t):
    a = t.pod(labels={"app": "x", "tier": "1"})
    b = t.pod(labels={"app": "x", "tier": "2"})
    c = t.pod(labels={"app": "y"})
    b.stop()

    def found(**fields):
        return {p.id for p in t.cri.ListPodSandbox(filter=fields).items}

    everything = {a.id, b.id, c.id}
    assert {p.id for p in t.cri.ListPodSandbox().items} == everything and found() == everything
    assert found(id=a.id) == {a.id} and found(id=a.id[:13]) == {a.id} and found(id="f" * 64) == set()
    assert found(state={"state": pb.SANDBOX_READY}) == {a.id, c.id}
    assert found(state={"state": pb.SANDBOX_NOTREADY}) == {b.id}
    assert found(label_selector={"app": "x"}) == {a.id, b.id}
    assert found(label_selector={"app": "x", "tier": "2"}) == {b.id}
    assert found(label_selector={"app": "z"}) == set() and found(label_selector={"tier": ""}) == set()
    assert found(id=a.id, state={"state": pb.SANDBOX_READY}, label_selector={"tier": "1"}) == {a.id}
    assert found(id=a.id, state={"state": pb.SANDBOX_NOTREADY}) == set()


@case("lists", "ListContainers by id, state, pod and labels")
def containers(t):
    pod, other = t.pod(), t.pod()
    created = pod.create("sleep", "100", labels={"l": "1"})
    running = pod.container(labels={"l": "1", "m": "2"})
    ended = other.container("true", labels={"l": "3"})
    ended.wait_exit()

    def found(**fields):
        return {c.id for c in t.cri.ListContainers(filter=fields).containers}

    everything = {created.id, running.id, ended.id}
    assert {c.id for c in t.cri.ListContainers().containers} == everything and found() == everything
    assert found(id=created.id) == {created.id} and found(id=created.id[:13]) == {created.id}
    assert found(state={"state": pb.CONTAINER_CREATED}) == {created.id}
    assert found(state={"state": pb.CONTAINER_RUNNING}) == {running.id}
    assert found(state={"state": pb.CONTAINER_EXITED}) == {ended.id}
    assert found(state={"state": pb.CONTAINER_UNKNOWN}) == set()
    assert found(pod_sandbox_id=pod.id) == {created.id, running.id} and found(pod_sandbox_id=other.id) == {ended.id}
    assert found(label_selector={"l": "1"}) == {created.id, running.id}
    assert found(label_selector={"l": "1", "m": "2"}) == {running.id} and found(label_selector={"l": "2"}) == set()
    assert found(id=running.id, pod_sandbox_id=other.id) == set()
    assert found(id=running.id, pod_sandbox_id=pod.id, state={"state": pb.CONTAINER_RUNNING},
                 label_selector={"m": "2"}) == {running.id}


@case("lists", "ids may be shortened as long as they fit one, in every call")
def short_ids(t):
    pod = t.pod()
    box = pod.container()
    assert t.cri.PodSandboxStatus(pod_sandbox_id=pod.id[:13]).status.id == pod.id
    assert t.cri.ContainerStatus(container_id=box.id[:13]).status.id == box.id
    assert t.cri.ExecSync(container_id=box.id[:13], cmd=["echo", "x"]).stdout == b"x\n"
    t.cri.refused("ContainerStatus", "INVALID_ARGUMENT", "empty", container_id="")
    t.cri.refused("PodSandboxStatus", "INVALID_ARGUMENT", "empty", pod_sandbox_id="")
    # The end of one is no id, nor is what only begins like one.
    for wrong in (box.id[1:], box.id[-13:], box.id[:13] + "x", box.id + "0"):
        t.cri.refused("ContainerStatus", "NOT_FOUND", "container", container_id=wrong)
    # One that fits two is refused: with 17 of them two begin alike.
    ids = [box.id]
    while len({i[0] for i in ids}) == len(ids):
        ids.append(pod.create("true").id)
    t.cri.refused("ContainerStatus", "INVALID_ARGUMENT", "more than one", container_id=ids[-1][0])
    t.cri.refused("ExecSync", "INVALID_ARGUMENT", "more than one", container_id=ids[-1][0], cmd=["true"])


@case("lists", "a container in a list says what its status says")
def same(t):
    box = t.pod().container(labels={"a": "b"}, annotations={"c": "d"})
    [listed] = t.cri.ListContainers(filter={"id": box.id}).containers
    status = box.status()
    for field in ("id", "metadata", "state", "created_at", "image", "image_ref", "image_id"):
        assert getattr(listed, field) == getattr(status, field), field
    assert dict(listed.labels) == dict(status.labels) == {"a": "b"}
    assert dict(listed.annotations) == dict(status.annotations) == {"c": "d"}
    assert listed.pod_sandbox_id == box.pod.id
