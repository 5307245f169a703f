"""The core by itself: no network, no clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marina.client.call import Attempt, Call, Operation, Reply
from marina.client.core import Core, drive
from marina.client.options import Options, Retry
from marina.client.token import TokenSource, read_key_file
from marina.errors import ClientError, ConnectionFailed, ConnectionRefused, QueueFull, Unauthorized

PING = Call(Operation.PING)


def run(core: Core, *outcomes: ClientError | Reply) -> tuple[list[Attempt], list[float], Reply]:
    """Let each attempt end in one of the outcomes, in turn."""
    attempts: list[Attempt] = []
    pauses: list[float] = []

    def send(attempt: Attempt) -> Reply:
        attempts.append(attempt)
        outcome = outcomes[len(attempts) - 1]
        if isinstance(outcome, ClientError):
            raise outcome
        return outcome

    return attempts, pauses, drive(core.exchange(PING), send, pauses.append)


def test_pauses_grow_and_are_drawn_by_lot() -> None:
    retry = Retry(attempts=9, first_s=0.1, longest_s=0.5)
    for attempt, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (8, 0.5)):
        drawn = [retry.pause_s(attempt) for _ in range(200)]
        assert 0 <= min(drawn) < longest / 4
        assert longest * 3 / 4 < max(drawn) <= longest


@pytest.mark.parametrize("error", [QueueFull("full"), ConnectionRefused("refused")])
def test_what_was_not_taken_is_sent_again(error: ClientError) -> None:
    core = Core(Options(retry=Retry(attempts=3)))
    attempts, pauses, reply = run(core, error, error, Reply(b"{}"))
    assert (len(attempts), len(pauses), reply.body) == (3, 2, b"{}")
    assert len({attempt.call.request_id for attempt in attempts}) == 1


@pytest.mark.parametrize("attempts", [1, 2])
def test_at_most_so_many_attempts_are_made(attempts: int) -> None:
    core = Core(Options(retry=Retry(attempts=attempts)))
    with pytest.raises(QueueFull):
        run(core, *[QueueFull(f"full {number}") for number in range(attempts)])


def test_a_connection_that_broke_may_have_been_served() -> None:
    with pytest.raises(ConnectionFailed, match="reset"):
        run(Core(Options()), ConnectionFailed("reset"))


def test_management_shows_a_token_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "key_file.json"
    file.write_text(json.dumps({"management": {"key": "m"}, "inference": {"key": "i"}}))
    core = Core(Options(token=file))
    shown: list[str | None] = []

    def send(attempt: Attempt) -> Reply:
        shown.append(attempt.token)
        return Reply(b"{}")

    for operation in (Operation.PREDICT, Operation.DESCRIBE):
        drive(core.exchange(Call(operation, "resnet")), send)
    assert shown == ["i", "m"]


def test_a_file_that_is_rewritten_after_the_refusal_is_read_once_more() -> None:
    """TorchServe changes its token before the file: the first new reading may be stale."""
    tokens = iter(["old", "old", "new"])
    core = Core(Options(token=lambda: next(tokens)))
    attempts, pauses, _ = run(core, Unauthorized("expired"), Reply(b"{}"))
    assert [attempt.token for attempt in attempts] == ["old", "new"]
    assert len(pauses) == 1


def test_another_threads_renewal_counts() -> None:
    tokens = iter(["new"])
    source = TokenSource(lambda: next(tokens), "inference")
    assert source.renew("old")
    assert source.current() == "new"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"management": {"key": "m"}}'])
def test_what_is_no_token_file_is_said_to_be_none(content: str, tmp_path: Path) -> None:
    file = tmp_path / "key_file.json"
    file.write_text(content)
    with pytest.raises(ClientError, match=r"is no token file: .* with a key for \"inference\""):
        read_key_file(file, "inference")
