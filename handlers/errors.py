"""What can be wrong with a request or a model folder, each with its own answer.

Only the standard library is imported here: the client and the launcher read these names too.
"""

from __future__ import annotations

from typing import ClassVar


class ImageError(Exception):
    """One request that cannot be answered; its mates in the batch are not touched.

    Attributes:
        status: The HTTP status of the answer.
        type: The ``type`` of the answer's body, in the form of TorchServe's own errors.
    """

    status: ClassVar[int]
    type: ClassVar[str]

    def body(self) -> dict[str, int | str]:
        """Give the answer's JSON body: ``code``, ``type`` and ``message``."""
        return {"code": self.status, "type": self.type, "message": str(self)}


class BadRequest(ImageError):
    """An option or a form that is not understood."""

    status = 400
    type = "BadRequestException"


class BadImage(ImageError):
    """An image that cannot be decoded: empty, truncated, damaged, or no image at all."""

    status = 400
    type = "BadImageException"


class ExplanationsOff(ImageError):
    """An explanation of a model whose recipe does not allow any."""

    status = 403
    type = "ExplanationsOffException"


class ImageTooLarge(ImageError):
    """An image with more pixels, or a longer shape, than the limits allow."""

    status = 413
    type = "ImageTooLargeException"


class UnsupportedImage(ImageError):
    """A file or a JSON body of a kind that is known, and not served."""

    status = 415
    type = "UnsupportedMediaTypeException"


class GoldenMismatch(RuntimeError):
    """A golden image whose answer here is not the one that the lab gave it."""


class BackendUnavailable(RuntimeError):
    """A model whose library is not installed, or was compiled for another machine."""
