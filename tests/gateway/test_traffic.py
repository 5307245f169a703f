"""Splits under traffic, over REST and gRPC."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.client.proto.inference_pb2 import PredictionResponse, PredictionsRequest
from marina.errors import SplitError
from marina.gateway.gateway import ENVOY_LOG_FILE
from marina.gateway.kept_images import FOLDER, kept_image, sweep
from tests.crowds import USERS

from .conftest import Door, open_door, versions, wait_until
from .stub_upstream import StubUpstream

SERVICE = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"


def test_the_observed_split_is_the_declared_one(door: Door) -> None:
    """3,000 requests by chance; 3 % is more than 5 standard deviations."""
    door.split("1.0=70", "2.0=30")
    with ThreadPoolExecutor(8) as pool:
        rest = Counter(versions(list(pool.map(lambda _: door.rest(), range(1500)))))
        over_grpc = Counter(pool.map(lambda _: door.grpc(), range(1500)))
    assert abs((rest + over_grpc)["2.0"] / 3000 - 0.3) < 0.04
    assert set(rest) == set(over_grpc) == {"1.0", "2.0"}


def test_users_stay_and_both_transports_agree(door: Door) -> None:
    """1,000 users, three weights: nobody goes back, and a second look finds each in place."""
    arms: list[dict[str, str]] = []
    with ThreadPoolExecutor(8) as pool:
        for weight in (10, 30, 60):
            door.split(f"1.0={100 - weight}", f"2.0={weight}", sticky_header="X-User-Id")
            answers = list(pool.map(lambda user: door.rest(x_user_id=user), USERS))
            arms.append(dict(zip(USERS, versions(answers), strict=True)))
            share = Counter(arms[-1].values())["2.0"] / len(USERS)
            assert abs(share - weight / 100) < 0.06
        over_grpc = list(pool.map(lambda user: door.grpc(x_user_id=user), USERS))
    assert over_grpc == [arms[-1][user] for user in USERS]
    for before, after in itertools.pairwise(arms):
        assert all(after[user] == "2.0" for user in USERS if before[user] == "2.0")


def test_a_user_is_a_hash_in_the_log(door: Door) -> None:
    door.split("1.0=50", "2.0=50", sticky_header="x-user-id")
    answers = [door.rest(x_user_id=user) for user in ("ann", "ann", "bob")]
    lines = [door.line(answer.headers["x-request-id"], "rest") for answer in answers]
    assert lines[0]["user"] == lines[1]["user"] != lines[2]["user"]
    assert "ann" not in door.gateway.log.read_text()
    assert [line["user"] for line in lines[:1]] == [f"{_fnv1a(b'ann'):08x}"]


def _fnv1a(data: bytes) -> int:
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 % 2**32
    return value


def test_an_arm_is_forced_by_those_who_may(door: Door) -> None:
    door.split("1.0=100", "2.0=0", force_header="x-arm", shadow=["3.0=0"])
    for version in ("1.0", "2.0", "3.0"):
        answer = door.rest(x_arm=version)
        assert answer.headers["x-marina-version"] == door.grpc(x_arm=version) == version
        line = door.line(answer.headers["x-request-id"], "rest")
        assert (line["arm"], line["kind"]) == (version, "forced")
    refused = door.rest(x_arm="4.0")
    assert refused.status_code == 400
    assert "the split has 1.0, 2.0, 3.0" in refused.json()["message"]
    with pytest.raises(grpc.RpcError) as caught:
        door.grpc(x_arm="4.0")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    door.split("1.0=100", "2.0=0")  # not opted in
    assert door.rest(x_arm="2.0").headers["x-marina-version"] == "1.0"
    assert door.grpc(x_arm="2.0") == "1.0"


def test_spoofed_headers_are_overwritten(door: Door) -> None:
    door.split("1.0=100", "2.0=0")
    spoofed = {"x_marina_arm": "2.0", "x_marina_model": "n", "x_marina_shadow": "2.0"}
    answer = door.rest(**spoofed)
    assert answer.headers["x-marina-version"] == "1.0"
    assert door.grpc(**spoofed) == "1.0"
    assert door.grpc(version="2.0", x_marina_model="m") == "2.0"  # would be the split's
    for seen in door.upstream.seen[:2]:
        assert seen.headers["x-marina-arm"] == "1.0"
        assert seen.headers["x-marina-model"] == "m"
        assert "x-marina-shadow" not in seen.headers
    line = door.line(answer.headers["x-request-id"], "rest")
    assert (line["arm"], line["kind"]) == ("1.0", "split")


def test_explicit_versions_and_other_models_are_untouched(door: Door) -> None:
    door.split("2.0=100")
    assert door.rest(version="1.0").headers["x-marina-version"] == "1.0"
    assert door.grpc(version="1.0") == "1.0"
    assert [seen.headers.get("x-marina-arm") for seen in door.upstream.seen] == [None, None]
    door.http.post("/predictions/m2", content=b"x")
    assert door.upstream.seen[-1].path == "/predictions/m2"
    door.http.post("/predictions/m?top_k=3", content=b"x")
    assert door.upstream.seen[-1].path == "/predictions/m/2.0?top_k=3"


def test_the_body_arrives_as_it_was_sent(door: Door) -> None:
    door.split("2.0=100")
    for size in (0, 1, 100, 127, 128, 300_000, 3_000_000):
        data = bytes(number % 251 for number in range(size))
        door.rest(data)
        door.grpc(data)
        assert [seen.body for seen in door.upstream.seen] == [data, data]
        assert [seen.version for seen in door.upstream.seen] == ["2.0", "2.0"]
        door.upstream.seen.clear()


FIELDS = st.lists(
    st.one_of(
        st.tuples(st.just(1), st.sampled_from([b"m", b"other"])),
        st.tuples(st.just(2), st.sampled_from([b"", b"7.5"])),
        st.tuples(st.just(4), st.text(max_size=40).map(str.encode)),
        st.tuples(st.just(99), st.binary(max_size=300)),
        st.tuples(st.just(7), st.integers(0, 2**64 - 1)),
    ),
    max_size=8,
)


def encode(fields: list[tuple[int, bytes | int]]) -> bytes:
    """Lay fields out as protobuf does, those that the .proto does not know as well."""

    def varint(value: int) -> bytes:
        low, high = value & 127, value >> 7
        return bytes([low | 128]) + varint(high) if high else bytes([low])

    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number * 8) + varint(value))
        else:
            parts.append(varint(number * 8 + 2) + varint(len(value)) + value)
    return b"".join(parts)


@pytest.fixture(scope="module")
def split_door(shared_door: Door) -> Door:
    return shared_door


@settings(max_examples=60, deadline=None)
@given(FIELDS)
def test_a_version_in_the_message(split_door: Door, fields: list[tuple[int, bytes | int]]) -> None:
    """The last value of a field counts, wherever it stands and whatever stands around it."""
    if not split_door.gateway.splits:
        split_door.split("2.0=100")
    message = encode([*fields, (3, encode([(1, b"data"), (2, b"x")]))])
    request = PredictionsRequest.FromString(message)
    expected = request.model_version or ("2.0" if request.model_name == "m" else "1.0")
    call = split_door.channel.unary_unary(
        f"{SERVICE}/Predictions", response_deserializer=PredictionResponse.FromString
    )
    answer = call(message, timeout=30).prediction
    assert f'"class {expected}"'.encode() in answer


def test_unknown_fields_pass(door: Door) -> None:
    image = encode([(1, b"data"), (2, b"an image")])
    message = encode([(1, b"m"), (99, b"x" * 200), (3, image)])
    assert len(UnknownFieldSet(PredictionsRequest.FromString(message))) == 1
    door.channel.unary_unary(f"{SERVICE}/Predictions")(message, timeout=30)
    assert door.upstream.seen[-1].body == b"an image"


def test_compressed_messages_are_refused(door: Door) -> None:
    request = PredictionsRequest(model_name="m", input={"data": bytes(1000)})
    with pytest.raises(grpc.RpcError) as caught:
        door.stub.Predictions(request, timeout=30, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "send it without grpc-encoding" in caught.value.details()


def test_streams_obey_the_split(door: Door) -> None:
    """A user's streams go where the user's single requests go."""

    def stream(user: str, version: str = "") -> set[str]:
        request = PredictionsRequest(model_name="m", model_version=version, input={"data": b"x"})
        answers = door.stub.StreamPredictions(request, metadata=[("x-user-id", user)], timeout=30)
        return {next(iter(json.loads(answer.prediction))) for answer in answers}

    door.split("1.0=50", "2.0=50", sticky_header="x-user-id")
    users = USERS[:40]
    arms = [door.grpc(x_user_id=user) for user in users]
    assert set(arms) == {"1.0", "2.0"}
    assert [stream(user) for user in users] == [{f"class {arm}"} for arm in arms]
    assert stream(users[arms.index("1.0")], version="2.0") == {"class 2.0"}


def test_a_shadow_gets_copies_that_join_the_primarys(door: Door) -> None:
    """Every request's copy is found by its request id, but for those it answered itself."""
    door.split("1.0=80", "2.0=20", shadow=["2.0=100"])
    ids: dict[str, str] = {}
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: door.rest(b"image"), range(200)):
            ids[answer.headers["x-request-id"]] = answer.headers["x-marina-version"]
    request = PredictionsRequest(model_name="m", input={"data": b"image"})
    for _ in range(50):
        answered, call = door.stub.Predictions.with_call(request, timeout=30)
        version = answered.prediction.decode().split('"')[1].removeprefix("class ")
        ids[dict(call.initial_metadata())["x-request-id"]] = version
    expected = {request_id for request_id, version in ids.items() if version == "1.0"}

    def copies() -> dict[str, dict[str, object]]:
        lines = [line for line in door.lines() if line["transport"] == "shadow"]
        return {line["request_id"]: line for line in lines if line["arm"] == "2.0"}

    wait_until(lambda: len(expected & set(copies())) >= 0.99 * len(expected))
    joined = [line for request_id, line in copies().items() if request_id in ids]
    assert {line["request_id"] for line in joined} <= expected
    said = {(line["model"], line["top1"], line["kind"]) for line in joined}
    assert said == {("m", "class%202.0", "shadow")}
    assert all(seen.body == b"image" for seen in door.upstream.seen)


PNG, JPEG = b"\x89PNG and pixels", b"\xff\xd8\xff and pixels"


def test_images_of_copies_are_kept_where_it_was_asked_for(door: Door) -> None:
    """For a moment, this user's eyes and `kept_images` alone; what is no image is not kept."""
    log_dir = door.gateway.log.parent
    folder = log_dir / FOLDER
    assert folder.stat().st_mode & 0o777 == 0o700
    door.split("1.0=100", shadow=["2.0=100"])
    door.rest(PNG, x_request_id="not-asked-for")
    door.split("1.0=100", shadow=["2.0=100"], keep_images=100)
    door.rest(PNG, x_request_id="over-rest")
    door.rest(b"words", x_request_id="no-image")
    door.rest(PNG, x_request_id="../outside")
    door.grpc(JPEG, x_request_id="over-grpc")
    wait_until(lambda: len(list(folder.iterdir())) == 2)
    wait_until(lambda: [seen.version for seen in door.upstream.seen].count("2.0") == 5)
    rest, over_grpc = kept_image(log_dir, "over-rest"), kept_image(log_dir, "over-grpc")
    assert rest is not None
    assert over_grpc is not None
    assert (rest.suffix, rest.read_bytes()) == (".png", PNG)
    assert (over_grpc.suffix, over_grpc.read_bytes()) == (".jpg", JPEG)
    assert kept_image(log_dir, "../gateway") is None
    sweep(log_dir)
    assert rest.exists()
    sweep(log_dir, 0.0)
    assert list(folder.iterdir()) == []


def test_a_share_of_the_images_is_kept(door: Door) -> None:
    door.split("1.0=100", shadow=["2.0=100"], keep_images=30)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: door.rest(PNG), range(400)))
    copies = [seen for seen in door.upstream.seen if seen.version == "2.0"]
    kept = list((door.gateway.log.parent / FOLDER).glob("*.png"))
    assert abs(len(kept) / len(copies) - 0.3) < 0.12  # 5 standard deviations of 400
    sweep(door.gateway.log.parent, 0.0)


def test_a_share_of_requests_is_copied(door: Door) -> None:
    door.split("1.0=100", shadow=["2.0=25"])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: door.rest(), range(800)))
    wait_until(lambda: Counter(seen.version for seen in door.upstream.seen)["2.0"] >= 150)
    time.sleep(0.3)
    copied = Counter(seen.version for seen in door.upstream.seen)["2.0"]
    assert abs(copied / 800 - 0.25) < 0.08


def test_a_shadow_that_is_slow_does_not_hold_the_primary(door: Door) -> None:
    door.split("1.0=100", shadow=["slow=100"])
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: door.rest(), range(200)))
    assert time.monotonic() - started < 20
    wait_until(lambda: {seen.version for seen in door.upstream.seen} == {"1.0", "slow"})


@pytest.mark.parametrize("requests", [2000])
def test_changes_under_load_drop_nothing(door: Door, requests: int) -> None:
    """Ten changes while REST and gRPC clients go on asking; each holds within a second."""
    door.split("1.0=100", "2.0=0")
    stop = threading.Event()
    answered: Counter[str] = Counter()
    failures: list[object] = []

    def ask(call: Callable[[], str]) -> None:
        while not stop.is_set():
            try:
                answered[call()] += 1
            except Exception as err:
                failures.append(err)

    def over_rest() -> str:
        return door.rest().raise_for_status().headers["x-marina-version"]

    threads = [threading.Thread(target=ask, args=[call]) for call in (over_rest, door.grpc) * 3]
    for thread in threads:
        thread.start()
    try:
        for weight in range(10, 110, 10):
            started = time.monotonic()
            door.split(f"1.0={100 - weight}", f"2.0={weight}")
            assert time.monotonic() - started < 1
            goal = answered.total() + requests // 10
            wait_until(lambda goal=goal: answered.total() >= goal or failures, 120)
        for _ in range(20):
            assert over_rest() == door.grpc() == "2.0"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert answered.total() >= requests
    assert set(answered) == {"1.0", "2.0"}


def test_a_split_survives_a_restart(upstream: StubUpstream, tmp_path: Path) -> None:
    with open_door(tmp_path, upstream) as door:
        door.split("1.0=60", "2.0=40", sticky_header="x-user-id")
        before = [door.rest(x_user_id=user).headers["x-marina-version"] for user in USERS[:100]]
        split = door.gateway.splits
    with open_door(tmp_path, upstream) as door:
        assert door.gateway.splits == split
        after = [door.rest(x_user_id=user).headers["x-marina-version"] for user in USERS[:100]]
        door.gateway.clear_split("m")
        assert door.rest().headers["x-marina-version"] == "1.0"
        with pytest.raises(SplitError, match="m has no split"):
            door.gateway.clear_split("m")
    assert after == before
    with open_door(tmp_path, upstream) as door:
        assert door.gateway.splits == {}


def test_a_split_that_envoy_refuses_changes_nothing(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.split("2.0=100")
    good = door.gateway.splits
    monkeypatch.setattr("marina.gateway.gateway._APPLY_TIMEOUT_S", 0.5)
    monkeypatch.setattr("marina.gateway.routes._NAME", "(")  # no regular expression
    with pytest.raises(SplitError, match="the gateway did not take the split: no new routes for"):
        door.split("1.0=100")
    monkeypatch.undo()
    assert door.gateway.splits == good
    wait_until(lambda: door.rest().headers["x-marina-version"] == "2.0")
    assert_envoy_warned(door.gateway.log.with_name(ENVOY_LOG_FILE))


def assert_envoy_warned(log: Path) -> None:
    """Its log, too, has a line of JSON for each event, with the keys of the others."""
    wait_until(lambda: "missing )" in log.read_text())
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"time", "level", "thread", "source", "message"} == set.union(*map(set, events))
    assert any("missing )" in each["message"] for each in events if each["level"] == "warning")


def test_a_damaged_file_of_splits(upstream: StubUpstream, tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text('{"splits": [{"model": "m"}]}')
    with (
        pytest.raises(SplitError, match=r"splits.json is damaged .*stored form of a split"),
        open_door(tmp_path, upstream),
    ):
        pass


def test_http_keep_alive_goes_through_changes(door: Door) -> None:
    """One connection stays open over ten changes."""
    with httpx.Client(base_url=door.url, trust_env=False) as client:
        for number in range(10):
            door.split(f"1.0={number * 10}", f"2.0={100 - number * 10}")
            answer = client.post("/predictions/m", content=b"x", timeout=30)
            assert answer.status_code == 200
            assert "connection" not in answer.headers
