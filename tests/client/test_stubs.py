"""The checked-in gRPC stubs are those of the installed TorchServe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from handlers.options import EXPLAIN_OPTION, FORMAT_OPTION, TOP_K_OPTION

from .conftest import Script, grpc_server

ROOT = Path(__file__).parent.parent.parent
PROTO = ROOT / "marina" / "client" / "proto"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proto")
    script = ROOT / "scripts" / "generate_stubs.py"
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


def test_the_protos_are_those_in_the_jar(generated: Path) -> None:
    protos = sorted(path.relative_to(generated).as_posix() for path in generated.rglob("*.proto"))
    assert protos == [
        "google/rpc/status.proto",
        "inference.proto",
        "management.proto",
        "operations.proto",
    ]
    for name in protos:
        assert (PROTO / name).read_bytes() == (generated / name).read_bytes(), name


def test_the_stubs_are_generated_from_them(generated: Path) -> None:
    stubs = sorted(path.name for path in generated.glob("*.py"))
    assert len(stubs) == 6
    for name in stubs:
        assert (PROTO / name).read_text() == (generated / name).read_text(), name


PROGRAM = """
import json, sys
import grpc
import inference_pb2, inference_pb2_grpc
assert not [name for name in sys.modules if name.startswith("marina")]
with grpc.insecure_channel(sys.argv[1], [("grpc.enable_http_proxy", 0)]) as channel:
    request = inference_pb2.PredictionsRequest(
        model_name="resnet", input={"data": b"image", "x-marina-format": b"detailed"}
    )
    answer = inference_pb2_grpc.InferenceAPIsServiceStub(channel).Predictions(request, timeout=30)
print(json.loads(answer.prediction)["predictions"][0]["label"])
"""


def test_others_make_their_stubs_as_the_readme_says(tmp_path: Path) -> None:
    command = re.search(r"^python -m grpc_tools.*$", (PROTO / "README.md").read_text(), re.M)
    assert command is not None
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PROTO": str(PROTO),
    }
    subprocess.run(["bash", "-c", command[0]], cwd=tmp_path, env=environment, check=True)
    with grpc_server(Script(grpc.StatusCode.OK)) as target:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, target],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "seven\n"


def test_the_readme_names_every_file_and_option() -> None:
    text = (PROTO / "README.md").read_text()
    names = {path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto")}
    assert names == set(re.findall(r"^\| `([\w/]+\.proto)`", text, re.M))
    for option in (FORMAT_OPTION, TOP_K_OPTION, EXPLAIN_OPTION, "x-request-id"):
        assert f"| `{option}` |" in text
