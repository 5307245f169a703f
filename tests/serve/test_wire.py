"""The page on management's wire calls names each of them, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from marina.client.proto import management_pb2, operations_pb2
from marina.serve.rest import route

DOCS = Path(__file__).parents[2] / "docs" / "management.md"
ROUTES = re.compile(r'\("(GET|PUT|POST|DELETE)", "(/[^"]*)", Operation\.')


def rows() -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCS.read_text().splitlines()
        if re.match(r"\| `(GET|PUT|POST|DELETE) ", line)
    ]


def test_every_route_is_described() -> None:
    described = [row[0].strip("`") for row in rows()]
    source = Path(str(route.__code__.co_filename)).read_text()
    assert described
    assert sorted(described) == sorted(" ".join(found) for found in ROUTES.findall(source))
    for each in described:
        assert route(*each.split(" ")) is not None


def test_every_rpc_is_described() -> None:
    described = {name for row in rows() for name in re.findall(r"`(\w+)`", row[1])}
    services = (
        management_pb2.DESCRIPTOR.services_by_name["ManagementAPIsService"],
        operations_pb2.DESCRIPTOR.services_by_name["OperationsService"],
    )
    assert described == {method.name for service in services for method in service.methods}
