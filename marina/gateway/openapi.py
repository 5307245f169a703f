"""The OpenAPI document of what the gateway lets through: what ``GET /openapi.json`` answers.

TorchServe's own ``/api-description`` names paths that it does not have (``/prediction/{model}``)
and none of the errors that a client sees. A test holds this one against a running server.
"""

from __future__ import annotations

from typing import Any

import marina
from marina.gateway.config import GatewayConfig

Json = dict[str, Any]

_NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")

_ERRORS = {
    "400": "No image, an empty, truncated or damaged one, an option that is not understood, or "
    "(InvalidKeyException) no valid token.",
    "404": "No such model or version, or nothing that the gateway lets through.",
    "408": "The request arrived too slowly.",
    "413": "Too many bytes or pixels, or an extreme aspect ratio.",
    "415": "A kind of file or JSON that is not served.",
    "429": "The model's queue is full.",
    "431": "Too many headers, or too large ones.",
    "500": "The worker failed.",
    "503": "TorchServe restarts, or a worker failed.",
    "504": "No answer came within the deadline.",
    "507": "A worker ran out of memory, or failed as it answered.",
}
_RETRIED = ("429", "503")


def document(config: GatewayConfig) -> Json:
    """Give the document of one gateway.

    Args:
        config: Its limits are named; explanations stand in it if they are let through.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Marina",
            "version": marina.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Image classification. Every error is {code, type, message}. The "
            f"largest body is {config.limits.request_bytes} bytes; an answer comes within "
            f"{config.limits.deadline_s:g} s, or 504. gRPC is described by inference.proto.",
        },
        "paths": _paths(config),
        "components": {
            "schemas": _SCHEMAS,
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "responses": {
                f"Error{status}": _error(status, said) for status, said in _ERRORS.items()
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Unless the server was started with --no-tokens: what "
                    "`marina token` prints. A token that is missing or old is answered with 400.",
                }
            },
        },
    }


def _paths(config: GatewayConfig) -> Json:
    paths: Json = {
        "/predictions/{model}": _question("predict", "Prediction", "its default version, or split"),
        "/predictions/{model}/{version}": _question("predictVersion", "Prediction", "a version"),
    }
    if config.explanations:
        paths |= {
            "/explanations/{model}": _question("explain", "Explanation", "its default version"),
            "/explanations/{model}/{version}": _question(
                "explainVersion", "Explanation", "a version"
            ),
        }
    return paths | {
        "/ping": _probe("ping", "TorchServe runs. It says nothing of the models.", tokens=True),
        "/ready": _probe("ready", "Every version has its workers and answers rightly."),
        "/openapi.json": {
            "get": {
                "operationId": "describe",
                "summary": "This document.",
                "responses": {
                    "200": {
                        "description": "This document.",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    }
                },
            }
        },
    }


def _question(operation: str, answer: str, whom: str) -> Json:
    """Give the path item of a request about an image."""
    versioned = operation.endswith("Version")
    parameters = ["model", *(["version"] if versioned else []), "format", "topK", "requestId"]
    statuses = [*_ERRORS] if answer == "Prediction" else ["403", *_ERRORS]
    success: Json = {
        "description": "The answer.",
        "headers": {name: _ref("headers", name) for name in _HEADERS if name != "Retry-After"},
        "content": {"application/json": {"schema": _ref("schemas", answer)}},
    }
    refused = _error("403", "The model's recipe does not allow explanations.")
    responses = {
        status: refused if status == "403" else _ref("responses", f"Error{status}")
        for status in statuses
    }
    return {
        "parameters": [_ref("parameters", name) for name in parameters],
        "post": {
            "operationId": operation,
            "summary": f"Ask a model about an image: {whom}.",
            "security": [{"token": []}, {}],
            "requestBody": {"required": True, "content": _bodies()},
            "responses": {"200": success, **responses},
        },
    }


def _bodies() -> Json:
    """Give the forms in which an image may come."""
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {"type": "object", "required": ["data"], "properties": {"data": binary}}
    return {
        "application/octet-stream": {"schema": binary},
        **{kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in _IMAGE_TYPES},
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": _ref("schemas", "Base64Image")},
    }


def _probe(operation: str, summary: str, *, tokens: bool = False) -> Json:
    responses: Json = {
        "200": {
            "description": "It is so.",
            "content": {"application/json": {"schema": _ref("schemas", "Status")}},
        },
        **{status: _ref("responses", f"Error{status}") for status in ("431", "503", "504")},
    }
    item: Json = {"operationId": operation, "summary": summary, "responses": responses}
    if tokens:
        responses["400"] = _ref("responses", "Error400")
        item["security"] = [{"token": []}, {}]
    return {"get": item}


def _error(status: str, description: str) -> Json:
    content = {"application/json": {"schema": _ref("schemas", "Error")}}
    response: Json = {"description": description, "content": content}
    if status in _RETRIED:
        response["headers"] = {"Retry-After": _ref("headers", "Retry-After")}
    return response


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


_PROBABILITY: Json = {"type": "number", "minimum": 0, "maximum": 1}
_CLASS: Json = {
    "label": {"type": "string"},
    "index": {"type": "integer", "minimum": 0},
    "probability": _PROBABILITY,
}
_SCHEMAS: Json = {
    "Prediction": {
        "oneOf": [
            {
                "title": "stock",
                "type": "object",
                "description": "Probability by label, the likeliest first.",
                "minProperties": 1,
                "additionalProperties": _PROBABILITY,
            },
            {
                "title": "detailed",
                "type": "object",
                "required": ["model", "version", "predictions"],
                "additionalProperties": False,
                "properties": {
                    "model": {"type": "string"},
                    "version": {"type": "string"},
                    "predictions": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": [*_CLASS],
                            "additionalProperties": False,
                            "properties": _CLASS,
                        },
                    },
                },
            },
        ]
    },
    "Explanation": {
        "type": "object",
        "required": ["model", "version", *_CLASS, "heatmap"],
        "additionalProperties": False,
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "string"},
            **_CLASS,
            "heatmap": {
                "type": "string",
                "contentEncoding": "base64",
                "contentMediaType": "image/png",
                "description": "Red speaks for the class, blue against it.",
            },
        },
    },
    "Base64Image": {
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"type": "string", "contentEncoding": "base64"}},
    },
    "Status": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string"}},
    },
    "Error": {
        "type": "object",
        "required": ["code", "type", "message"],
        "properties": {
            "code": {"type": "integer", "minimum": 400, "maximum": 599},
            "type": {"type": "string"},
            "message": {"type": "string"},
        },
    },
}
_PARAMETERS: Json = {
    "model": {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": _NAME},
    },
    "version": {
        "name": "version",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": _NAME},
    },
    "format": {
        "name": "X-Marina-Format",
        "in": "header",
        "schema": {"enum": ["stock", "detailed"]},
        "description": "Which form the answer has; by default what the model's recipe says.",
    },
    "topK": {
        "name": "X-Marina-Top-K",
        "in": "header",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
        "description": "How many classes; more than there are gives all of them.",
    },
    "requestId": {
        "name": "X-Request-Id",
        "in": "header",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
        "description": "Found again in the logs; one is made up if it is missing.",
    },
}
_HEADERS: Json = {
    "X-Request-Id": {"schema": {"type": "string"}, "description": "The request's id."},
    "X-Marina-Version": {"schema": {"type": "string"}, "description": "Who answered."},
    "X-Marina-Top1": {
        "schema": {"type": "string"},
        "description": "The likeliest class, percent-encoded.",
    },
    "X-Marina-Confidence": {"schema": _PROBABILITY, "description": "Its probability."},
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."},
}
