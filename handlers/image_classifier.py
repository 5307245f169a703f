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

import torch

from handlers import answer
from handlers.cores import usable_cores
from handlers.device import choose_device
from handlers.errors import ImageError
from handlers.golden import Golden
from handlers.image_spec import ImageSpec
from handlers.labels import read_labels
from handlers.metrics import emit
from handlers.model import load_model
from handlers.options import Options, read_options
from handlers.pipeline import Loaded, Pipeline, rank
from handlers.record import BatchRecord
from handlers.request import read_image
from handlers.settings import Settings

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
    """Classify images with the TorchScript model of one archive.

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
            ValueError: The model folder or its configuration is not valid.
            OSError: A file is missing from the model folder.
        """
        started = perf_counter()
        folder = Path(context.system_properties["model_dir"])
        config = context.model_yaml_config or {}
        self._settings = Settings.from_mapping(config.get("handler") or {})
        self._name, self._version = context.model_name, _version(context.manifest)
        self._labels = read_labels(folder / "index_to_name.json")
        self._pipeline = _pipeline(folder, context, self._settings)
        batch_size = max(1, context.system_properties["batch_size"] or 1)
        self._prove(Golden.load(folder / "golden"), batch_size)
        self._warm(batch_size)
        logger.info(
            "%s %s ready on %s after %.1f s: golden images answered, batches of 1 to %d warmed",
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
        record = BatchRecord(len(data))
        try:
            return self._answer(data, context, record)
        except Exception:
            record.fail()
            raise
        finally:
            if context.metrics is not None:
                emit(record, context.metrics, self._version)

    def _answer(self, data: Sequence[Item], context: Context, record: BatchRecord) -> list[bytes]:
        received = [(item, context.get_all_request_header(i)) for i, item in enumerate(data)]
        outcomes = self._pipeline.each(self._load, received)
        requests = [outcome for outcome in outcomes if isinstance(outcome, Request)]
        record.stop_loading([request.loaded for request in requests])
        answers = iter(self._predict(requests, record) if requests else ())
        return [
            _refuse(outcome, index, context, record)
            if isinstance(outcome, ImageError)
            else _accept(next(answers), index, context)
            for index, outcome in enumerate(outcomes)
        ]

    def _load(self, received: tuple[Item, Mapping[str, Any]]) -> Request | ImageError:
        item, headers = received
        try:
            options = read_options(item, headers, self._settings.options)
            return Request(self._pipeline.load(read_image(item)), options)
        except ImageError as problem:
            return problem

    def _predict(self, requests: Sequence[Request], record: BatchRecord) -> list[bytes]:
        batch = self._pipeline.batch([request.loaded.pixels for request in requests])
        record.stop("preprocess")
        logits = self._pipeline.infer(batch)  # (N, classes)
        record.stop("inference")
        ranked = rank(logits, max(request.options.top_k for request in requests))
        answers = [
            self._form(row[: request.options.top_k], request.options)
            for row, request in zip(ranked, requests, strict=True)
        ]
        record.stop("postprocess")
        return answers

    def _form(self, row: Sequence[tuple[int, float]], options: Options) -> bytes:
        predictions = [answer.Prediction(self._labels[i], i, p) for i, p in row]
        if options.format == "detailed":
            return answer.detailed(predictions, self._name, self._version)
        return answer.stock(predictions)

    def _prove(self, golden: Golden, batch_size: int) -> None:
        """Replay the golden images through the whole path, and count the classes."""
        loaded = self._pipeline.each(self._pipeline.load, [image.data for image in golden.images])
        pixels = [image.pixels for image in loaded]
        rows = [
            self._pipeline.infer(self._pipeline.batch(pixels[start : start + batch_size]))
            for start in range(0, len(pixels), batch_size)
        ]
        logits = torch.cat(rows)  # (images, classes)
        golden.check(logits, self._pipeline.device.type)
        if logits.shape[1] != len(self._labels):
            raise ValueError(
                f"index_to_name.json names {len(self._labels)} classes, "
                f"the model gives {logits.shape[1]}: archive the model again"
            )

    def _warm(self, batch_size: int) -> None:
        """Run each batch size that may come, so that no client pays for its first run."""
        spec = self._pipeline.spec
        blank = torch.zeros(spec.channels, spec.crop, spec.crop, dtype=torch.uint8)  # (C, H, W)
        for size in range(1, batch_size + 1):
            rank(self._pipeline.infer(self._pipeline.batch([blank] * size)), self._settings.top_k)


def _pipeline(folder: Path, context: Context, settings: Settings) -> Pipeline:
    config = context.model_yaml_config or {}
    spec = ImageSpec.from_mapping(config.get("image") or {})
    device = choose_device(context.system_properties["gpu_id"])
    cores = usable_cores()
    # Without maxWorkers, a model-config.yaml makes TorchServe start one worker per core.
    threads = max(1, cores // (config.get("maxWorkers") or cores))
    torch.set_num_threads(threads)
    return Pipeline(load_model(folder / "model.pt", device), spec, settings.limits, device, threads)


def _version(manifest: Mapping[str, Any] | None) -> str:
    return str(((manifest or {}).get("model") or {}).get("modelVersion", ""))


def _accept(body: bytes, index: int, context: Context) -> bytes:
    context.set_response_content_type(index, answer.CONTENT_TYPE)
    return body


def _refuse(problem: ImageError, index: int, context: Context, record: BatchRecord) -> bytes:
    record.refuse(problem.status)
    context.set_response_status(problem.status, HTTPStatus(problem.status).phrase, index)
    return _accept(answer.error(problem), index, context)
