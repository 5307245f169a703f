"""Changes under load: every request that is sent is answered, and answered well."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from marina.client import ManagementClient
from marina.errors import Conflict, ServerFault
from marina.serve import resolve, running

from .archives import put_into_store
from .conftest import free_config, wait_until
from .load import Load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

REQUESTS = 10_000


def test_nothing_is_lost_while_versions_come_and_go(tmp_path: Path) -> None:
    """Register, scale up and down, set the default, unregister, switch, and switches that fail."""
    store = tmp_path / "store"
    put_into_store(store, "1.0", batchSize=4)
    config = free_config(store)
    models = resolve(["stub-1.0.mar"], store)
    put_into_store(store, "2.0", batchSize=4)
    put_into_store(store, "3.0", stub={"fail": "no good"})
    with (
        running(config, models, log_dir=tmp_path / "logs"),
        ManagementClient(config.management_url) as manager,
        Load(config.rest_port) as load,
    ):
        load.until(100)
        manager.register("stub", "2.0")
        manager.scale("stub", "2.0", 2)
        manager.set_default("stub", "2.0")
        manager.unregister("stub", "1.0")
        manager.scale("stub", "2.0", 1)
        manager.switch("stub", "1.0")
        with pytest.raises(ServerFault, match="ValueError: no good"):
            manager.switch("stub", "3.0")
        assert [(m.version, m.is_default) for m in manager.models()] == [("1.0", True)]
        load.until(REQUESTS)
    assert load.ledger.sent >= REQUESTS
    assert load.ledger.statuses == {200: load.ledger.sent}


def test_a_version_that_is_asked_for_by_name_is_not_taken_away(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for version in ("1.0", "2.0"):
        put_into_store(store, version)
    config = replace(free_config(store), drain_timeout_s=4.0)
    models = resolve(["stub-1.0.mar", "stub-2.0.mar"], store)
    with (
        running(config, models, log_dir=tmp_path / "logs"),
        ManagementClient(config.management_url) as manager,
        Load(config.rest_port, "/predictions/stub/1.0", threads=2) as load,
    ):
        load.until(20)
        says = "stub 1.0 still gets requests that name its version"
        with pytest.raises(Conflict, match=says):
            manager.switch("stub", "2.0")
        assert [(m.version, m.is_default) for m in manager.models()] == [
            ("1.0", True),
            ("2.0", False),
        ]
        manager.set_default("stub", "2.0")
        with pytest.raises(Conflict, match=says):
            manager.unregister("stub", "1.0")
        with pytest.raises(Conflict, match=says):
            manager.scale("stub", "1.0", 0)
    assert load.ledger.statuses == {200: load.ledger.sent}


def test_workers_end_what_they_hold_before_they_are_taken_away(tmp_path: Path) -> None:
    """TorchServe itself kills them with it."""
    store, events = tmp_path / "store", list[str]()
    put_into_store(store, "1.0", batchSize=2, minWorkers=3, maxWorkers=3)
    config, models = free_config(store), resolve(["stub-1.0.mar"], store)
    with (
        running(config, models, log_dir=tmp_path / "logs", on_event=events.append),
        ManagementClient(config.management_url) as manager,
        Load(config.rest_port, threads=8, body=b"sleep 0.3") as load,
    ):
        load.until(8)
        manager.scale("stub", "1.0", 1)
    assert load.ledger.statuses == {200: load.ledger.sent}
    assert not [event for event in events if "were taken away" in event]


def test_a_worker_that_does_not_end_what_it_holds_stays(tmp_path: Path) -> None:
    store = tmp_path / "store"
    put_into_store(store, "1.0", maxWorkers=2, minWorkers=2)
    config = replace(free_config(store), drain_timeout_s=1.0)
    with (
        running(config, resolve(["stub-1.0.mar"], store), log_dir=tmp_path / "logs") as server,
        ManagementClient(config.management_url) as manager,
        Load(config.rest_port, threads=2, body=b"sleep 5") as load,
    ):
        wait_until(lambda: server._engine.activity.busy == 2)
        with pytest.raises(Conflict, match="have not ended their batch after 1 s"):
            manager.scale("stub", "1.0", 1)
        assert manager.models()[0].workers == 2
    assert load.ledger.statuses == {200: load.ledger.sent}


# What is no Marina's: it knows no parking, and hangs when it is asked to describe its model.
FOREIGN = """
import time

class Foreign:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        if "describe" in context.get_all_request_header(0):
            time.sleep(1000)
        image = bytes(data[0].get("data") or data[0].get("body"))
        time.sleep(0 if image == b"a golden image" else 0.4)
        context.set_response_content_type(0, "application/json")
        return ['{"predictions": [{"label": "class 1", "index": 1, "probability": 0.9088}]}']
"""


def test_workers_of_a_foreign_handler_go_when_they_are_idle_or_by_force(tmp_path: Path) -> None:
    store, events = tmp_path / "store", list[str]()
    put_into_store(store, "1.0", handler=FOREIGN, minWorkers=2, maxWorkers=2)
    config = replace(free_config(store), drain_timeout_s=2.0)
    models = resolve(["stub-1.0.mar"], store)
    with (
        running(config, models, log_dir=tmp_path / "logs", on_event=events.append),
        ManagementClient(config.management_url) as manager,
    ):
        with Load(config.rest_port, threads=4) as load:
            load.until(4)
            with pytest.raises(Conflict, match=r"which is not Marina's.*or with --force"):
                manager.scale("stub", "1.0", 1)
            assert manager.models()[0].workers == 2
        assert load.ledger.statuses == {200: load.ledger.sent}
        manager.scale("stub", "1.0", 1)
        assert not [event for event in events if "were taken away" in event]
        manager.scale("stub", "1.0", 2)
        with Load(config.rest_port, threads=4, timeout_s=5) as load:
            load.until(4)
            manager.scale("stub", "1.0", 1, force=True)
            load.until(len(load.ledger.answers) + 4)
        assert [event for event in events if "were taken away" in event]
        assert manager.models()[0].ready_workers == 1
