"""TorchServe with its own image_classifier handler: at its defaults, or tuned.

    python torchserve_server.py PORT STORE default|tuned

Tuned is the best found for ResNet-18 on two cores: a worker per core with one thread each, and
batches of four that wait for 10 ms. It runs in the project's environment.
"""

import os
import sys
import tempfile
from pathlib import Path

from handlers.cores import usable_cores
from marina.serve.java import java_home

CONFIG = """
inference_address=http://127.0.0.1:{0}
management_address=http://127.0.0.1:{1}
metrics_address=http://127.0.0.1:{2}
grpc_inference_port={3}
grpc_management_port={4}
disable_token_authorization=true
model_store={store}
load_models=stock.mar
"""
TUNED = (
    'models={{"stock": {{"1.0": {{"defaultVersion": true, "marName": "stock.mar", '
    '"minWorkers": {0}, "maxWorkers": {0}, "batchSize": 4, "maxBatchDelay": 10, '
    '"responseTimeout": 120}}}}}}\n'
)


def main() -> None:
    """Write the configuration and become TorchServe."""
    port, store, kind = int(sys.argv[1]), Path(sys.argv[2]).resolve(), sys.argv[3]
    folder = Path(tempfile.mkdtemp(prefix="stock-", dir="/tmp"))
    text = CONFIG.format(*range(port, port + 5), store=store)
    if kind == "tuned":
        text += TUNED.format(usable_cores())
        os.environ["OMP_NUM_THREADS"] = "1"
    (folder / "config.properties").write_text(text)
    os.environ |= {
        "JAVA_HOME": str(java_home()),
        "TMPDIR": str(folder),
        "LOG_LOCATION": str(folder),
    }
    os.chdir(folder)
    program = Path(sys.executable).with_name("torchserve")
    words = ["--start", "--foreground", "--ncs", "--ts-config", "config.properties"]
    os.execv(program, [str(program), *words, "--model-store", str(store), "--disable-token-auth"])


if __name__ == "__main__":
    main()
