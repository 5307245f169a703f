"""What version policies do to a server that runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from marina.client import ManagementClient
from marina.errors import Conflict
from marina.serve import kept_state, running

from .archives import put_into_store
from .conftest import free_config
from .load import Load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marina.serve import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of three versions, the last of them the default."""
    folder = tmp_path_factory.mktemp("policies")
    store = folder / "store"
    for version in ("1.0", "2.0", "3.0"):
        put_into_store(store, version)
    config = replace(free_config(store), drain_timeout_s=4.0)
    with (
        kept_state(store) as kept,
        running(
            config,
            kept.models,
            log_dir=folder / "logs",
            state=kept.state,
            state_file=kept.file,
        ) as server,
    ):
        yield server


def written(server: Server) -> tuple[str, str, list[str]]:
    """Give default, policy and versions of the state."""
    state = json.loads((server._config.model_store / "state.json").read_text())["models"]["stub"]
    return state["default"], state["policy"], sorted(state["versions"])


def test_a_policy_that_would_take_a_version_from_its_clients_is_refused(server: Server) -> None:
    with (
        ManagementClient(server.management_url) as manager,
        Load(server._config.rest_port, "/predictions/stub/1.0", threads=2) as load,
    ):
        load.until(20)
        with pytest.raises(Conflict, match=r"stub 1\.0 still gets requests"):
            manager.set_policy("stub", "latest")
        assert written(server) == ("3.0", "all", ["1.0", "2.0", "3.0"])
    assert load.ledger.statuses == {200: load.ledger.sent}


def test_policies_keep_what_they_say(server: Server) -> None:
    with ManagementClient(server.management_url) as manager:
        manager.set_default("stub", "1.0")
        manager.set_policy("stub", "keep:2")
        assert written(server) == ("1.0", "keep:2", ["1.0", "3.0"])
        put_into_store(server._config.model_store, "4.0")
        manager.register("stub", "4.0")
        assert written(server) == ("1.0", "keep:2", ["1.0", "4.0"])
        with pytest.raises(Conflict, match=r"policy is keep:2, and 2\.0 would go at once"):
            manager.register("stub", "2.0")
        manager.set_policy("stub", "all")
        manager.register("stub", "2.0")
        assert written(server) == ("1.0", "all", ["1.0", "2.0", "4.0"])
        manager.set_policy("stub", "latest")
        assert written(server) == ("4.0", "latest", ["4.0"])
        put_into_store(server._config.model_store, "5.0")
        manager.register("stub", "5.0")
        assert written(server) == ("5.0", "latest", ["5.0"])
        assert [(m.version, m.is_default) for m in manager.models()] == [("5.0", True)]
