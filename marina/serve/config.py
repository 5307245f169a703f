"""TorchServe's configuration, typed, and as the text of its ``config.properties``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from marina.errors import ServeError
from marina.gateway import Tls
from marina.serve.ports import free_ports

LOOPBACK = "127.0.0.1"
ANY_ADDRESS = "0.0.0.0"


# TorchServe takes what the gateway lets through and adds: the version of the arm, over gRPC.
_MARGIN_BYTES = 1024


@dataclass(frozen=True)
class GatewayOptions:
    """What of the gateway can be chosen.

    Attributes:
        metrics_port: Envoy's own Prometheus metrics, on `ServeConfig.metrics_address`.
        explanations: Let explanations through.
        tls: None listens in the clear.
    """

    metrics_port: int = 9901
    explanations: bool = False
    tls: Tls | None = None


@dataclass(frozen=True)
class ServeConfig:
    """How TorchServe listens.

    Attributes:
        model_store: Folder of the ``.mar`` files.
        address: Where REST and gRPC inference listen.
        management_address: Where management listens. Whoever reaches it decides what runs here,
            so it stays on the loopback interface unless told otherwise.
        metrics_address: Where the metrics listen, the gateway's too.
        rest_port: REST inference.
        grpc_port: gRPC inference.
        management_port: REST management.
        grpc_management_port: gRPC management.
        metrics_port: Prometheus metrics: Marina's, and TorchServe's own behind them.
        tokens: Whether requests need a token.
        token_minutes: How long a token lasts.
        model_api: Whether TorchServe's own management registers and unregisters models.
        max_request_bytes: A larger request is answered with 413.
        max_response_bytes: A larger answer of a whole batch kills the worker that gave it.
        start_timeout_s: Longest wait for readiness. A model's own startupTimeout ends sooner.
        drain_timeout_s: Longest wait for requests in flight, when the server stops or a version
            goes.
        probe_timeout_s: A version that answers nothing for so long hangs.
        gateway: Stands before TorchServe; None lets TorchServe listen for clients itself.

    Raises:
        ServeError: A port is none, or is given twice.
    """

    model_store: Path = Path("model_store")
    address: str = LOOPBACK
    management_address: str = LOOPBACK
    metrics_address: str = LOOPBACK
    rest_port: int = 8080
    grpc_port: int = 7070
    management_port: int = 8081
    grpc_management_port: int = 7071
    metrics_port: int = 8082
    tokens: bool = False
    token_minutes: int = 60
    model_api: bool = False
    gpu: bool = True
    max_request_bytes: int = 32 * 1024 * 1024
    max_response_bytes: int = 32 * 1024 * 1024
    start_timeout_s: float = 600.0
    drain_timeout_s: float = 30.0
    probe_timeout_s: float = 10.0
    gateway: GatewayOptions | None = None

    def __post_init__(self) -> None:
        owners: dict[int, str] = {}
        for name, (_, port) in self.listeners.items():
            if not 0 < port < 65536:
                raise ServeError(f"the {name} port must be between 1 and 65535, not {port}")
            if port in owners:
                raise ServeError(
                    f"{owners[port]} and {name} are both given port {port}: choose another for one"
                )
            owners[port] = name

    @property
    def listeners(self) -> dict[str, tuple[str, int]]:
        """Address and port of everyone that listens, by name."""
        listeners = {
            "REST": (self.address, self.rest_port),
            "gRPC": (self.address, self.grpc_port),
            "management": (self.management_address, self.management_port),
            "gRPC management": (self.management_address, self.grpc_management_port),
            "metrics": (self.metrics_address, self.metrics_port),
        }
        if self.gateway is not None:
            listeners["the gateway's metrics"] = (
                self.metrics_address,
                self.gateway.metrics_port,
            )
        return listeners

    @property
    def rest_url(self) -> str:
        """Where this machine reaches REST inference."""
        scheme = "https" if self.gateway and self.gateway.tls else "http"
        return f"{scheme}://{_reachable(self.address)}:{self.rest_port}"

    @property
    def grpc_target(self) -> str:
        """Where this machine reaches gRPC inference, as ``host:port``."""
        return f"{_reachable(self.address)}:{self.grpc_port}"

    @property
    def management_url(self) -> str:
        """Where this machine reaches REST management."""
        return f"http://{_reachable(self.management_address)}:{self.management_port}"

    @property
    def grpc_management_target(self) -> str:
        """Where this machine reaches gRPC management, as ``host:port``."""
        return f"{_reachable(self.management_address)}:{self.grpc_management_port}"

    @property
    def metrics_url(self) -> str:
        """Where this machine reaches the Prometheus metrics."""
        return self._metrics_at(self.metrics_port)

    @property
    def gateway_metrics_url(self) -> str | None:
        """Where this machine reaches those of the gateway; None without one."""
        return self._metrics_at(self.gateway.metrics_port) if self.gateway is not None else None

    def _metrics_at(self, port: int) -> str:
        return f"http://{_reachable(self.metrics_address)}:{port}/metrics"

    @classmethod
    def on_free_ports(cls, model_store: Path) -> ServeConfig:
        """Give a configuration for a server that must not meet another one."""
        rest, grpc, management, grpc_management, metrics = free_ports(5)
        return cls(
            model_store=model_store,
            rest_port=rest,
            grpc_port=grpc,
            management_port=management,
            grpc_management_port=grpc_management,
            metrics_port=metrics,
        )

    def torchserve(self) -> ServeConfig:
        """Give the configuration of TorchServe itself, behind the ports that Marina takes.

        This is the one place that says which ports TorchServe keeps. Where Marina listens on the
        public port, TorchServe gets a free one on the loopback interface.
        """
        management, grpc_management, metrics, rest, grpc = free_ports(5)
        behind = replace(
            self,
            management_address=LOOPBACK,
            management_port=management,
            grpc_management_port=grpc_management,
            metrics_address=LOOPBACK,
            metrics_port=metrics,
            model_api=True,
        )
        if self.gateway is None:
            return behind
        return replace(
            behind,
            address=LOOPBACK,
            rest_port=rest,
            grpc_port=grpc,
            max_request_bytes=self.max_request_bytes + _MARGIN_BYTES,
            gateway=None,
        )


def gateway_options(
    metrics_port: int,
    certificate: Path | None,
    key: Path | None,
    client_ca: Path | None,
    *,
    explanations: bool,
    is_on: bool,
) -> GatewayOptions | None:
    """Give the options of the gateway, None if there shall be none.

    Args:
        metrics_port: See `GatewayOptions`.
        certificate: PEM file for TLS; None speaks in the clear.
        key: Its private key.
        client_ca: PEM file of the authorities of those who may connect; None lets everybody.
        explanations: See `GatewayOptions`.
        is_on: Whether there shall be a gateway.

    Raises:
        ServeError: A file is missing, one is given without the other, or something is asked for
            that only the gateway gives.
    """
    if not is_on:
        if certificate or key or client_ca or explanations:
            raise ServeError("TLS and --explanations are the gateway's: leave out --no-gateway")
        return None
    if certificate is None or key is None:
        if certificate or key or client_ca:
            raise ServeError("TLS needs both --tls-certificate and --tls-key")
        return GatewayOptions(metrics_port, explanations)
    return GatewayOptions(metrics_port, explanations, Tls(certificate, key, client_ca))


def render(config: ServeConfig, metrics_file: Path = Path("handlers/metrics.yaml")) -> str:
    """Give the text of ``config.properties``.

    The file of that name in the repository's root is the rendering of the defaults.

    Args:
        config: What to render.
        metrics_file: Declares the metrics that TorchServe keeps.
    """
    values: dict[str, str] = {
        field.name: _escape(str(getattr(config, field.name))) for field in fields(config)
    }
    values["metrics_file"] = _escape(str(metrics_file))
    values["no_tokens"] = str(not config.tokens).lower()
    values["model_api"] = values["model_api"].lower()
    values["number_of_gpu"] = "" if config.gpu else "number_of_gpu=0\n"
    return _TEMPLATE.format(**values)


def _reachable(address: str) -> str:
    return LOOPBACK if address == ANY_ADDRESS else address


def _escape(value: str) -> str:
    """Escape a value as ``java.util.Properties`` reads it: Latin-1, with backslash escapes."""
    escaped = value.replace("\\", "\\\\")
    utf16 = escaped.encode("utf-16-be")
    units = (int.from_bytes(utf16[i : i + 2], "big") for i in range(0, len(utf16), 2))
    return "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for unit in units)


_TEMPLATE = """\
# TorchServe's configuration. `marina serve` renders it (marina/serve/config.py); without Marina it
# is used from this folder:
#
#   torchserve --start --ncs --model-store model_store --models resnet=resnet-1.0.mar \\
#       --ts-config config.properties

# Who listens where.
inference_address=http://{address}:{rest_port}
grpc_inference_address={address}
grpc_inference_port={grpc_port}
management_address=http://{management_address}:{management_port}
grpc_management_address={management_address}
grpc_management_port={grpc_management_port}
metrics_address=http://{metrics_address}:{metrics_port}

# Without Marina there are no tokens: these ports are for this machine alone. Before they listen
# anywhere else, set this to false. TorchServe then writes its tokens to key_file.json in the
# working directory, and wants them as `Authorization: Bearer KEY`.
# `marina serve` wants tokens unless told otherwise.
disable_token_authorization={no_tokens}
token_expiration_min={token_minutes}

# Models come from the store at the start, and from nowhere else. The expression matches no URL;
# plain names of files in the store are not held against it.
model_store={model_store}
allowed_urls=(?!)
enable_model_api={model_api}
install_py_dep_per_model=false

# The environment does not override this file.
enable_envvars_config=false

# A model whose own configuration names no number of workers gets one per GPU or, without any, one
# per core of this process's cgroup: default_workers_per_model is left out for that.
{number_of_gpu}
# Bytes. A larger request is answered with 413; a larger answer of a whole batch kills its worker.
max_request_size={max_request_bytes}
max_response_size={max_response_bytes}

# The mode `log`, TorchServe's default, leaves /metrics empty.
metrics_mode=prometheus
metrics_config={metrics_file}
"""
