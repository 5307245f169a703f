"""Readiness that means it: every worker has loaded, and a real image is answered rightly."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from marina.client import Client, GrpcClient, Prediction
from marina.errors import ClientError, ServeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from marina.client.token import Token
    from marina.serve.config import ServeConfig
    from marina.serve.management import Management
    from marina.serve.served import Served

_POLL_S = 0.1

# On the probability of the golden image. The worker holds its logits against the lab's far more
# closely; this tells whether what answers is that worker.
_ATOL = 0.01


def wait_for_workers(
    wanted: Mapping[Served, int],
    management: Management,
    timeout_s: float,
    check: Callable[[], None],
    on_progress: Callable[[Served, int, int], None],
) -> None:
    """Wait until every worker of every model has loaded.

    Args:
        wanted: Number of workers of each model.
        management: Tells the workers' states.
        timeout_s: Longest wait.
        check: Called again and again; raises what makes further waiting vain.
        on_progress: Called with a model, its ready and its wanted workers when those change.

    Raises:
        ServeError: They did not load in time.
    """
    deadline = time.monotonic() + timeout_s
    known: dict[Served, int] = {}
    while True:
        check()
        for model, ready in _ready(wanted, management).items():
            if known.get(model) != ready:
                known[model] = ready
                on_progress(model, ready, wanted[model])
        late = [model for model, count in wanted.items() if known.get(model) != count]
        if not late:
            return
        if time.monotonic() > deadline:
            names = ", ".join(map(str, late))
            raise ServeError(f"{names}: the workers did not load within {timeout_s:g} s")
        time.sleep(_POLL_S)


def check_golden(
    models: Sequence[Served],
    config: ServeConfig,
    check: Callable[[], None],
    token: Token | None = None,
) -> None:
    """Send each model its golden image, over REST and over gRPC.

    Args:
        models: What is served.
        config: Where.
        token: What to show for it.
        check: Called again and again; raises what makes waiting for an answer vain.

    Raises:
        ServeError: An answer is not the lab's, or none came.
    """
    pool = ThreadPoolExecutor(1)  # a model that hangs shall not keep Ctrl-C from being heard
    try:
        probe = pool.submit(_probe, models, config, token)
        while not wait([probe], timeout=_POLL_S).done:
            check()
        probe.result()
    finally:
        pool.shutdown(wait=False)


def _probe(models: Sequence[Served], config: ServeConfig, token: Token | None) -> None:
    with (
        Client(config.rest_url, token=token) as rest,
        GrpcClient(config.grpc_target, token=token) as grpc,
    ):
        for model in models:
            for transport, client in (("REST", rest), ("gRPC", grpc)):
                ask(model, transport, client)


def ask(model: Served, transport: str, client: Client | GrpcClient) -> None:
    """Send a model its golden image.

    Raises:
        ServeError: The answer is not the lab's, or none came.
    """
    try:
        answer = client.predict(model.golden.data, model.name, model.version, top_k=1)[0]
    except ClientError as err:
        raise ServeError(
            f"{model} does not answer its golden image {model.golden.file} over {transport}: {err}"
        ) from err
    _compare(model, transport, answer)


def _ready(models: Iterable[Served], management: Management) -> Mapping[Served, int]:
    """Give the ready workers of each model that TorchServe has registered."""
    described = {
        (name, condition.version): condition.ready
        for name in {model.name for model in models}
        for condition in management.conditions(name)
    }
    found = ((model, described.get((model.name, model.version))) for model in models)
    return {model: ready for model, ready in found if ready is not None}


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
