"""Triton through nvidia-pytriton, with dynamic batching (its docs: "Dynamic batching").

python triton_server.py PORT
"""

import os
import sys

import numpy as np
import pipelines
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def instance():
    """Give one inference function with a pipeline of its own."""
    pipeline = pipelines.load()

    @batch
    def infer(image):
        answers = pipeline.answer([bytes(row[0]) for row in image])
        return {"answer": np.array([[answer] for answer in answers], dtype=object)}

    return infer


def main() -> None:
    """Serve until a signal comes."""
    # Tensors through sockets, not through shared memory: nvidia-pytriton 0.7 embeds a Python 3.11
    # whose locks lack what the standard library of 3.11.7 asks of them, and its store cannot start.
    os.environ["PYTRITON_NO_TENSORSTORE"] = "1"
    port = int(sys.argv[1])
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="resnet",
            infer_func=[instance() for _ in range(pipelines.WORKERS)],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="answer", dtype=bytes, shape=(1,))],
            config=ModelConfig(
                max_batch_size=pipelines.BATCH,
                batcher=DynamicBatcher(
                    max_queue_delay_microseconds=int(pipelines.MAX_WAIT_MS * 1000)
                ),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
