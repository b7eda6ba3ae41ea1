"""The Stream* lists: each item once, what the lists say, in messages of a bounded size, until the end."""

from bench import case

# Enough for several messages of at most 128 items; created is cheaper than started.
MANY = 140


def ids(stream, field: str) -> list[str]:
    return [item.id for message in stream for item in getattr(message, field)]


@case("streams", "StreamPodSandboxes and StreamContainers give what the lists give, with the same filters")
def equal_lists(t):
    first = t.pod(labels={"half": "one"})
    second = t.pod(labels={"half": "two"})
    running = first.container(labels={"half": "one"})
    second.create("true", labels={"half": "two"})
    for state in ("CONTAINER_RUNNING", "CONTAINER_CREATED"):
        for wanted in ({}, {"pod_sandbox_id": first.id}, {"label_selector": {"half": "two"}},
                       {"state": {"state": state}}, {"id": running.id[:20]}, {"id": "f" * 64}):
            listed = list(t.cri.ListContainers(filter=wanted).containers)
            streamed = [c for m in t.cri.StreamContainers(filter=wanted) for c in m.containers]
            assert listed == streamed, f"{wanted}: {len(listed)} listed, {len(streamed)} streamed"
    for wanted in ({}, {"id": first.id}, {"label_selector": {"half": "two"}}, {"state": {"state": "SANDBOX_READY"}},
                   {"state": {"state": "SANDBOX_NOTREADY"}}):
        listed = list(t.cri.ListPodSandbox(filter=wanted).items)
        streamed = [p for m in t.cri.StreamPodSandboxes(filter=wanted) for p in m.pod_sandboxes]
        assert listed == streamed, f"{wanted}: {len(listed)} listed, {len(streamed)} streamed"
    assert len(ids(t.cri.StreamContainers(), "containers")) == 2


@case("streams", "StreamImages gives what ListImages gives, with the same filter")
def images(t):
    listed = list(t.cri.ListImages().images)
    streamed = [i for m in t.cri.StreamImages() for i in m.images]
    assert listed and listed == streamed
    name = listed[0].repo_tags[0]
    only = [i for m in t.cri.StreamImages(filter={"image": {"image": name}}) for i in m.images]
    assert [i.id for i in only] == [listed[0].id]
    assert list(t.cri.StreamImages(filter={"image": {"image": "nowhere.example/none:1"}})) == []


@case("streams", "a list of several messages has each container once")
def several_messages(t):
    pod = t.pod()
    made = {pod.create("true", name=f"many-{n}").id for n in range(MANY)}
    messages = list(t.cri.StreamContainers(filter={"pod_sandbox_id": pod.id}))
    got = [c.id for m in messages for c in m.containers]
    assert len(got) == MANY and set(got) == made
    assert len(messages) > 1 and all(len(m.containers) <= 128 for m in messages), [len(m.containers) for m in messages]


@case("streams", "containers that come and go while a client reads do not change what it reads")
def fixed_at_the_call(t):
    pod = t.pod()
    boxes = [pod.create("true", annotations={"fill": "x" * 60_000}) for _ in range(40)]
    stream = t.cri.StreamContainers(filter={"pod_sandbox_id": pod.id})
    first = next(stream)
    for box in boxes[20:]:
        box.remove()
    got = [c.id for c in first.containers] + ids(stream, "containers")
    assert sorted(got) == sorted(box.id for box in boxes)


@case("streams", "a client that leaves in the middle is no trouble for the next")
def cancelled(t):
    pod = t.pod()
    for _ in range(40):
        pod.create("true", annotations={"fill": "x" * 60_000})
    for _ in range(20):
        stream = t.cri.StreamContainers()
        next(stream)
        stream.cancel()
    assert len(ids(t.cri.StreamContainers(), "containers")) == 40
