"""LitServe with workers and dynamic batching (lightning.ai/docs/litserve).

python litserve_server.py PORT
"""

import base64
import json
import sys

import litserve
import pipelines


class Classifier(litserve.LitAPI):
    """Images come as base64 in JSON, as in LitServe's image examples."""

    def setup(self, device):  # noqa: ARG002 - LitServe calls it so
        """Load the pipeline, once per worker."""
        self.pipeline = pipelines.load()

    def decode_request(self, request):
        """Take the image out of the request."""
        return base64.b64decode(request["image"])

    def batch(self, inputs):
        """Images stay a list; the default would stack arrays."""
        return inputs

    def predict(self, images):
        """Answer a batch."""
        return self.pipeline.answer(images)

    def unbatch(self, output):
        """Give each request its own answer."""
        return output

    def encode_response(self, output):
        """Answers are JSON already; LitServe makes JSON of them."""
        return json.loads(output)


if __name__ == "__main__":
    api = Classifier(max_batch_size=pipelines.BATCH, batch_timeout=pipelines.MAX_WAIT_MS / 1e3)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=pipelines.WORKERS, timeout=120
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
