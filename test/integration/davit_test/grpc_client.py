"""The CRI over gRPC with the messages of proto/runtime/v1/cri.proto, for what crictl cannot say.

    from davit_test.grpc_client import CallFailed, GrpcClient, pb
    cri = GrpcClient(engine.socket)
    pod = cri.RunPodSandbox(config=pod_config("p", hostname="here")).pod_sandbox_id
    error = cri.refused("ExecSync", "INVALID_ARGUMENT", "cmd", container_id=container)
    for answer in cri.StreamContainers(): ...

Every call of RuntimeService and ImageService is a method by its name; keyword arguments are the fields of its
request (nested messages may be dicts, enums may be names). davit.control.v1's services are clients of their own:

    desk = GrpcClient(engine.socket, messages=control("standalone"))

Needs Debian's python3-grpcio and python3-protobuf,
whose version is that of the packaged protoc.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

# The client forks for its helpers; gRPC's own fork handling only prints warnings about it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

DEBIAN_PYTHON = "/usr/bin/python3"
try:
    import google.protobuf  # noqa: F401
    import grpc
except ImportError:
    # Another Python may come first in PATH; the packages belong to Debian's.
    if os.access(DEBIAN_PYTHON, os.X_OK) and not os.environ.get("DAVIT_TEST_PYTHON"):
        os.environ["DAVIT_TEST_PYTHON"] = DEBIAN_PYTHON
        os.execv(DEBIAN_PYTHON, [DEBIAN_PYTHON, *sys.orig_argv[1:]])
    raise

from . import paths  # noqa: E402

PROTO = paths.ROOT / "proto"
# What the kubelet accepts.
MAX_MESSAGE = 16 << 20


def load_messages(*files: str) -> list:
    """.proto files as Python modules, compiled anew so that they can never be older than the files."""
    if not shutil.which("protoc"):
        raise ImportError("protoc is not installed (tools/bootstrap)")
    with tempfile.TemporaryDirectory(prefix="davit-proto-") as out:
        subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={out}", *files], check=True)
        sys.path.insert(0, out)
        try:
            return [importlib.import_module(file.removesuffix(".proto").replace("/", ".") + "_pb2") for file in files]
        finally:
            sys.path.remove(out)


CONTROL = sorted(path.stem for path in (PROTO / "davit/control/v1").glob("*.proto"))
pb, *_control = load_messages("runtime/v1/cri.proto", *(f"davit/control/v1/{name}.proto" for name in CONTROL))


def control(name: str):
    """The messages and services of davit/control/v1/NAME.proto."""
    return _control[CONTROL.index(name)]


class CallFailed(AssertionError):
    """A call that the engine refused: `code` is a name such as NOT_FOUND, `details` its text."""

    def __init__(self, method: str, code: str, details: str):
        super().__init__(f"{method}: {code}: {details[:600]}")
        self.method, self.code, self.details = method, code, details


def _failed(method: str, error: grpc.RpcError) -> CallFailed:
    return CallFailed(method, error.code().name, error.details() or "")


class Stream:
    """The answers of a streaming call, in order; `cancel` ends it from this side."""

    def __init__(self, method: str, call):
        self._method, self._call = method, call

    def __iter__(self) -> "Stream":
        return self

    def __next__(self):
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise _failed(self._method, error) from None

    def ready(self) -> "Stream":
        """Waits for the headers: what happens from here on is in the stream."""
        self._call.initial_metadata()
        return self

    def cancel(self) -> None:
        self._call.cancel()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()


class GrpcClient:
    """All services of one .proto file on one connection. Every call has a time limit (`timeout_s`)."""

    def __init__(self, socket: Path | str, timeout_s: float = 60, messages=pb):
        self._timeout_s = timeout_s
        self._messages = messages
        self._socket = socket
        self._channel = self._connect()
        self._methods = {method.name: (service.full_name, method)
                         for service in messages.DESCRIPTOR.services_by_name.values() for method in service.methods}

    def _connect(self) -> grpc.Channel:
        return grpc.insecure_channel(f"unix:{self._socket}", options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", 64 << 20),
            ("grpc.default_authority", "localhost"), ("grpc.max_reconnect_backoff_ms", 500),
            # Channels with equal options would otherwise share one connection.
            ("davit.test.channel", uuid.uuid4().hex)])

    def reconnect(self) -> None:
        """A connection that knows nothing of an engine that has ended."""
        self._channel.close()
        self._channel = self._connect()

    def __enter__(self) -> "GrpcClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def methods(self) -> list[str]:
        return sorted(self._methods)

    def call(self, method_name: str, request=None, /, *, timeout_s: float | None = None, metadata=None, **fields):
        """`request` is a message, or bytes that go out as they are, or absent: then `fields` make it."""
        service, method = self._methods[method_name]
        if request is None:
            request = getattr(self._messages, method.input_type.name)(**fields)
        answer = getattr(self._messages, method.output_type.name)
        make = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        stub = make(f"/{service}/{method_name}", response_deserializer=answer.FromString,
                    request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString())
        limit = self._timeout_s if timeout_s is None else timeout_s
        if method.server_streaming:
            return Stream(method_name, stub(request, timeout=limit, metadata=metadata, wait_for_ready=True))
        try:
            return stub(request, timeout=limit, metadata=metadata, wait_for_ready=True)
        except grpc.RpcError as error:
            raise _failed(method_name, error) from None

    def refused(self, method_name: str, code: str | tuple[str, ...] = "", /, *words: str, request=None,
                timeout_s: float | None = None, **fields) -> CallFailed:
        """A call that must fail: with this code (or one of several), and with every word in its text."""
        try:
            answer = self.call(method_name, request, timeout_s=timeout_s, **fields)
            if isinstance(answer, Stream):
                answer = list(answer)
        except CallFailed as error:
            codes = (code,) if isinstance(code, str) else code
            assert code == "" or error.code in codes, f"{error} (expected {' or '.join(codes)})"
            for word in words:
                assert word in error.details, f"{error} (expected the word \"{word}\" in it)"
            return error
        raise AssertionError(f"{method_name}: succeeded, but must fail: {str(answer)[:200]}")

    def __getattr__(self, name: str):
        if name.startswith("_") or name not in self._methods:
            raise AttributeError(name)
        return lambda request=None, **more: self.call(name, request, **more)


def merged(message, fields: dict):
    """The message with fields laid over it; a nested dict replaces only what it names."""
    message.MergeFrom(type(message)(**fields))
    return message


def pod_config(name: str, *, namespaces: dict | None = None, security: dict | None = None,
               sysctls: dict | None = None, **fields):
    """A PodSandboxConfig. Without `namespaces` (of NamespaceOption) the pid namespace is each container's own."""
    linux = dict(fields.pop("linux", {}))
    linux["security_context"] = {"namespace_options": namespaces if namespaces is not None else {"pid": "CONTAINER"},
                                 **(security or {})}
    if sysctls is not None:
        linux["sysctls"] = sysctls
    metadata = {"name": name, "namespace": "conformance", "uid": uuid.uuid4().hex, "attempt": 1}
    return merged(pb.PodSandboxConfig(metadata=metadata), {"linux": linux, **fields})


def container_config(name: str, image: str, *command: str, security: dict | None = None,
                     resources: dict | None = None, **fields):
    """A ContainerConfig; `security` and `resources` are the two halves of its Linux part."""
    linux = dict(fields.pop("linux", {}))
    if security is not None:
        linux["security_context"] = security
    if resources is not None:
        linux["resources"] = resources
    base = pb.ContainerConfig(metadata={"name": name, "attempt": 1}, image={"image": image}, command=list(command))
    return merged(base, {"linux": linux, **fields})
