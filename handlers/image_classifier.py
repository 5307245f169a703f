"""The handler: TorchServe's batches of requests in, JSON answers out.

It is not built on TorchServe's BaseHandler, whose import looks for onnxruntime, OpenVINO and
others, and costs a worker seconds.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from handlers import answer
from handlers.device import choose_device
from handlers.errors import ExplanationsOff, ImageError
from handlers.explain import occlude, overlay
from handlers.labels import read_labels
from handlers.metrics import report
from handlers.options import Options, read_options
from handlers.parking import park
from handlers.pipeline import Loaded, rank
from handlers.record import BatchRecord
from handlers.request import read_image, request_id
from handlers.settings import Settings
from handlers.startup import start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from handlers.context import Context, Item

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that can be answered."""

    loaded: Loaded
    options: Options


class ImageClassifier:
    """Classify images with the model of one archive.

    TorchServe makes one for each worker, calls ``initialize`` once and then ``handle`` for each
    batch.
    """

    def initialize(self, context: Context) -> None:
        """Load the model, prove it on the golden images, and warm it.

        The worker reports ready only when this returns.

        Args:
            context: Names the model folder, the GPU and the batch size.

        Raises:
            GoldenMismatch: The worker's answers are not the lab's.
            BackendUnavailable: The recipe's backend is not installed here.
            ValueError: The model folder or its configuration is not valid.
            OSError: A file is missing from the model folder.
        """
        started = perf_counter()
        folder = Path(context.system_properties["model_dir"])
        config = context.model_yaml_config or {}
        self._settings = Settings.from_mapping(config.get("handler") or {})
        self._name, self._version = context.model_name, _version(context.manifest)
        self._labels = read_labels(folder / "index_to_name.json")
        batch_size = max(1, context.system_properties["batch_size"] or 1)
        self._pipeline = start(
            folder,
            config,
            self._settings,
            choose_device(context.system_properties["gpu_id"]),
            batch_size,
            len(self._labels),
        )
        logger.info(
            "%s %s ready on %s after %.1f s: batches of 1 to %d warmed, golden images answered",
            self._name,
            self._version,
            self._pipeline.device,
            perf_counter() - started,
            batch_size,
        )

    def handle(self, data: Sequence[Item], context: Context) -> list[bytes]:
        """Answer a batch.

        Args:
            data: The requests' input fields.
            context: Gives their headers, takes the statuses and content types of the answers.

        Returns:
            One JSON document a request. A request that cannot be answered gets an error of its
            own status; its mates do not notice.
        """
        if park(context, self._version, len(data)):
            return [b"{}"]
        record = BatchRecord(len(data))
        try:
            return self._answer(data, context, record)
        except Exception:
            record.fail()
            raise
        finally:
            ids = [request_id(context, index, item) for index, item in enumerate(data)]
            report(record, context.metrics, self._name, self._version, ids)

    def _answer(self, data: Sequence[Item], context: Context, record: BatchRecord) -> list[bytes]:
        received = [(item, context.get_all_request_header(i)) for i, item in enumerate(data)]
        outcomes = self._load(received)
        requests = [outcome for outcome in outcomes if isinstance(outcome, Request)]
        record.stop_loading([request.loaded for request in requests])
        answers = iter(self._predict(requests, record) if requests else ())
        return [
            _refuse(outcome, index, context, record)
            if isinstance(outcome, ImageError)
            else _accept(*next(answers), index, context)
            for index, outcome in enumerate(outcomes)
        ]

    def _load(
        self, received: Sequence[tuple[Item, Mapping[str, Any]]]
    ) -> list[Request | ImageError]:
        """Read each request's options and image; what cannot be read is its error."""
        read = [self._read(*each) for each in received]
        files = [each[0] for each in read if not isinstance(each, ImageError)]
        loaded = iter(self._pipeline.load_all(files))
        return [
            each if isinstance(each, ImageError) else _join(next(loaded), each[1]) for each in read
        ]

    def _read(self, item: Item, headers: Mapping[str, Any]) -> tuple[bytes, Options] | ImageError:
        try:
            options = self._read_options(item, headers)
            return read_image(item), options
        except ImageError as problem:
            return problem

    def _read_options(self, item: Item, headers: Mapping[str, Any]) -> Options:
        options = read_options(item, headers, self._settings.options)
        if options.explain and not self._settings.explanations:
            raise ExplanationsOff(
                "this model answers no explanations: set serve.explanations to true in its recipe "
                "and archive it again"
            )
        return options

    def _predict(
        self, requests: Sequence[Request], record: BatchRecord
    ) -> list[tuple[bytes, dict[str, str]]]:
        """Give each request's answer and the headers that go with it."""
        images = [request.loaded.pixels for request in requests]
        logits = self._pipeline.predict(images)  # (N, classes)
        record.stop("inference")
        most = max(request.options.top_k for request in requests)
        ranked = rank(logits / self._settings.temperature, most)
        answers = [
            self._form(row[: request.options.top_k], request.options)
            for row, request in zip(ranked, requests, strict=True)
        ]
        record.stop("postprocess")
        explained = [i for i, request in enumerate(requests) if request.options.explain]
        for i in explained:
            answers[i] = self._explain(requests[i], ranked[i][0])
        if explained:
            record.stop("explanation")
        return [
            (body, answer.headers(self._prediction(*row[0]), self._version))
            for body, row in zip(answers, ranked, strict=True)
        ]

    def _prediction(self, index: int, probability: float) -> answer.Prediction:
        return answer.Prediction(self._labels[index], index, probability)

    def _explain(self, request: Request, first: tuple[int, float]) -> bytes:
        pixels = request.loaded.pixels
        prediction = self._prediction(*first)
        heat = occlude(self._pipeline, pixels, prediction.index)
        return answer.explanation(prediction, self._name, self._version, overlay(pixels, heat))

    def _form(self, row: Sequence[tuple[int, float]], options: Options) -> bytes:
        predictions = [self._prediction(*each) for each in row]
        if options.format == "detailed":
            return answer.detailed(predictions, self._name, self._version)
        return answer.stock(predictions)


def _join(loaded: Loaded | ImageError, options: Options) -> Request | ImageError:
    return loaded if isinstance(loaded, ImageError) else Request(loaded, options)


def _version(manifest: Mapping[str, Any] | None) -> str:
    return str(((manifest or {}).get("model") or {}).get("modelVersion", ""))


def _accept(body: bytes, headers: Mapping[str, str], index: int, context: Context) -> bytes:
    context.set_response_content_type(index, answer.CONTENT_TYPE)
    for name, value in headers.items():
        context.set_response_header(index, name, value)
    return body


def _refuse(problem: ImageError, index: int, context: Context, record: BatchRecord) -> bytes:
    record.refuse(problem.status)
    context.set_response_status(problem.status, HTTPStatus(problem.status).phrase, index)
    return _accept(answer.error(problem), {}, index, context)
