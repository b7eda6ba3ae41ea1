"""davit.control.v1 over gRPC, for what neither crictl nor the CRI can say.

    from davit_test.control_client import ControlClient
    control = ControlClient(engine.socket)
    volume = control.call("VolumeService/CreateVolume", name="data").volume
    error = control.refused("VolumeService/RemoveVolume", "NOT_FOUND", name="none")
    tar = control.read_archive(container, "/etc")

Keyword arguments are the fields of the request. Streams of requests are lists of dicts.
"""

from __future__ import annotations

from pathlib import Path

from . import grpc_client
from .grpc_client import CallFailed, Stream


def load_services() -> dict:
    """Every service of davit.control.v1 by its short name: (full name, method descriptors, module)."""
    return {service.name: (service.full_name, {method.name: method for method in service.methods}, module)
            for module in map(grpc_client.control, grpc_client.CONTROL)
            for service in module.DESCRIPTOR.services_by_name.values()}


class ControlClient:
    """All services on one connection. Every call has a time limit (`timeout_s`)."""

    def __init__(self, socket: Path | str, timeout_s: float = 60):
        self._services = load_services()
        self._client = grpc_client.GrpcClient(socket, timeout_s)
        self._timeout_s = timeout_s

    def close(self) -> None:
        self._client.close()

    def reconnect(self) -> None:
        self._client.reconnect()

    def call(self, name: str, requests: list[dict] | None = None, /, *, timeout_s: float | None = None, **fields):
        service, method_name = name.split("/")
        full_name, methods, module = self._services[service]
        method = methods[method_name]
        request_type = getattr(module, method.input_type.name)
        kinds = {(False, False): "unary_unary", (False, True): "unary_stream", (True, False): "stream_unary"}
        make = getattr(self._client._channel, kinds[(method.client_streaming, method.server_streaming)])
        stub = make(f"/{full_name}/{method_name}", request_serializer=lambda m: m.SerializeToString(),
                    response_deserializer=getattr(module, method.output_type.name).FromString)
        request = request_type(**fields)
        if method.client_streaming:
            request = (request_type(**one) for one in (requests or []))
        limit = self._timeout_s if timeout_s is None else timeout_s
        try:
            answer = stub(request, timeout=limit, wait_for_ready=True)
            return Stream(name, answer) if method.server_streaming else answer
        except grpc_client.grpc.RpcError as error:
            raise CallFailed(name, error.code().name, error.details() or "") from None

    def refused(self, name: str, code: str, /, *words: str, requests: list[dict] | None = None, **fields) -> CallFailed:
        """A call that must fail with this code and with every word in its text."""
        try:
            answer = self.call(name, requests, **fields)
            if isinstance(answer, Stream):
                answer = list(answer)
        except CallFailed as error:
            assert error.code == code, f"{error}, not {code}"
            for word in words:
                assert word in error.details, f"{word!r} is not in {error}"
            return error
        raise AssertionError(f"{name} succeeded, but must fail with {code}: {str(answer)[:300]}")

    def read_archive(self, container: str, path: str) -> tuple[object, bytes]:
        """What the path is (None for a whole root), and the tar."""
        stat, data = None, bytearray()
        for chunk in self.call("FileService/ReadArchive", container=container, path=path):
            if chunk.HasField("stat"):
                stat = chunk.stat
            data += chunk.data
        return stat, bytes(data)

    def write_archive(self, container: str, path: str, tar: bytes, **options):
        piece = 200_000
        requests = [{"container": container, "path": path, **options}]
        requests += [{"data": tar[at:at + piece]} for at in range(0, len(tar), piece)]
        return self.call("FileService/WriteArchive", requests)
