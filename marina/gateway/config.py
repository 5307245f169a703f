"""How the gateway listens, what it lets through, and where it sends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from marina.errors import ServeError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Tls:
    """TLS 1.3 for clients.

    Attributes:
        certificate: PEM file of the server's certificate chain.
        key: PEM file of its private key.
        client_ca: PEM file of the authorities whose clients may connect; None asks for no
            client certificate.

    Raises:
        ServeError: A file is missing.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        for file in (self.certificate, self.key, self.client_ca):
            if file is not None and not file.is_file():
                raise ServeError(f"no file {file} for TLS: give a PEM file")


@dataclass(frozen=True)
class Limits:
    """What one client may ask of the gateway.

    Attributes:
        request_bytes: A larger body is answered with 413.
        header_kib: Larger headers are answered with 431.
        headers: More headers than these are answered with 431.
        connections: Open connections; one more is closed at once.
        requests: Requests at TorchServe at a time; one more is answered with 429.
        shadow_requests: Mirrored requests at TorchServe at a time; one more is dropped.
        deadline_s: Longest wait for an answer, before 504.
        header_timeout_s: Longest time for a request's headers to arrive, before 408.
        request_timeout_s: Longest time for a whole request to arrive, before 408.
        idle_timeout_s: A connection without a request is closed after so long.
    """

    request_bytes: int = 32 * 1024 * 1024
    header_kib: int = 32
    headers: int = 100
    connections: int = 8192
    requests: int = 4096
    shadow_requests: int = 64
    deadline_s: float = 60.0
    header_timeout_s: float = 10.0
    request_timeout_s: float = 60.0
    idle_timeout_s: float = 300.0


@dataclass(frozen=True)
class GatewayConfig:
    """One gateway.

    Attributes:
        ready_upstream_port: Where ``GET /ready`` is answered, on the loopback interface.
        address: Where REST and gRPC listen for clients.
        rest_port: REST for clients.
        grpc_port: gRPC for clients.
        metrics_port: Envoy's Prometheus metrics.
        metrics_address: Where they listen.
        explanations: Let ``POST /explanations/<model>`` through.
        tls: None listens in the clear.
        limits: What one client may ask.
    """

    ready_upstream_port: int
    address: str = LOOPBACK
    rest_port: int = 8080
    grpc_port: int = 7070
    metrics_port: int = 9901
    metrics_address: str = LOOPBACK
    explanations: bool = False
    tls: Tls | None = None
    limits: Limits = field(default_factory=Limits)
