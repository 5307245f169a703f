"""An archive's own handler, called without a server around it.

It needs the standard library, PyYAML and ``ts`` alone, so that it runs in any environment that can
run the handler: the in-process limit and the peers' benchmark call the very code that TorchServe
calls.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ts.context import Context, RequestProcessor

if TYPE_CHECKING:
    from collections.abc import Sequence


class PackedHandler:
    """The handler of an unpacked archive, loaded and warm.

    Args:
        folder: The unpacked ``.mar``. Its modules come before all others of their names.
        workers: How many processes share the machine; the handler gives itself its part of the
            cores.
        batch_size: Most images in one call.
        gpu_id: Number of the GPU; None for the CPU.
    """

    def __init__(self, folder: Path, *, workers: int, batch_size: int, gpu_id: int | None = None):
        manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
        model = manifest["model"]
        config = yaml.safe_load((folder / "model-config.yaml").read_text())
        config |= {"minWorkers": workers, "maxWorkers": workers, "batchSize": batch_size}
        (config.get("handler") or {}).pop("threads", None)  # the share of so many workers instead
        self._context = Context(
            model["modelName"],
            str(folder),
            manifest,
            batch_size,
            gpu_id,
            mms_version="in-process",
            model_yaml_config=config,
        )
        sys.path.insert(0, str(folder))
        self._handler = _entry_class(Path(model["handler"]).stem)()
        self._handler.initialize(self._context)

    def answer(self, images: Sequence[bytes]) -> list[bytes]:
        """Answer a batch of image files.

        Returns:
            The bodies of the answers.
        """
        context = self._context
        context.request_processor = [RequestProcessor({}) for _ in images]
        context.request_ids = {index: str(index) for index in range(len(images))}
        answers: list[bytes] = self._handler.handle([{"body": image} for image in images], context)
        return answers

    @property
    def pipeline(self) -> Any:
        """The handler's own way from files to logits, `handlers.pipeline.Pipeline`."""
        return self._handler._pipeline  # noqa: SLF001 - to measure parts of it


def _entry_class(name: str) -> Any:
    """Give the one class that the entry file defines, as TorchServe chooses it."""
    module = importlib.import_module(name)
    classes = [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if each.__module__ == module.__name__
    ]
    return classes[0]
