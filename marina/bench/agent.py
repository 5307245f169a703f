"""The load generator's own process: Locust as a library, one load after another.

    python -m marina.bench.agent

It reads a load as a line of JSON from stdin and answers with a line of JSON on stdout, until stdin
ends. One process serves many loads: importing Locust takes a second. `LoadGenerator` talks to it.
"""

from __future__ import annotations

# First of all: locust patches the standard library for gevent.
import locust  # noqa: F401  # isort: skip

import json
import os
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment

from marina.bench.locustfile import GrpcUser, ImageUser, RestUser, read_images, record


def main() -> None:
    """Answer commands until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints shall not come between the answers
    for line in sys.stdin:
        try:
            answer = perform(json.loads(line))
        except Exception as err:
            answer = {"error": f"{type(err).__name__}: {err}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def perform(command: dict[str, Any]) -> dict[str, Any]:
    """Run one load, or with ``probe`` send one image."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as images:
        images.write(json.dumps(command["images"]))
        images.flush()
        environment = _environment(command, Path(images.name))
        read_images.cache_clear()
        if command.get("probe"):
            return _probe(environment)
        return _run(environment, command)


def _environment(command: dict[str, Any], images: Path) -> Environment:
    users = command["users"] if command["rate"] is None else 1
    options = Namespace(
        images=images,
        model=command["model"],
        model_version=command["version"],
        grpc_target=command["url"],
        arrival_rate=command["rate"],
        arrivals=command["arrivals"],
        path=command["path"],
        headers=command["headers"],
        num_users=users,
    )
    user_class: type[ImageUser] = GrpcUser if command["protocol"] == "grpc" else RestUser
    environment = Environment(
        user_classes=[user_class], host=command["url"], parsed_options=options, stop_timeout=30
    )
    environment.create_local_runner()
    record(environment)
    return environment


def _probe(environment: Environment) -> dict[str, Any]:
    user = environment.user_classes[0](environment)
    assert isinstance(user, ImageUser)  # noqa: S101 - for mypy: both classes are
    user.on_start()
    image = read_images(str(environment.parsed_options.images))[0]  # type: ignore[union-attr]
    answer = user.ask(image, time.perf_counter())
    return {"status": answer.status, "body": answer.body.decode("utf-8", "replace")}


def _run(environment: Environment, command: dict[str, Any]) -> dict[str, Any]:
    runner = environment.runner
    assert runner is not None  # noqa: S101 - it was made just now
    users = environment.parsed_options.num_users  # type: ignore[union-attr]
    started_s, cpu_s = time.time(), time.process_time()
    runner.start(users, spawn_rate=users)
    gevent.sleep(command["warmup_s"] + command["duration_s"])
    ended_s, cpu_s = time.time(), time.process_time() - cpu_s
    runner.quit()
    samples = environment.samples.take()  # type: ignore[attr-defined]
    return {"started_s": started_s, "ended_s": ended_s, "cpu_s": cpu_s, **samples}


if __name__ == "__main__":
    main()
