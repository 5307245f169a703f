"""A load: what is sent, where to, how fast and for how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from marina.errors import BenchError

Protocol = Literal["rest", "grpc"]
Arrivals = Literal["uniform", "poisson"]


@dataclass(frozen=True)
class Load:
    """What the load generator does.

    Attributes:
        url: Base URL of the server, or its ``host:port`` for gRPC.
        images: Files that are sent, in turn.
        model: Name of the model.
        version: Of the model; None takes the server's default.
        protocol: ``rest`` or ``grpc``.
        users: Closed loop: so many clients, each of which sends when it has its answer.
        rate: Open loop instead: requests per second, whether or not answers came.
        arrivals: Open loop: ``uniform`` spacing, or that of a ``poisson`` process.
        duration_s: How long it is measured.
        warmup_s: How long the load runs before that.
        path: REST: path below the URL; None is TorchServe's.
        headers: REST: further headers.

    Raises:
        BenchError: A number is out of its range.
    """

    url: str
    images: tuple[Path, ...]
    model: str = "resnet"
    version: str | None = None
    protocol: Protocol = "rest"
    users: int = 1
    rate: float | None = None
    arrivals: Arrivals = "uniform"
    duration_s: float = 30.0
    warmup_s: float = 5.0
    path: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.images:
            raise BenchError("a load needs images: name a folder of them with --images")
        if self.users < 1:
            raise BenchError(f"--users must be at least 1, not {self.users}")
        if self.rate is not None and self.rate <= 0:
            raise BenchError(f"--rate is requests per second, above 0, not {self.rate:g}")
        if self.duration_s <= 0 or self.warmup_s < 0:
            raise BenchError(
                f"--duration must be above 0 s and --warmup at least 0 s, not {self.duration_s:g} "
                f"and {self.warmup_s:g}"
            )

    def __str__(self) -> str:
        if self.rate is not None:
            return f"open loop, {self.rate:g} requests/s ({self.arrivals} arrivals)"
        return f"closed loop, {self.users} user{'s' if self.users > 1 else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Give it as a result holds it, without the images."""
        return {key: value for key, value in asdict(self).items() if key != "images"}
