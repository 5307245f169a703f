"""What the gateway stands and keeps to, with a real TorchServe of two versions behind it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from marina.client.management import ManagementClient
from marina.client.proto.inference_pb2_grpc import InferenceAPIsServiceStub
from marina.gateway import read_log
from marina.rollout.verification import verify_logged_split
from marina.serve import Server
from tests.crowds import (
    BLOCKED_METHODS,
    USERS,
    SlowClients,
    blocked_routes,
    check_blocked,
    check_timed_out,
    pipelined,
)

from .arms import ask_rest, ask_stub, change_under_load
from .conftest import wait_until

pytestmark = pytest.mark.slow

FULL = "MARINA_FULL" in os.environ


@pytest.fixture(scope="module")
def server(gateway_server: Server) -> Server:
    return gateway_server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as http:
        yield http


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_target, [("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> InferenceAPIsServiceStub:
    return InferenceAPIsServiceStub(channel)


def test_users_stay_while_a_weight_grows(
    server: Server, manager: ManagementClient, http: httpx.Client, stub: InferenceAPIsServiceStub
) -> None:
    """1,000 users at two weights: nobody goes back, and over gRPC each finds the same arm."""
    with ThreadPoolExecutor(8) as pool:

        def arms(weight: int) -> list[str]:
            manager.set_split(
                "stub", {"1.0": 100 - weight, "2.0": weight}, sticky_header="x-user-id"
            )
            return list(pool.map(lambda user: ask_rest(server, http, x_user_id=user), USERS))

        before, after = arms(20), arms(50)
        over_grpc = list(pool.map(lambda user: ask_stub(stub, x_user_id=user), USERS))
    assert over_grpc == after
    assert {new for old, new in zip(before, after, strict=True) if old == "2.0"} == {"2.0"}
    assert abs(before.count("2.0") / len(USERS) - 0.2) < 0.06
    assert abs(after.count("2.0") / len(USERS) - 0.5) < 0.06


def test_streams_go_where_their_user_goes(
    manager: ManagementClient, stub: InferenceAPIsServiceStub
) -> None:
    """Each answer of `StreamPredictions`; `StreamPredictions2` is refused before its end."""
    manager.set_split("stub", {"1.0": 50, "2.0": 50}, sticky_header="x-user-id")
    for user in USERS[:20]:
        assert ask_stub(stub, streams=True, x_user_id=user) == ask_stub(stub, x_user_id=user)
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.StreamPredictions2(iter([]), timeout=60))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_arms_are_forced_by_opt_in_and_never_spoofed(
    server: Server, manager: ManagementClient, http: httpx.Client, stub: InferenceAPIsServiceStub
) -> None:
    def asked(**headers: str) -> set[str]:
        return {ask_rest(server, http, **headers), ask_stub(stub, **headers)}

    for forced, expected in (("x-arm", "2.0"), (None, "1.0")):
        manager.set_split("stub", {"1.0": 100, "2.0": 0}, force_header=forced)
        assert asked(x_arm="2.0") == {expected}
        assert asked(x_marina_arm="2.0", x_marina_shadow="2.0", x_marina_model="m") == {"1.0"}
        assert ask_rest(server, http, version="2.0", x_arm="1.0") == "2.0"
        assert ask_stub(stub, version="2.0", x_arm="1.0") == "2.0"


def test_blocked_routes(server: Server, channel: grpc.Channel) -> None:
    """TorchServe would answer most of them; the gateway does."""
    port = httpx.URL(server.rest_url).port or 0
    for method, path in blocked_routes("stub"):
        check_blocked(port, method, path)
    for name in BLOCKED_METHODS:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(name)(b"", timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "RouteNotFoundException" in caught.value.details()


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    requests = [("1.0", "sleep 0.4"), ("2.0", "x"), ("1.0", "x"), ("2.0", "x")]
    port = httpx.URL(server.rest_url).port or 0
    assert pipelined(port, "stub", requests) == [version for version, _ in requests]


@pytest.mark.timeout(600)
def test_a_thousand_slow_clients(
    server: Server, http: httpx.Client, stub: InferenceAPIsServiceStub
) -> None:
    """The others are answered. Who never ends a body hears so after a minute: in make test-full."""
    with SlowClients(httpx.URL(server.rest_url).port or 0, "stub") as slow:
        for _ in range(50):
            assert ask_rest(server, http) == ask_stub(stub) == "1.0"
        check_timed_out(slow.without_headers)
        if FULL:
            check_timed_out(slow.without_body)


def test_changes_under_load_lose_nothing(server: Server, manager: ManagementClient) -> None:
    change_under_load(server, requests=2000, changes=10)

    def arms() -> int:
        return sum(arm.requests for arm in verify_logged_split(server.log_dir, "stub").arms)

    wait_until(lambda: arms() >= 100)  # the log is written a little after the answers
    check = verify_logged_split(server.log_dir, "stub")
    assert not check.mismatch, check.sentence


@pytest.mark.skipif(not FULL, reason="it takes minutes: make test-full")
@pytest.mark.timeout(1800)
def test_many_changes_under_much_load(server: Server, manager: ManagementClient) -> None:
    """10,000 requests over 20 changes; then 12,000 on one split, which is held within 1 %."""
    change_under_load(server, requests=10_000, changes=20)
    manager.set_split("stub", {"1.0": 70, "2.0": 30})
    with httpx.Client(trust_env=False, timeout=60) as http, ThreadPoolExecutor(6) as pool:
        arms = Counter(pool.map(lambda _: ask_rest(server, http), range(12_000)))
    assert abs(arms["2.0"] / arms.total() - 0.3) < 0.01  # 2.4 standard deviations
    check = verify_logged_split(server.log_dir, "stub")
    assert not check.mismatch, check.sentence


def test_mirrored_answers_join_the_primarys(server: Server, manager: ManagementClient) -> None:
    manager.set_split("stub", {"1.0": 100}, shadow={"2.0": 100})
    with httpx.Client(trust_env=False, timeout=60) as http:
        ids = [
            http.post(f"{server.rest_url}/predictions/stub", content=b"x").headers["x-request-id"]
            for _ in range(100)
        ]

    def copies() -> dict[str, object]:
        lines = read_log(server.log_dir / "gateway.log")
        return {each["request_id"]: each for each in lines if each["transport"] == "shadow"}

    wait_until(lambda: len(set(ids) & set(copies())) >= 99)
    assert {each["top1"] for each in copies().values()} == {"class%200"}  # type: ignore[index]
