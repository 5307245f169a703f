"""The image in a request, in whichever form it came (raw, multipart, base64 in JSON); its id."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any

from handlers.errors import BadImage, BadRequest, UnsupportedImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from handlers.context import Context, Item

# A header over REST; over gRPC, where TorchServe passes none on, the gateway makes it a field.
ID_NAME = "x-request-id"
_LONGEST_ID = 128

FIELDS = ("data", "body")
JSON_FIELDS = ("data", "body", "b64", "image")

_JSON_START = re.compile(rb'[\s\xef\xbb\xbf]*[{\["]')
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_EXPECTED_JSON = (
    'expected an image as base64 in a JSON string, or in an object under "data", "body", "b64" or '
    '"image", alone or as the one item of "instances"'
)


def read_image(item: Mapping[str, Any]) -> bytes:
    """Find the image file in a request.

    Args:
        item: The request's input fields. ``data`` or ``body`` holds bytes, or what TorchServe
            made of a body whose type is ``text/*`` (a string) or ``application/json``.

    Returns:
        The bytes of the file, not yet looked at.

    Raises:
        BadRequest: No such field, or several images.
        BadImage: Base64 that cannot be decoded.
        UnsupportedImage: JSON that holds no image, such as an array of numbers.
    """
    for field in FIELDS:
        if field in item:
            return _from_value(item[field])
    raise BadRequest("expected an image as the request's body or in a field named data")


def request_id(context: Context, index: int, item: Item) -> str:
    """Give the id that a request came with, or else TorchServe's own.

    Args:
        context: Of the batch.
        index: Of the request in it.
        item: The request's input fields.
    """
    headers = context.get_all_request_header(index)
    given = next((headers[name] for name in headers if name.lower() == ID_NAME), None)
    value = item.get(ID_NAME) or given or context.get_request_id(index) or ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    return text[:_LONGEST_ID]


def _from_value(value: object) -> bytes:
    if isinstance(value, bytes | bytearray):
        return _from_bytes(bytes(value))
    if isinstance(value, str):
        return _from_text(value)
    return _from_json(value)


def _from_bytes(data: bytes) -> bytes:
    # No image format starts as JSON does, so a body of an unnamed type may be either.
    return _from_document(data) if _JSON_START.match(data) else data


def _from_text(text: str) -> bytes:
    data = text.encode()
    if _JSON_START.match(data):
        return _from_document(data)
    if text.lstrip().startswith("<"):
        return data  # markup: decoding tells an SVG from other text
    return _from_base64(text)


def _from_document(data: bytes) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise BadImage(
            f"expected an image or valid JSON, got {len(data):,} bytes of neither"
        ) from err
    return _from_json(document)


def _from_json(document: object) -> bytes:
    if isinstance(document, dict) and "instances" in document:
        document = _only_instance(document["instances"])
    if isinstance(document, dict):
        document = next((document[name] for name in JSON_FIELDS if name in document), document)
    if not isinstance(document, str):
        raise UnsupportedImage(f"{_EXPECTED_JSON}, got {_json_kind(document)}")
    return _from_base64(document)


def _only_instance(instances: object) -> object:
    if not isinstance(instances, list) or len(instances) != 1:
        raise BadRequest('"instances" must be a list of exactly one image: send one per request')
    return instances[0]


def _from_base64(text: str) -> bytes:
    encoded = "".join(_DATA_URL.sub("", text, count=1).split())
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as err:
        raise BadImage("expected an image as base64, got text that is not base64") from err


def _json_kind(value: object) -> str:
    if isinstance(value, list):
        return "an array (tensors are not accepted)"
    if isinstance(value, dict):
        return "an object without such a key"
    return "null" if value is None else f"a {'boolean' if isinstance(value, bool) else 'number'}"
