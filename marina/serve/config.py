"""TorchServe's configuration, typed, and as the text of its ``config.properties``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from marina.errors import ServeError

LOOPBACK = "127.0.0.1"
ANY_ADDRESS = "0.0.0.0"


@dataclass(frozen=True)
class ServeConfig:
    """How TorchServe listens.

    Attributes:
        model_store: Folder of the ``.mar`` files.
        address: Where REST and gRPC inference listen.
        management_address: Where management and metrics listen. Whoever reaches management
            decides what runs here, so it stays on the loopback interface unless told otherwise.
        rest_port: REST inference.
        grpc_port: gRPC inference.
        management_port: REST management.
        grpc_management_port: gRPC management.
        metrics_port: Prometheus metrics.
        max_request_bytes: A larger request is answered with 413.
        max_response_bytes: A larger answer of a whole batch kills the worker that gave it.
        start_timeout_s: Longest wait for readiness. A model's own startupTimeout ends sooner.
        drain_timeout_s: Longest wait for requests in flight when the server stops.

    Raises:
        ServeError: A port is none, or is given twice.
    """

    model_store: Path = Path("model_store")
    address: str = LOOPBACK
    management_address: str = LOOPBACK
    rest_port: int = 8080
    grpc_port: int = 7070
    management_port: int = 8081
    grpc_management_port: int = 7071
    metrics_port: int = 8082
    max_request_bytes: int = 32 * 1024 * 1024
    max_response_bytes: int = 32 * 1024 * 1024
    start_timeout_s: float = 600.0
    drain_timeout_s: float = 30.0

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
        return {
            "REST": (self.address, self.rest_port),
            "gRPC": (self.address, self.grpc_port),
            "management": (self.management_address, self.management_port),
            "gRPC management": (self.management_address, self.grpc_management_port),
            "metrics": (self.management_address, self.metrics_port),
        }

    @property
    def rest_url(self) -> str:
        """Where this machine reaches REST inference."""
        return f"http://{_reachable(self.address)}:{self.rest_port}"

    @property
    def grpc_target(self) -> str:
        """Where this machine reaches gRPC inference, as ``host:port``."""
        return f"{_reachable(self.address)}:{self.grpc_port}"

    @property
    def management_url(self) -> str:
        """Where this machine reaches REST management."""
        return f"http://{_reachable(self.management_address)}:{self.management_port}"

    @property
    def metrics_url(self) -> str:
        """Where this machine reaches the Prometheus metrics."""
        return f"http://{_reachable(self.management_address)}:{self.metrics_port}/metrics"


def render(config: ServeConfig, metrics_file: Path = Path("handlers/metrics.yaml")) -> str:
    """Give the text of ``config.properties``.

    The file of that name in the repository's root is the rendering of the defaults.

    Args:
        config: What to render.
        metrics_file: Declares the metrics that TorchServe keeps.
    """
    values = {field.name: _escape(str(getattr(config, field.name))) for field in fields(config)}
    return _TEMPLATE.format(metrics_file=_escape(str(metrics_file)), **values)


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
metrics_address=http://{management_address}:{metrics_port}

# No tokens: these ports are for this machine alone. Before they listen anywhere else, set this to
# false. TorchServe then writes its tokens to key_file.json in the working directory, and wants
# them as `Authorization: Bearer KEY`; they last for 60 minutes.
disable_token_authorization=true

# Models come from the store at the start, and from nowhere else. The expression matches no URL;
# plain names of files in the store are not held against it.
model_store={model_store}
allowed_urls=(?!)
enable_model_api=false
install_py_dep_per_model=false

# The environment does not override this file.
enable_envvars_config=false

# A model whose own configuration names no number of workers gets one, not one per core.
default_workers_per_model=1

# Bytes. A larger request is answered with 413; a larger answer of a whole batch kills its worker.
max_request_size={max_request_bytes}
max_response_size={max_response_bytes}

# The mode `log`, TorchServe's default, leaves /metrics empty.
metrics_mode=prometheus
metrics_config={metrics_file}
"""
