"""The OpenAPI document says what a running server does: schemathesis asks, and compares."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import good
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from marina.gateway.config import GatewayConfig
from marina.gateway.openapi import document
from marina.serve import Server

pytestmark = pytest.mark.slow

# No schema says which bytes are an image, so that others are refused is an answer like any other.
# The images that the test puts in are bytes, which schemathesis takes for a wrong kind of string.
NOT_HELD = {
    GenerationMode.POSITIVE: [positive_data_acceptance, negative_data_rejection],
    GenerationMode.NEGATIVE: [positive_data_acceptance],
}
OPERATIONS = [
    "POST /predictions/{model}",
    "POST /predictions/{model}/{version}",
    "POST /explanations/{model}",
    "POST /explanations/{model}/{version}",
    "GET /ping",
    "GET /ready",
    "GET /openapi.json",
]
IMAGES = [data for data, *_ in good().values()]


def in_form(image: bytes, media_type: str) -> Any:
    """Give an image as a body of this type."""
    if media_type == "application/json":
        return {"data": base64.b64encode(image).decode()}
    return {"data": image} if media_type == "multipart/form-data" else image


@pytest.fixture(scope="package")
def described(server: Server) -> Any:
    """The document, as a client gets it."""
    return schemathesis.openapi.from_url(f"{server.rest_url}/openapi.json")


@pytest.mark.parametrize(
    ("operation", "mode"),
    [(each, GenerationMode.POSITIVE) for each in OPERATIONS]
    + [(each, GenerationMode.NEGATIVE) for each in OPERATIONS if "{" in each],
)
def test_what_is_described_is_what_is_there(
    described: Any, operation: str, mode: GenerationMode
) -> None:
    path = described[operation.partition(" ")[2]][operation.partition(" ")[0]]
    statuses = set()

    @settings(max_examples=20, deadline=None, derandomize=True, database=None,
              suppress_health_check=[*HealthCheck])  # fmt: skip
    @given(path.as_strategy(generation_mode=mode), st.booleans(), st.sampled_from(IMAGES))
    def ask(case: Any, is_served: bool, image: bytes) -> None:
        if is_served and mode is GenerationMode.POSITIVE and "{" in operation:
            case.path_parameters = {**case.path_parameters, "model": "resnet"}
            case.path_parameters |= {"version": "1.0"} if "{version}" in operation else {}
            case.body = in_form(image, case.media_type)
        answer = case.call_and_validate(excluded_checks=NOT_HELD[mode], timeout=60)
        statuses.add(answer.status_code)

    ask()
    assert mode is GenerationMode.NEGATIVE or 200 in statuses


def test_it_is_valid_and_json(server: Server, described: Any) -> None:
    described.validate()
    answer = httpx.get(f"{server.rest_url}/openapi.json", trust_env=False)
    assert answer.headers["content-type"] == "application/json"
    described_here = {
        f"{method.upper()} {path}"
        for path, item in answer.json()["paths"].items()
        for method in item.keys() & {"get", "post"}
    }
    assert described_here == set(OPERATIONS)


def test_explanations_stand_in_it_only_if_they_are_let_through() -> None:
    paths = document(GatewayConfig(8081))["paths"]
    assert [path for path in paths if "expl" in path] == []
