"""Work that leaves the cores to those who serve."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from handlers.background import NICE, Background, send_back
from handlers.image_spec import ImageLimits, ImageSpec
from handlers.pipeline import Pipeline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it per thread")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_work_steps_back_and_whoever_waits_for_it_does_not() -> None:
    before = niceness()
    assert Background().run(niceness) == min(before + NICE, 19)
    assert niceness() == before


def test_the_work_is_over_with_its_thread() -> None:
    ident = Background().run(threading.get_ident)
    assert ident not in {thread.ident for thread in threading.enumerate()}


def test_work_that_took_too_long_goes_on_as_any_other() -> None:
    assert Background(patience_s=0.0).run(threading.get_ident) == threading.get_ident()


def test_an_error_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        Background().run(lambda: 1 / 0)


def test_a_process_that_goes_steps_back_with_all_its_threads() -> None:
    waits = "import threading; threading.Thread(target=input).start(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", waits], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        send_back(process.pid)
        threads = [int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()]
        seen = [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]
        process.kill()
    assert seen == [min(niceness() + NICE, 19)] * 2
    send_back(process.pid)  # it is there no more


def test_images_are_decoded_in_threads_of_those_who_serve() -> None:
    spec = ImageSpec(20, 16, (0.5,) * 3, (0.25,) * 3)
    pipeline = Pipeline(torch.nn.Identity(), spec, ImageLimits(), torch.device("cpu"), threads=2)

    def decode() -> set[int]:
        return set(pipeline.each(lambda _: niceness(), range(8)))

    assert Background().run(decode) == {min(niceness() + NICE, 19)}
    pipeline.renew_threads()
    assert decode() == {niceness()}
