"""Every operation on a real server, over REST and gRPC."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from marina.archive.store import ModelStore
from marina.client import Client, GrpcClient, GrpcManagementClient, ManagementClient
from marina.client.token import read_key_file
from marina.errors import Conflict, ModelNotFound, ServerFault, Unauthorized
from marina.serve import ServeConfig, Server, running
from marina.serve.restore import restore
from marina.serve.state import StateFile

from .archives import make_archive, put_into_store
from .conftest import free_config, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

OVER_REST = pytest.mark.parametrize("manager", ["REST"], indirect=True)
OVER_GRPC = pytest.mark.parametrize("manager", ["gRPC"], indirect=True)

Manager = ManagementClient | GrpcManagementClient


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("managed") / "store"
    put_into_store(folder, "1.0", batchSize=4, maxBatchDelay=3)
    return folder


@pytest.fixture(scope="module")
def managed(store: Path) -> Iterator[Server]:
    """A server with tokens whose state is kept."""
    config = ServeConfig(**{**vars(free_config(store)), "tokens": True, "drain_timeout_s": 5})
    file = StateFile(store)
    file.claim()
    state, models = restore(ModelStore(store), file)
    log_dir = store.parent / "logs"
    with running(config, models, log_dir=log_dir, state=state, state_file=file) as server:
        put_into_store(store, "2.0", golden_logits=(4.0, 1.0, 0.0), stub={"logits": [4.0, 1, 0]})
        put_into_store(store, "3.0", stub={"fail": "the weights are of another model"})
        put_into_store(store, "4.0", golden_logits=(5.0, 0.0, 0.0))
        yield server
    file.release()


@pytest.fixture(params=["REST", "gRPC"])
def manager(managed: Server, request: pytest.FixtureRequest) -> Iterator[Manager]:
    if request.param == "REST":
        client: Manager = ManagementClient(managed.management_url, token=managed.token)
    else:
        client = GrpcManagementClient(managed.grpc_management_target, token=managed.token)
    with client:
        yield client


def versions(manager: Manager) -> dict[str, bool]:
    return {status.version: status.is_default for status in manager.models()}


def written(store: Path) -> dict[str, object]:
    return dict(json.loads((store / "state.json").read_text())["models"]["stub"])


def test_a_version_comes_and_goes(manager: Manager, managed: Server, store: Path) -> None:
    with Client(managed.rest_url, token=managed.token) as client:
        manager.register("stub", "2.0")
        assert versions(manager) == {"1.0": True, "2.0": False}
        assert set(written(store)["versions"]) == {"1.0", "2.0"}  # type: ignore[arg-type]
        manager.set_default("stub", "2.0")
        assert written(store)["default"] == "2.0"
        assert client.predict(b"x", model="stub")[0].label == "class 0"
        manager.set_default("stub", "1.0")
        manager.unregister("stub", "2.0")
        assert versions(manager) == {"1.0": True}
        assert set(written(store)["versions"]) == {"1.0"}  # type: ignore[arg-type]
        with pytest.raises(ModelNotFound):
            client.predict(b"x", model="stub", version="2.0")


def test_a_description_has_what_an_operator_asks_for(manager: Manager, store: Path) -> None:
    status = manager.describe("stub")[0]
    assert (status.name, status.version, status.is_default) == ("stub", "1.0", True)
    assert (status.ready_workers, status.workers, status.pending) == (1, 1, 0)
    assert (status.batch_size, status.max_batch_delay_ms, status.device) == (4, 3, "cpu")
    entry = ModelStore(store).entry("stub", "1.0")
    assert entry is not None
    assert status.sha256 == entry.sha256


@OVER_REST
def test_what_torchserve_does_not_know_yet_is_described(
    manager: Manager, managed: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is as long as the server starts, or restarts."""
    monkeypatch.setattr(managed._engine.management, "conditions", lambda _: [])
    (status,) = manager.models()
    assert (status.ready_workers, status.workers, status.batch_size) == (0, 1, 4)


@OVER_GRPC
def test_a_switch_replaces_the_default(manager: Manager, store: Path) -> None:
    ModelStore(store).set_alias("stub", "canary", "2.0")
    manager.switch("stub", "canary")
    assert versions(manager) == {"2.0": True}
    assert [status.version for status in manager.describe("stub", "canary")] == ["2.0"]
    assert written(store)["policy"] == "specific"
    manager.switch("stub", "1.0")
    assert versions(manager) == {"1.0": True}


@OVER_REST
def test_workers_come_and_go(manager: Manager) -> None:
    manager.scale("stub", "1.0", 2)
    status = manager.describe("stub", "1.0")[0]
    assert (status.ready_workers, status.workers) == (2, 2)
    manager.scale("stub", "1.0", 1)
    assert manager.describe("stub", "1.0")[0].ready_workers == 1


def test_what_is_not_waited_for_is_under_way(manager: Manager) -> None:
    for change, there in (("register", {"1.0", "2.0"}), ("unregister", {"1.0"})):
        getattr(manager, change)("stub", "2.0", wait=False)
        progress = manager.progress()
        assert progress is not None
        assert (progress.title, progress.state) == (f"{change} stub 2.0", "running")
        wait_until(lambda: manager.progress().state == "done", 60)  # type: ignore[union-attr]
        assert set(versions(manager)) == there


@OVER_GRPC
def test_the_only_version_goes_if_it_is_told_so(manager: Manager) -> None:
    manager.unregister("stub", "1.0", last=True)
    assert versions(manager) == {}
    manager.register("stub", "1.0")
    assert versions(manager) == {"1.0": True}


@pytest.mark.parametrize(
    ("manager", "change"), [("REST", "register"), ("gRPC", "switch")], indirect=["manager"]
)
def test_a_handler_that_fails_leaves_nothing(
    manager: Manager, managed: Server, change: str, store: Path
) -> None:
    before, state = managed._engine._workspace.unpacked(), written(store)  # type: ignore[union-attr]
    with pytest.raises(ServerFault, match="ValueError: the weights are of another") as caught:
        getattr(manager, change)("stub", "3.0")
    assert 'raise ValueError(self.config["fail"])' in caught.value.details
    assert versions(manager) == {"1.0": True}
    assert managed._engine.management.conditions("stub")[-1].version == "1.0"
    assert managed._engine._workspace.unpacked() == before  # type: ignore[union-attr]
    assert written(store) == state


@OVER_REST
def test_a_wrong_answer_leaves_nothing(manager: Manager) -> None:
    with pytest.raises(ServerFault, match=r"stub 4.0 is refused: over REST it answers"):
        manager.switch("stub", "4.0")
    assert versions(manager) == {"1.0": True}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda m: m.register("stub", "9.9"), ModelNotFound, "lists .*stub-1.0.mar.*bare file"),
        (lambda m: m.register("../stub", "1.0"), ModelNotFound, "model store alone"),
        (lambda m: m.register("stub", "1.0"), Conflict, "served already"),
        (lambda m: m.unregister("stub", "1.0"), Conflict, "is the default.*it is the only one"),
        (lambda m: m.describe("stub", "9.9"), ModelNotFound, "stub 9.9 is not served; stub 1.0"),
        (lambda m: m.scale("stub", "1.0", 0), Conflict, "has no worker to answer with"),
        (lambda m: m.set_default("stub", "9.9"), ModelNotFound, "stub 9.9 is not served; stub 1.0"),
        (lambda m: m.switch("stub", "1.0"), Conflict, "is the default already"),
        (lambda m: m.set_policy("stub", "some"), Conflict, "latest, specific, all or keep:N"),
        (lambda m: m.set_policy("other", "all"), ModelNotFound, "other is not served"),
    ],
)
def test_what_is_refused(
    manager: Manager, change: Callable[[Manager], object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        change(manager)
    assert versions(manager) == {"1.0": True}


@OVER_REST
def test_a_changed_archive_is_refused(manager: Manager, store: Path) -> None:
    make_archive(store, "2.0", stub={"changed": True})
    with pytest.raises(ServerFault, match="SHA-256"):
        manager.register("stub", "2.0")
    put_into_store(store, "2.0", golden_logits=(4.0, 1.0, 0.0), stub={"logits": [4.0, 1, 0]})


def test_readiness_is_asked_without_a_token(managed: Server) -> None:
    answer = httpx.get(f"{managed.management_url}/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize("kind", ["inference", "management"])
def test_a_token_is_wanted(managed: Server, kind: str) -> None:
    """None, a wrong one, and the one of the other side."""
    other = read_key_file(key_file(managed), "inference" if kind == "management" else "management")
    for token in (None, "wrong", other):
        clients: list[tuple[Any, str]] = [
            (Client(managed.rest_url, token=token), "inference"),
            (GrpcClient(managed.grpc_target, token=token), "inference"),
            (ManagementClient(managed.management_url, token=token), "management"),
            (GrpcManagementClient(managed.grpc_management_target, token=token), "management"),
        ]
        for client, side in clients:
            with client:
                if side == kind == "inference":
                    with pytest.raises(Unauthorized):
                        client.predict(b"x", model="stub")
                elif side == kind:
                    with pytest.raises(Unauthorized):
                        client.models()


def test_renewed_tokens_are_read_again(manager: Manager, managed: Server) -> None:
    keys = managed._engine.keys
    assert keys is not None
    with (
        Client(managed.rest_url, token=managed.token) as rest,
        GrpcClient(managed.grpc_target, token=managed.token) as grpc,
    ):
        for _ in range(2):
            assert rest.predict(b"x", model="stub")[0].label == "class 1"
            assert grpc.predict(b"x", model="stub")[0].label == "class 1"
            assert versions(manager) == {"1.0": True}
            before = read_key_file(key_file(managed), "inference")
            keys.renew(managed._engine.config.management_url)
            assert read_key_file(key_file(managed), "inference") != before
    assert managed._engine.management.answers


def test_an_expired_token_opens_nothing(managed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    token = read_key_file(key_file(managed), "management")
    reception = httpx.get(f"{managed.management_url}/models", headers=bearer(token))
    assert reception.status_code == 200
    an_hour_later = time.time() + 3601
    monkeypatch.setattr("marina.serve.keys.time.time", lambda: an_hour_later)
    reception = httpx.get(f"{managed.management_url}/models", headers=bearer(token))
    assert reception.status_code == 401
    assert "marina token --management" in reception.json()["message"]


def test_tokens_are_renewed_before_they_end(
    managed: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = managed._engine.keys
    assert keys is not None
    url = managed._engine.config.management_url
    before = keys.read("inference")
    assert not keys.renew_if_old(url)
    soon = time.time() + 50 * 60
    monkeypatch.setattr("marina.serve.keys.time.time", lambda: soon)
    assert keys.renew_if_old(url)
    assert keys.read("inference") != before


def test_the_tokens_are_for_their_owner_alone(managed: Server) -> None:
    assert key_file(managed).stat().st_mode & 0o077 == 0


def key_file(managed: Server) -> Path:
    assert managed.token is not None
    told = json.loads((managed.log_dir / "serve.json").read_text())
    assert told["key_file"] == str(managed.token)
    return managed.token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
