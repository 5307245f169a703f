"""mosec with several inference processes and dynamic batching (mosecorg.github.io/mosec).

python mosec_server.py --port PORT --address 127.0.0.1
"""

import pipelines
from mosec import Server, Worker


class Classifier(Worker):
    """Image files in, JSON out."""

    def __init__(self):
        super().__init__()
        self.pipeline = pipelines.load()

    def deserialize(self, data):
        """Take the body as it is."""
        return data

    def serialize(self, data):
        """Answers are bytes already."""
        return data

    def forward(self, data):
        """Answer a batch; mosec gives one image alone where batches are of one."""
        return (
            self.pipeline.answer(data) if pipelines.BATCH > 1 else self.pipeline.answer([data])[0]
        )


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Classifier,
        num=pipelines.WORKERS,
        max_batch_size=pipelines.BATCH,
        max_wait_time=int(pipelines.MAX_WAIT_MS),
        timeout=120,
    )
    server.run()
