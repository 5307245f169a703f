"""What the management side says as long as a server starts."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from marina.client.token import read_key_file
from marina.errors import ClientError
from marina.serve import resolve, running

from .archives import put_into_store
from .conftest import free_config

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_nothing_is_changed_as_long_as_a_server_starts(tmp_path: Path) -> None:
    """Each call is answered: at first there are no tokens, then the start keeps changes out."""
    store, log_dir = tmp_path / "store", tmp_path / "logs"
    put_into_store(store, "1.0")
    put_into_store(store, "2.0", stub={"load_s": 2})
    config = replace(free_config(store), tokens=True)
    answers: list[tuple[int, str | None]] = []
    is_up = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=config.management_url, trust_env=False, timeout=30) as client:
            while not is_up.wait(0.02):
                try:
                    token = read_key_file(log_dir / "key_file.json", "management")
                except ClientError:
                    token = "none"
                try:
                    answer = client.put(
                        "/models/stub/2.0/set-default", headers={"Authorization": f"Bearer {token}"}
                    )
                except httpx.TransportError:
                    assert not answers, "a call was not answered"
                else:
                    answers.append((answer.status_code, answer.json().get("message")))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        models = resolve(["stub-2.0.mar", "stub-1.0.mar"], store)
        with running(config, models, log_dir=log_dir) as server:
            is_up.set()
            assert [model.version for model in server.models] == ["2.0", "1.0"]
    finally:
        is_up.set()
        thread.join()
    says = dict(answers)
    assert says.keys() <= {200, 401, 409, 503}, "200 comes only once it has started"
    assert says[503] == "the server starts, and has no tokens yet: GET /ready tells when"
    assert says[409] == "the server's start is under way: try again when it is done"
