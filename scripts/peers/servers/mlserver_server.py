"""MLServer with parallel workers and adaptive batching (mlserver.readthedocs.io).

python mlserver_server.py PORT
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pipelines

MODEL = """
import pipelines
from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec


class Classifier(MLModel):
    async def load(self):
        self.pipeline = pipelines.load()
        return True

    async def predict(self, payload):
        images = self.decode(payload.inputs[0], default_codec=Base64Codec)
        answers = [answer.decode() for answer in self.pipeline.answer(images)]
        output = StringCodec.encode_output("answer", answers)
        from mlserver.types import InferenceResponse

        return InferenceResponse(model_name=self.name, outputs=[output])
"""


def main() -> None:
    """Write the settings that MLServer reads, and become MLServer."""
    folder = Path(tempfile.mkdtemp(prefix="mlserver-"))
    port = int(sys.argv[1])
    (folder / "classifier.py").write_text(MODEL)
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": pipelines.WORKERS,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "resnet",
        "implementation": "classifier.Classifier",
        "max_batch_size": pipelines.BATCH,
        "max_batch_time": pipelines.MAX_WAIT_MS / 1e3,
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    os.chdir(folder)
    program = Path(sys.executable).with_name("mlserver")
    os.execv(program, [str(program), "start", "."])


if __name__ == "__main__":
    main()
