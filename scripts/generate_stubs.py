"""Generate the gRPC stubs in ``marina/client/proto`` from TorchServe's .proto files and our own.

    python scripts/generate_stubs.py

TorchServe's are taken out of the installed ``model-server.jar``, so that stubs and server are
of the same version. Run it after a change of torchserve or grpcio-tools, and commit the result.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

TORCHSERVE = ("inference", "management")
OWN = ("operations",)
NAMES = (*TORCHSERVE, *OWN)
TARGET = Path(__file__).parent.parent / "marina" / "client" / "proto"

# protoc writes `import inference_pb2 as …`, which finds the module only if its folder is on
# sys.path (https://github.com/protocolbuffers/protobuf/issues/1491).
_ABSOLUTE_IMPORT = re.compile(rf"^import ((?:{'|'.join(NAMES)})_pb2) as", re.MULTILINE)


def main() -> None:
    """Generate into the folder named on the command line, or into the package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", type=Path, default=TARGET)
    target = parser.parse_args().target
    target.mkdir(parents=True, exist_ok=True)
    extract_protos(target)
    for name in OWN if target.resolve() != TARGET.resolve() else ():
        shutil.copy(TARGET / f"{name}.proto", target)
    generate(target)
    print(*sorted(path.name for path in target.glob("*_pb2*.py")), sep="\n")


def extract_protos(target: Path) -> None:
    """Copy TorchServe's .proto files out of its jar, and the one that they import."""
    jar = package_folder("ts") / "frontend" / "model-server.jar"
    with zipfile.ZipFile(jar) as archive:
        for name in TORCHSERVE:
            (target / f"{name}.proto").write_bytes(archive.read(f"proto/{name}.proto"))
    status = Path("google", "rpc", "status.proto")  # which they import
    (target / status).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(package_folder("google.rpc") / status.name, target / status)


def generate(target: Path) -> None:
    """Run protoc on the .proto files in ``target`` and make its imports package-relative."""
    from grpc_tools import protoc

    code = protoc.main(
        [
            "protoc",
            f"--proto_path={target}",
            f"--proto_path={package_folder('grpc_tools') / '_proto'}",  # google/protobuf
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            *(f"{name}.proto" for name in NAMES),
        ]
    )
    if code != 0:
        sys.exit(f"protoc failed with exit code {code}; what it says stands above")
    for file in target.glob("*_pb2*.py"):
        file.write_text(_ABSOLUTE_IMPORT.sub(r"from . import \1 as", file.read_text()))


def package_folder(name: str) -> Path:
    """Find an installed package's folder without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the package {name} is not installed: run `uv sync`")
    return Path(next(iter(spec.submodule_search_locations)))


if __name__ == "__main__":
    main()
