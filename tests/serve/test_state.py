"""The state's file: whole, ours, and one server's at a time."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from marina.errors import OperationRefused, ServeError
from marina.serve.policy import checked_policy, kept
from marina.serve.restore import kept_state
from marina.serve.state import State, StateFile, VersionState

from .archives import put_into_store

if TYPE_CHECKING:
    from pathlib import Path

VERSION = VersionState(
    file="stub-1.0.mar", sha256="0" * 64, workers=1, batch_size=1, max_batch_delay_ms=0
)
STATE = State(models={}).with_version("stub", "1.0", VERSION)


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path)


def test_it_is_read_as_it_was_written(file: StateFile) -> None:
    assert file.read() is None
    file.write(STATE)
    assert file.read() == STATE
    assert [path.name for path in file.path.parent.iterdir()] == ["state.json"]


def test_a_torn_file_is_refused_wherever_it_was_torn(file: StateFile) -> None:
    file.write(STATE)
    whole = file.path.read_bytes()
    for length in range(len(whole) - 2):
        file.path.write_bytes(whole[:length])
        with pytest.raises(ServeError, match=r"not a state that Marina wrote whole.*--new-state"):
            file.read()
        assert file.path.read_bytes() == whole[:length]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d.update(format="other"), "format"),
        (lambda d: d.pop("models"), "models: Field required"),
        (lambda d: d.update(more=1), "more: Extra inputs"),
        (lambda d: d["models"]["stub"].update(default="9.9"), "the default '9.9' is none of"),
        (lambda d: d["models"]["stub"].update(policy="keep:0"), "policy"),
        (lambda d: version(d).update(workers="1"), "workers: Input should be a valid integer"),
        (lambda d: version(d).update(sha256="x"), "sha256"),
        (lambda d: version(d).update(file="../stub-1.0.mar"), "no file of the store"),
        (lambda d: d.clear(), "models: Field required"),
    ],
)
def test_a_foreign_file_is_refused(file: StateFile, spoil: Any, says: str) -> None:
    document = json.loads(STATE.model_dump_json())
    spoil(document)
    file.path.write_text(json.dumps(document))
    with pytest.raises(ServeError, match=says):
        file.read()


def version(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["models"]["stub"]["versions"]["1.0"]
    return found


def test_a_full_disk_leaves_the_old_state(file: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write(STATE)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("marina.files.os.fsync", full)
    with pytest.raises(ServeError, match=r"No space left on device.*free some space"):
        file.write(STATE.with_policy("stub", "latest"))
    assert file.read() == STATE
    assert [path.name for path in file.path.parent.iterdir()] == ["state.json"]


ON_A_FULL_DISK = """
import sys
from pathlib import Path
from marina.errors import ServeError
from marina.serve.state import StateFile
from tests.serve.test_state import STATE

folder = Path(sys.argv[1])
file = StateFile(folder)
file.write(STATE)
with (folder / "ballast").open("wb", buffering=0) as ballast:
    try:
        while True:
            ballast.write(bytes(4096))
    except OSError:
        pass
try:
    file.write(STATE.with_policy("stub", "latest"))
except ServeError as err:
    assert "No space left on device" in str(err), err
    assert file.read() == STATE
    assert sorted(p.name for p in folder.iterdir()) == ["ballast", "state.json"]
    print("kept")
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """On a file system of 64 KiB in a namespace of the test's own."""
    mount = f"mount -t tmpfs -o size=64k none {tmp_path}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*command, mount], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    script = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    done = subprocess.run(
        [*command, script, sys.executable, ON_A_FULL_DISK],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "kept\n", done.stderr


def test_a_store_has_one_server(file: StateFile) -> None:
    file.claim()
    with pytest.raises(ServeError, match="another `marina serve` runs on"):
        StateFile(file.path.parent).claim()
    file.release()
    StateFile(file.path.parent).claim()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for version in ("1.0", "1.9", "1.10"):
        put_into_store(tmp_path / "store", version, minWorkers=2, batchSize=4, maxBatchDelay=7)
    return tmp_path / "store"


def served(store: Path) -> tuple[str, list[str]]:
    with kept_state(store) as held:
        model = held.state.models["stub"]
        assert held.models[0].version == model.default
        return model.default, sorted(model.versions)


def keep(store: Path, policy: str, default: str, *versions: str) -> None:
    with kept_state(store, is_new=True) as held:
        state = held.state.with_default("stub", default).with_policy("stub", policy)
        for version in set(state.models["stub"].versions) - set(versions):
            state = state.without_version("stub", version)
        held.file.write(state)


def test_without_a_state_all_of_the_store_is_served(store: Path) -> None:
    assert served(store) == ("1.10", ["1.0", "1.10", "1.9"])
    with kept_state(store) as held:
        state = held.state.models["stub"].versions["1.0"]
        assert (state.workers, state.batch_size, state.max_batch_delay_ms) == (2, 4, 7)


@pytest.mark.parametrize(
    ("policy", "default", "before", "after"),
    [
        ("specific", "1.0", ["1.0"], ("1.0", ["1.0"])),
        ("all", "1.0", ["1.0"], ("1.0", ["1.0", "1.10", "1.9"])),
        ("latest", "1.0", ["1.0"], ("1.10", ["1.10"])),
        ("keep:2", "1.0", ["1.0"], ("1.0", ["1.0", "1.10"])),
        ("keep:1", "1.0", ["1.0"], ("1.0", ["1.0"])),
    ],
)
def test_a_policy_says_what_is_served_at_the_next_start(
    store: Path, policy: str, default: str, before: list[str], after: tuple[str, list[str]]
) -> None:
    keep(store, policy, default, *before)
    assert served(store) == after


def test_an_archive_that_was_replaced_or_lost_is_refused(store: Path) -> None:
    keep(store, "specific", "1.0", "1.0")
    put_into_store(store, "1.0", stub={"logits": [0.5, 3.0, -1.0], "changed": True})
    with pytest.raises(ServeError, match=r"not the archive that was served as stub 1.0"):
        served(store)
    shutil.rmtree(store / "stub-1.0.mar", ignore_errors=True)
    (store / "index.json").write_text('{"archives": []}')
    with pytest.raises(ServeError, match=r"serves stub 1.0, which .* does not list"):
        served(store)


def test_a_damaged_state_is_put_aside_only_when_told_to(store: Path) -> None:
    (store / "state.json").write_text("{")
    with pytest.raises(ServeError, match="not a state"):
        served(store)
    events: list[str] = []
    with kept_state(store, is_new=True, on_event=events.append) as held:
        assert len(held.models) == 3
    assert (store / "state.json.old").read_text() == "{"
    assert "put aside" in events[0]


def test_what_is_not_served_is_told_of(store: Path) -> None:
    keep(store, "specific", "1.0", "1.0", "1.9")
    events: list[str] = []
    with kept_state(store, on_event=events.append):
        pass
    assert events == [
        "stub 1.10 is in the store and not served: `marina models register stub 1.10`"
    ]


def test_a_policy_is_one_of_four() -> None:
    assert [checked_policy(p) for p in ("latest", "keep 3", "keep:03")] == [
        "latest",
        "keep:3",
        "keep:3",
    ]
    for policy in ("", "keep", "keep:0", "keep:x", "latest:1", "newest"):
        with pytest.raises(OperationRefused, match="latest, specific, all or keep:N"):
            checked_policy(policy)


def test_the_default_stays_whatever_the_policy() -> None:
    versions = ["1.0", "1.9", "1.10", "2.0"]
    assert kept("latest", versions, "1.0") == {"1.0"}
    assert kept("keep:2", versions, "1.0") == {"1.0", "2.0"}
    assert kept("keep:9", versions, "1.0") == set(versions)
    assert kept("specific", versions, "1.0") == set(versions)
