"""How the server is at the moment it is asked: models, workers, queues, splits, repairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from marina.errors import ServeError

if TYPE_CHECKING:
    from marina.serve.engine import Engine
    from marina.serve.fleet import Fleet
    from marina.serve.front import Front
    from marina.serve.health import Health
    from marina.serve.management import Condition
    from marina.serve.observation import Observations
    from marina.serve.served import Served
    from marina.serve.state import VersionState
    from marina.serve.supervisor import Supervisor

_VERSION = ("model_name", "model_version")


class Inventory(Collector):
    """Looks at a server whenever Prometheus asks.

    Args:
        engine: Knows TorchServe and its workers.
        fleet: Knows what is served.
        health: Knows whether the server is ready.
        supervisor: Knows what was repaired.
        front: Knows the splits; None if there is no gateway.
        observations: Counts what happens to all that is served.
    """

    def __init__(
        self,
        engine: Engine,
        fleet: Fleet,
        health: Health,
        supervisor: Supervisor,
        front: Front | None,
        observations: Observations,
    ):
        self._engine = engine
        self._fleet = fleet
        self._health = health
        self._supervisor = supervisor
        self._front = front
        self._observations = observations

    def collect(self) -> Iterable[Metric]:
        """Give all metrics of the moment."""
        served = self._fleet.all()
        for each, _ in served:
            self._observations.touch(each.name, each.version)
        yield _gauge("marina_ready", "1 if the server is ready, as /ready says.", self._is_ready())
        yield _gauge(
            "marina_torchserve_up", "1 if TorchServe runs.", float(self._engine.is_running)
        )
        if self._front is not None:
            yield _gauge(
                "marina_gateway_up", "1 if the gateway runs.", float(self._front.is_running)
            )
        yield self._repairs()
        yield from self._models(served)
        yield from self._workers(served)
        yield from self._splits()

    def _is_ready(self) -> float:
        return float(not self._health.problems())

    def _repairs(self) -> Metric:
        family = CounterMetricFamily(
            "marina_repairs", "What the supervisor has mended.", labels=["part"]
        )
        for part, count in self._supervisor.repairs.items():
            family.add_metric([part], count)
        return family

    def _models(self, served: list[tuple[Served, VersionState]]) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "marina_model_info", "Which archive is served.",
            labels=[*_VERSION, "sha256", "accuracy", "is_default"],
        )  # fmt: skip
        accuracy = GaugeMetricFamily(
            "marina_model_accuracy", "On the test images, in the lab.", labels=_VERSION
        )
        most = GaugeMetricFamily(
            "marina_batch_size_limit", "Most requests in a batch.", labels=_VERSION
        )
        for each, state in served:
            own = [each.name, each.version]
            is_default = self._fleet.state.models[each.name].default == each.version
            known = "" if each.accuracy is None else f"{each.accuracy:.6g}"
            info.add_metric([*own, each.sha256, known, str(is_default).lower()], 1)
            if each.accuracy is not None:
                accuracy.add_metric(own, each.accuracy)
            most.add_metric(own, state.batch_size)
        yield from (info, accuracy, most)

    def _workers(self, served: list[tuple[Served, VersionState]]) -> Iterator[Metric]:
        names = {
            "workers_wanted": "Workers that a version shall have.",
            "workers_ready": "Workers that have loaded.",
            "workers_busy": "Workers that hold a batch.",
            "workers_given_up": "Workers that died and that TorchServe tries no more.",
            "queue_length": "Requests that wait for a worker.",
            "queue_limit": "Most requests that may wait; one more is answered with 429.",
        }
        families = {
            name: GaugeMetricFamily(f"marina_{name}", what, labels=_VERSION)
            for name, what in names.items()
        }
        told = self._conditions({each.name for each, _ in served})
        for each, state in served:
            doing = self._engine.activity.of(each.name, each.version)
            values = {
                "workers_wanted": state.workers,
                "workers_busy": doing.busy,
                "workers_given_up": doing.given_up,
            }
            if condition := told.get((each.name, each.version)):
                room = int(condition.told["jobQueueStatus"]["remainingCapacity"])
                values["workers_ready"] = condition.ready
                values["queue_length"] = condition.pending
                values["queue_limit"] = condition.pending + room
            else:
                values["workers_ready"] = 0
            for name, value in values.items():
                families[name].add_metric([each.name, each.version], value)
        yield from families.values()

    def _conditions(self, names: set[str]) -> dict[tuple[str, str], Condition]:
        if not self._engine.is_running:
            return {}
        try:
            return {
                (name, each.version): each
                for name in names
                for each in self._engine.management.conditions(name)
            }
        except RuntimeError:  # its connection is closed: TorchServe restarts at this moment
            return {}

    def _splits(self) -> Iterator[Metric]:
        if self._front is None:
            return
        weights = GaugeMetricFamily(
            "marina_split_percent", "Share of a model's unversioned requests.",
            labels=[*_VERSION, "kind"],
        )  # fmt: skip
        try:
            splits = self._front.splits.values()
        except ServeError:  # the gateway has not been started yet
            splits = {}.values()
        for split in splits:
            told = split.as_dict()
            for kind, key in (("split", "weights"), ("shadow", "shadow")):
                for version, percent in (told[key] or {}).items():
                    weights.add_metric([split.model, version, kind], percent)
        yield weights


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)
