"""What a signal does in each phase."""

from __future__ import annotations

import signal
import threading

import pytest

from marina.serve.interruption import Interruption, exit_on_sigterm


def test_while_starting_the_next_check_raises_it() -> None:
    with Interruption() as interruption:
        interruption.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_what_is_not_ctrl_c_exits_as_shells_expect(number: signal.Signals, code: int) -> None:
    with Interruption() as interruption:
        interruption.phase = "serving"
        with pytest.raises(SystemExit) as caught:
            signal.raise_signal(number)
    assert caught.value.code == code


def test_while_serving_it_is_raised_once_then_forces() -> None:
    with Interruption() as interruption:
        interruption.phase = "serving"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert not interruption.forced
        signal.raise_signal(signal.SIGINT)
        assert interruption.forced


def test_while_waiting_it_only_ends_the_wait() -> None:
    with Interruption() as interruption:
        interruption.phase = "waiting"
        signal.raise_signal(signal.SIGTERM)
        assert interruption.came
        assert not interruption.forced


def test_an_ignored_signal_stays_ignored() -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.came
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_outside_the_main_thread_it_installs_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    inside = []

    def enter() -> None:
        with Interruption() as interruption:
            inside.append(signal.getsignal(signal.SIGINT))
            interruption.check()

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert inside == [before]


def test_programs_without_phases_end_their_blocks_on_sigterm() -> None:
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        exit_on_sigterm()
        with pytest.raises(SystemExit) as caught:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert caught.value.code == 143
