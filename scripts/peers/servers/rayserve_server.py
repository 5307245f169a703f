"""Ray Serve with replicas and dynamic request batching (docs.ray.io/en/latest/serve).

python rayserve_server.py PORT
"""

import signal
import sys
import tempfile

import pipelines
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(
    num_replicas=pipelines.WORKERS,
    max_ongoing_requests=4 * pipelines.BATCH,
    ray_actor_options={"num_cpus": 1},
)
class Classifier:
    """Image files in, JSON out."""

    def __init__(self) -> None:
        self.pipeline = pipelines.load()

    @serve.batch(max_batch_size=pipelines.BATCH, batch_wait_timeout_s=pipelines.MAX_WAIT_MS / 1e3)
    async def answer(self, images: list[bytes]) -> list[bytes]:
        """Answer a batch."""
        return self.pipeline.answer(images)

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        answer = await self.answer(await request.body())
        return Response(answer, media_type="application/json")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        ray.init(
            include_dashboard=False, num_cpus=pipelines.WORKERS + 1, _temp_dir=folder,
            object_store_memory=200_000_000, log_to_driver=False,
        )  # fmt: skip
        serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
        serve.run(Classifier.bind(), route_prefix="/predict")
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        serve.shutdown()
        ray.shutdown()
