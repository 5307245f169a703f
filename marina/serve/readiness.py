"""Readiness that means it: every worker has loaded, and a real image is answered rightly."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from marina.client import Client, GrpcClient, Prediction
from marina.errors import ClientError, ServeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from marina.serve.config import ServeConfig
    from marina.serve.management import Management
    from marina.serve.served import Served

_POLL_S = 0.1

# On the probability of the golden image. The worker holds its logits against the lab's far more
# closely; this tells whether what answers is that worker.
_ATOL = 0.01


def wait_for_workers(
    models: Sequence[Served],
    management: Management,
    timeout_s: float,
    check: Callable[[], None],
    on_progress: Callable[[Served, int, int], None],
) -> dict[Served, int]:
    """Wait until every worker of every model has loaded.

    Args:
        models: What is served.
        management: Tells the workers' states.
        timeout_s: Longest wait.
        check: Called again and again; raises what makes further waiting vain.
        on_progress: Called with a model, its ready and its wanted workers when those change.

    Returns:
        The number of workers of each model.

    Raises:
        ServeError: They did not load in time, or the wrong version is the default.
    """
    deadline = time.monotonic() + timeout_s
    known: dict[Served, tuple[int, int]] = {}
    while True:
        check()
        for model, counts in _workers(models, management).items():
            if known.get(model) != counts:
                known[model] = counts
                on_progress(model, *counts)
        if len(known) == len(models) and all(0 < want <= got for got, want in known.values()):
            _check_defaults(models, management)
            return {model: ready for model, (ready, _) in known.items()}
        if time.monotonic() > deadline:
            late = ", ".join(str(m) for m in models if not _is_ready(known.get(m)))
            raise ServeError(f"{late}: the workers did not load within {timeout_s:g} s")
        time.sleep(_POLL_S)


def check_golden(models: Sequence[Served], config: ServeConfig, check: Callable[[], None]) -> None:
    """Send each model its golden image, over REST and over gRPC.

    Args:
        models: What is served.
        config: Where.
        check: Called again and again; raises what makes waiting for an answer vain.

    Raises:
        ServeError: An answer is not the lab's, or none came.
    """
    pool = ThreadPoolExecutor(1)  # a model that hangs shall not keep Ctrl-C from being heard
    try:
        probe = pool.submit(_probe, models, config)
        while not wait([probe], timeout=_POLL_S).done:
            check()
        probe.result()
    finally:
        pool.shutdown(wait=False)


def _probe(models: Sequence[Served], config: ServeConfig) -> None:
    with Client(config.rest_url) as rest, GrpcClient(config.grpc_target) as grpc:
        for model in models:
            for transport, client in (("REST", rest), ("gRPC", grpc)):
                _compare(model, transport, _ask(model, transport, client))


def _ask(model: Served, transport: str, client: Client | GrpcClient) -> Prediction:
    try:
        return client.predict(model.golden.data, model.name, model.version, top_k=1)[0]
    except ClientError as err:
        raise ServeError(
            f"{model} does not answer its golden image {model.golden.file} over {transport}: {err}"
        ) from err


def _workers(models: Sequence[Served], management: Management) -> Mapping[Served, tuple[int, int]]:
    """Give the ready and the wanted workers of each model that TorchServe has registered."""
    described = {
        (name, condition.version): condition
        for name in {model.name for model in models}
        for condition in management.conditions(name)
    }
    found = ((model, described.get((model.name, model.version))) for model in models)
    return {model: (each.ready, each.wanted) for model, each in found if each is not None}


def _is_ready(counts: tuple[int, int] | None) -> bool:
    return counts is not None and 0 < counts[1] <= counts[0]


def _check_defaults(models: Sequence[Served], management: Management) -> None:
    """Check that the first version of each name is the one that answers whoever names none."""
    wanted: dict[str, str] = {}
    for model in models:
        wanted.setdefault(model.name, model.version)
    for name, version in wanted.items():
        default = management.default_version(name)
        if default != version:
            raise ServeError(f"{name}: version {default} is the default instead of {version}")


def _compare(model: Served, transport: str, answer: Prediction) -> None:
    """Check an answer against the lab's; where the lab saw a tie, either class will do."""
    golden = model.golden
    lab = _softmax(golden.logits)
    expected = lab[answer.index] if answer.index < len(lab) else 0.0
    is_best = max(lab) - expected <= _ATOL
    is_named = answer.index != golden.index or answer.label == golden.label
    if is_best and is_named and abs(answer.probability - expected) <= _ATOL:
        return
    raise ServeError(
        f"{model} is refused: over {transport} it answers its golden image {golden.file} with "
        f"{answer.label!r} at {answer.probability:.3f}; the lab says {golden.label!r} at "
        f"{max(lab):.3f}. Archive the model again"
    )


def _softmax(logits: Sequence[float]) -> list[float]:
    largest = max(logits)
    exponentials = [math.exp(logit - largest) for logit in logits]
    total = sum(exponentials)
    return [value / total for value in exponentials]
