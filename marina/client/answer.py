"""Options and answers: what is said to the handler, and how what it says is read.

Predictions are asked for in the detailed form, ``{"model", "version", "predictions": [{"label",
"index", "probability"}]}``. An error has TorchServe's form, ``{"code", "type", "message"}``; over
gRPC TorchServe reports OK with such a body, so a body is looked at whatever its status.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from marina.client.status import error_from_status
from marina.errors import ClientError, NotOffered, ServerFault


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class of an answer.

    Attributes:
        label: The class's name.
        index: The class's place in the model's output.
        probability: In [0, 1].
    """

    label: str
    index: int
    probability: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What in an image speaks for its likeliest class.

    Attributes:
        model: Name of the model that answered.
        version: Of the model.
        label: The class's name.
        index: The class's place in the model's output.
        probability: In [0, 1].
        heatmap: A PNG file: the image in gray, red where it speaks for the class and blue where
            against it.
    """

    model: str
    version: str
    label: str
    index: int
    probability: float
    heatmap: bytes


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a server is ready; true if it is.

    Attributes:
        is_ready: Whether it is.
        reason: Why it is not; empty if it is.
    """

    is_ready: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.is_ready


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One version of a model on a server.

    Attributes:
        name: Of the model.
        version: Of the model.
        is_default: Whether it answers whoever names no version.
        ready_workers: How many of its workers have loaded it.
        workers: How many it shall have.
        batch_size: Most requests in one forward pass.
        max_batch_delay_ms: How long a request may wait for mates.
        pending: Requests that wait in its queue.
        device: What it runs on, ``cpu`` or ``gpu``.
        sha256: Of its archive; None if the server, as TorchServe by itself, does not say, and so
            with all that follows.
        accuracy: On the test split, from its provenance.
        policy: Which versions of the model are kept.
    """

    name: str
    version: str
    is_default: bool
    ready_workers: int
    workers: int
    batch_size: int = 1
    max_batch_delay_ms: int = 0
    pending: int = 0
    device: str = ""
    sha256: str | None = None
    accuracy: float | None = None
    policy: str | None = None


def request_options(top_k: int | None) -> dict[str, str]:
    """Give the options of a request: headers over REST, input fields in lower case over gRPC.

    Args:
        top_k: Classes wanted; None takes as many as the model's recipe says.
    """
    options = {"X-Marina-Format": "detailed"}
    if top_k is not None:
        options["X-Marina-Top-K"] = str(top_k)
    return options


def read_predictions(body: bytes) -> list[Prediction]:
    """Read the predictions in an answer, the likeliest first.

    Raises:
        ServerFault: The body is not the detailed form.
    """
    document = _parse(body)
    try:
        return [_prediction(entry) for entry in document["predictions"]]
    except (KeyError, TypeError, ValueError) as err:
        raise ServerFault(
            'expected an answer with "predictions" of label, index and probability, got '
            f"{_excerpt(body)}. Only models archived by `marina archive` answer in that form"
        ) from err


def read_explanation(body: bytes) -> Explanation:
    """Read an explanation.

    Raises:
        NotOffered: The answer is none, as with models whose handler does not explain.
    """
    document = _parse(body)
    try:
        best = _prediction(document)
        heatmap = base64.b64decode(document["heatmap"], validate=True)
        named = str(document["model"]), str(document["version"])
    except (KeyError, TypeError, ValueError) as err:
        raise NotOffered(
            'expected an answer with a "heatmap", got '
            f"{_excerpt(body)}. The model was archived without explanations: archive it again"
        ) from err
    return Explanation(*named, best.label, best.index, best.probability, heatmap)


def read_health(body: bytes) -> Readiness:
    """Read TorchServe's answer to a ping."""
    document = _parse(body)
    status = document.get("status") if isinstance(document, dict) else None
    if status == "Healthy":
        return Readiness(is_ready=True)
    return Readiness(is_ready=False, reason=f"the server says {status or _excerpt(body)}")


def read_versions(versions: bytes, default: bytes) -> list[ModelStatus]:
    """Read a model's versions.

    Args:
        versions: The management API's description of all versions.
        default: Its description of the default version alone.

    Raises:
        ServerFault: The bodies are not such descriptions.
    """
    try:
        default_version = _parse(default)[0]["modelVersion"]
        return [
            _model_status(each, is_default=each["modelVersion"] == default_version)
            for each in _parse(versions)
        ]
    except (KeyError, IndexError, TypeError, ValueError) as err:
        raise ServerFault(
            f"expected the description of a model, got {_excerpt(versions)}. Is that address "
            "TorchServe's management API?"
        ) from err


def raise_error_in(body: bytes) -> None:
    """Raise the error that a body stands for, if it does.

    Raises:
        ClientError: It does; of the class that fits its code.
    """
    if b'"code"' not in body:  # parsing once is enough
        return
    document = _parse(body)
    if isinstance(document, dict) and isinstance(document.get("code"), int):
        raise read_error(body, document["code"])


def read_error(body: bytes, status: int) -> ClientError:
    """Give the error that an answer stands for; its body may be empty, or not JSON at all."""
    document = _parse(body)
    if isinstance(document, dict) and isinstance(document.get("message"), str):
        error = error_from_status(status, str(document.get("type", "")), document["message"])
        error.details = str(document.get("details", ""))
        return error
    said = f": {_excerpt(body)}" if body else ""
    return error_from_status(status, "", f"the server answered {status} {_phrase(status)}{said}")


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _model_status(told: dict[str, Any], *, is_default: bool) -> ModelStatus:
    """Read one version's description; under ``marina`` stands what TorchServe does not know."""
    ours = told.get("marina", {})
    return ModelStatus(
        name=str(told["modelName"]),
        version=str(told["modelVersion"]),
        is_default=is_default,
        ready_workers=sum(worker["status"] == "READY" for worker in told["workers"]),
        workers=int(ours.get("workers", told["minWorkers"])),
        batch_size=int(told["batchSize"]),
        max_batch_delay_ms=int(told["maxBatchDelay"]),
        pending=int(told["jobQueueStatus"]["pendingRequests"]),
        device=str(told["deviceType"]),
        sha256=ours.get("sha256"),
        accuracy=ours.get("accuracy"),
        policy=ours.get("policy"),
    )


def _prediction(entry: dict[str, Any]) -> Prediction:
    return Prediction(str(entry["label"]), int(entry["index"]), float(entry["probability"]))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(a status of its own)"


def _excerpt(body: bytes, limit: int = 120) -> str:
    text = body.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= limit else f"{text[:limit]}…")
