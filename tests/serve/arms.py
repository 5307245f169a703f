"""Which of the two versions answers; and a split that changes meanwhile."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable

import httpx

from marina.client import GrpcClient
from marina.client.management import ManagementClient
from marina.client.proto.inference_pb2 import PredictionsRequest
from marina.client.proto.inference_pb2_grpc import InferenceAPIsServiceStub
from marina.serve import Server

from .conftest import wait_until


def ask_rest(server: Server, http: httpx.Client, version: str = "", **headers: str) -> str:
    """Give the version that answers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{server.rest_url}/predictions/stub" + (f"/{version}" if version else "")
    answer = http.post(url, content=b"x", headers=named)
    return str(answer.raise_for_status().headers["x-marina-version"])


def ask_grpc(client: GrpcClient) -> str:
    return {"class 1": "1.0", "class 0": "2.0"}[
        client.predict(b"x", model="stub", top_k=1)[0].label
    ]


def ask_stub(
    stub: InferenceAPIsServiceStub, version: str = "", *, streams: bool = False, **metadata: str
) -> str:
    """Give the version that answers a message over gRPC, sent with that metadata."""
    given = {"data": b"x", "x-marina-format": b"detailed"}
    request = PredictionsRequest(model_name="stub", model_version=version, input=given)
    pairs = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    if streams:
        (answer,) = stub.StreamPredictions(request, metadata=pairs, timeout=60)
    else:
        answer = stub.Predictions(request, metadata=pairs, timeout=60)
    return str(json.loads(answer.prediction)["version"])


def change_under_load(server: Server, requests: int, changes: int) -> Counter[str]:
    """Ask over both transports while the split changes; give who answered the last stretch."""
    stop, failures = threading.Event(), list[object]()
    answered: Counter[str] = Counter()
    http, over_grpc = httpx.Client(trust_env=False, timeout=60), GrpcClient(server.grpc_target)

    def ask(call: Callable[[], str]) -> None:
        while not stop.is_set():
            try:
                answered[call()] += 1
            except Exception as err:
                failures.append(err)

    calls = [lambda: ask_rest(server, http), lambda: ask_grpc(over_grpc)] * 3
    threads = [threading.Thread(target=ask, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    try:
        with ManagementClient(server.management_url) as manager:
            for number in range(1, changes + 1):
                weight = number % changes * 100 // changes or 30
                manager.set_split("stub", {"1.0": 100 - weight, "2.0": weight})
                goal = answered.total() + requests // changes
                wait_until(lambda goal=goal: answered.total() >= goal or failures, 300)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        http.close()
        over_grpc.close()
    assert failures == []
    assert answered.total() >= requests
    return answered
