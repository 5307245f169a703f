"""Faults of clients and workers at one running server: each request ends in one answer, and at the
end it serves as before. Those that other files break on purpose are named in scripts/faults.py.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from pictures import encode, faults, good, quadrants
from serve.conftest import wait_until

from marina.client import ManagementClient
from marina.serve import Server

from .conftest import MAX_BYTES

pytestmark = pytest.mark.slow

MATRIX = {name: data for name, (data, *_) in {**good(), **faults()}.items()}
BINARY = {"content-type": "application/octet-stream"}
RESNET, STUB = "/predictions/resnet/1.0", "/predictions/stub/1.0"


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """A client; after the test the server is ready, and answers."""
    with httpx.Client(base_url=server.rest_url, trust_env=False, timeout=60) as client:
        yield client
        wait_until(lambda: client.get("/ready").status_code == 200, timeout_s=90)
        for path in (RESNET, STUB):
            image = encode(quadrants(), "PNG")
            assert client.post(path, content=image, headers=BINARY).status_code == 200


def error_of(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["code"] == answer.status_code
    return body["code"], body["type"]


def test_every_form_of_an_image_gets_the_same_answer(http: httpx.Client) -> None:
    """Raw, multipart, and base64 in JSON: good images and bad ones."""

    def ask(name: str) -> list[tuple[int, dict[str, object]]]:
        data = MATRIX[name]
        encoded = base64.b64encode(data).decode()
        answers = [
            http.post(RESNET, content=data, headers=BINARY),
            http.post(RESNET, files={"data": ("image", data)}),
            http.post(RESNET, json={"data": encoded}),
            http.post(RESNET, json={"instances": [{"b64": encoded}]}),
        ]
        return [(answer.status_code, answer.json()) for answer in answers]

    with ThreadPoolExecutor(4) as pool:
        said = dict(zip(MATRIX, pool.map(ask, MATRIX), strict=True))
    for name, ((status, body), *others) in said.items():
        # A batch of another size adds up in another order.
        same = body if "code" in body else pytest.approx(body, abs=1e-4)
        assert others == [(status, same)] * 3, name
    expected = {name: status for name, (_, status) in faults().items()}
    assert {name: each[0][0] for name, each in said.items()} == {
        name: expected.get(name, 200) for name in MATRIX
    }


@pytest.mark.parametrize("form", ["a length", "chunks"])
@pytest.mark.parametrize("size", [MAX_BYTES - 1, MAX_BYTES, MAX_BYTES + 1, 50 * 1024 * 1024])
def test_a_body_of_the_largest_size_and_one_byte_more(
    http: httpx.Client, size: int, form: str
) -> None:
    body = bytes(size)
    parts = (body[at : at + 65536] for at in range(0, size, 65536))
    answer = http.post(STUB, content=body if form == "a length" else parts, headers=BINARY)
    if size > MAX_BYTES:
        assert error_of(answer) == (413, "PayloadTooLargeException")
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        b'--x\r\nContent-Disposition: form-data; name=""\r\n\r\na\r\n--x--\r\n',
        b"--x\r\nContent-Disposition: form-data; name=",
        b"".join(
            b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\na\r\n' % number
            for number in range(15_000)
        )
        + b"--x--\r\n",
    ],
    ids=["a field without a name", "cut off", "15,000 fields"],
)
def test_a_form_that_is_none_is_the_clients_fault(http: httpx.Client, form: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = http.post(RESNET, content=form, headers=headers)
    assert error_of(answer) == (400, "BadRequestException")


def test_a_hundred_clients_hang_up(server: Server, http: httpx.Client) -> None:
    """Half before their body has come, half without waiting for the answer."""
    port = int(server.rest_url.rpartition(":")[2])
    head = (
        f"POST {STUB} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n"
    )
    for number in range(100):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(head.encode() + (b"sleep 0.1" if number % 2 else b"sl"))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(http.post, STUB, content=b"x", headers=BINARY) for _ in range(40)]
        assert {each.result().status_code for each in asked} == {200}


def test_a_handler_that_misses_its_deadline_fails_alone(http: httpx.Client) -> None:
    """It has 4 s. The other worker goes on; the one that hung is started anew."""
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(http.post, STUB, content=b"sleep 30", headers=BINARY)
        others = []
        while not late.done():
            others.append(http.post(STUB, content=b"sleep 0.1", headers=BINARY).status_code)
    assert late.result().status_code in (500, 503)
    assert len(others) > 3
    assert set(others) == {200}


def test_memory_that_is_not_there_fails_alone(server: Server, http: httpx.Client) -> None:
    pids = workers(server)
    assert error_of(http.post(STUB, content=b"eat", headers=BINARY))[0] == 507
    assert workers(server) == pids


def workers(server: Server) -> list[int]:
    (condition,) = server._engine.management.conditions("stub")
    return sorted(worker["pid"] for worker in condition.told["workers"])


REGISTRATIONS = [
    "http://127.0.0.1:9/x.mar",
    "file:///etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "{folder}/stub-1.0.mar",
    "file://{folder}/stub-1.0.mar",
]


@pytest.mark.parametrize("url", REGISTRATIONS)
def test_a_registration_reaches_nothing_but_the_store(
    server: Server, http: httpx.Client, folder: Path, url: str
) -> None:
    before = http.get(f"{server.management_url}/models").json()["models"]
    given = {"url": url.format(folder=folder), "synchronous": "true"}
    answer = http.post(f"{server.management_url}/models", params=given)
    code, _ = error_of(answer)
    assert code in (400, 404, 409)
    assert "root:" not in answer.text
    with ManagementClient(server.management_url) as manager:
        assert {status.name for status in manager.models()} == {"resnet", "stub"}
    assert http.get(f"{server.management_url}/models").json()["models"] == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/workflows?url=x.war"),
        ("GET", "/workflows"),
        ("POST", "/wfpredict/x"),
        ("GET", "/../../etc/passwd"),
        ("GET", "/models/..%2f..%2fetc%2fpasswd"),
        ("POST", "/predictions/..%2f..%2fmodels"),
    ],
)
def test_no_door_but_those_that_are_described(
    server: Server, http: httpx.Client, method: str, path: str
) -> None:
    for url in (server.rest_url, server.management_url):
        code, _ = error_of(http.request(method, f"{url}{path}"))
        assert code in (400, 404)


@pytest.mark.usefixtures("http")
def test_a_port_scan_finds_the_gateway_alone(server: Server) -> None:
    """The server listens on 0.0.0.0. On 127.0.0.2 all answer that are not bound to 127.0.0.1."""
    public = {int(server.rest_url.rpartition(":")[2]), int(server.grpc_target.rpartition(":")[2])}
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {
        connection.laddr.port
        for process in family
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(listening) > len(public) + 4
    open_ports = set()
    for port in listening:
        with socket.socket() as probe:
            probe.settimeout(5)
            if probe.connect_ex(("127.0.0.2", port)) == 0:
                open_ports.add(port)
    assert open_ports == public


def test_nothing_hangs_in_the_log(server: Server) -> None:
    """Every line of the access log has a status, and 504 is in none: nothing took a minute."""
    lines = [json.loads(line) for line in (server.log_dir / "gateway.log").open()]
    assert lines
    statuses = {line["http_status"] for line in lines if line["transport"] == "rest"}
    assert 504 not in statuses
