"""How an image travels to each peer: path, headers and body."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wire:
    """One form of a request.

    Attributes:
        path: Below the server's address.
        encode: From the bytes of an image file to the body.
        headers: Of the request.
    """

    path: str
    encode: Callable[[bytes], bytes] = bytes
    headers: dict[str, str] = field(default_factory=dict)


def raw(path: str) -> Wire:
    """Send the file as it is."""
    return Wire(path, headers={"Content-Type": "image/jpeg"})


def base64_json(path: str) -> Wire:
    """Send base64 in JSON, as LitServe's image examples do."""
    return Wire(
        path,
        lambda image: json.dumps({"image": base64.b64encode(image).decode()}).encode(),
        {"Content-Type": "application/json"},
    )


def form(path: str, name: str) -> Wire:
    """Send a file in a form, as BentoML's clients do."""
    boundary = "a7b3peers"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return Wire(path, lambda image: head + image + tail, headers)


def open_inference(path: str) -> Wire:
    """Send base64 by the Open Inference Protocol, as MLServer takes images."""

    def encode(image: bytes) -> bytes:
        tensor = {
            "name": "image",
            "shape": [1],
            "datatype": "BYTES",
            "parameters": {"content_type": "base64"},
            "data": [base64.b64encode(image).decode()],
        }
        return json.dumps({"inputs": [tensor]}).encode()

    return Wire(path, encode, {"Content-Type": "application/json"})


_HEADER_BYTES = 256


def open_inference_binary(path: str) -> Wire:
    """Send the Open Inference Protocol's binary tensors, as Triton's clients do."""

    def encode(image: bytes) -> bytes:
        data = len(image).to_bytes(4, "little") + image
        tensor = {
            "name": "image",
            "shape": [1, 1],
            "datatype": "BYTES",
            "parameters": {"binary_data_size": len(data)},
        }
        # The header's length is itself a header, the same for all images: hence the spaces.
        return json.dumps({"inputs": [tensor]}).encode().ljust(_HEADER_BYTES) + data

    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(_HEADER_BYTES),
    }
    return Wire(path, encode, headers)
