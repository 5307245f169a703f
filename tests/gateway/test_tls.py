"""TLS 1.3, and clients that must show who they are."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from client.conftest import connect
from identity import Identity, make_identity

from marina.client import Retry
from marina.client import Tls as ClientTls
from marina.client.proto.inference_pb2 import PredictionsRequest
from marina.client.proto.inference_pb2_grpc import InferenceAPIsServiceStub
from marina.errors import ConnectionFailed, ServeError
from marina.gateway import Tls

from .conftest import Door, open_door
from .stub_upstream import StubUpstream


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("server"), "server")


@pytest.fixture(scope="module")
def friend(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("friend"), "friend")


@pytest.fixture(scope="module")
def tls_door(
    server: Identity,
    friend: Identity,
    upstream: StubUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Door]:
    """It asks for client certificates."""
    tls = Tls(server.certificate, server.key, client_ca=friend.certificate)
    with open_door(tmp_path_factory.mktemp("logs"), upstream, tls=tls) as door:
        yield door


def context(server: Identity, client: Identity | None) -> ssl.SSLContext:
    trusting = ssl.create_default_context(cafile=str(server.certificate))
    if client is not None:
        trusting.load_cert_chain(client.certificate, client.key)
    return trusting


def ask(door: Door, verify: ssl.SSLContext) -> httpx.Response:
    with httpx.Client(verify=verify, trust_env=False, timeout=30) as client:
        url = f"https://127.0.0.1:{door.config.rest_port}"
        return client.post(f"{url}/predictions/m", content=b"x")


def test_a_friend_is_answered(tls_door: Door, server: Identity, friend: Identity) -> None:
    assert ask(tls_door, context(server, friend)).status_code == 200


def test_nobody_else_is(tls_door: Door, server: Identity, tmp_path: Path) -> None:
    for client in (None, make_identity(tmp_path, "stranger")):
        with pytest.raises(httpx.TransportError):
            ask(tls_door, context(server, client))


def test_nothing_older_than_tls_1_3(tls_door: Door, server: Identity, friend: Identity) -> None:
    older = context(server, friend)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError, match=r"(?i)protocol.version"):
        ask(tls_door, older)


def test_grpc_over_tls(tls_door: Door, server: Identity, friend: Identity) -> None:
    credentials = grpc.ssl_channel_credentials(
        server.certificate.read_bytes(), friend.key.read_bytes(), friend.certificate.read_bytes()
    )
    with grpc.secure_channel(tls_door.target, credentials) as channel:
        request = PredictionsRequest(model_name="m", input={"data": b"x"})
        answer = InferenceAPIsServiceStub(channel).Predictions(request, timeout=30)
    assert b"class 1.0" in answer.prediction


KINDS = [(is_grpc, is_async) for is_grpc in (False, True) for is_async in (False, True)]


@pytest.mark.parametrize(("is_grpc", "is_async"), KINDS)
def test_marinas_own_clients(
    tls_door: Door,
    server: Identity,
    friend: Identity,
    tmp_path: Path,
    is_grpc: bool,
    is_async: bool,
) -> None:
    stranger = make_identity(tmp_path, "stranger")
    url = f"https://127.0.0.1:{tls_door.config.rest_port}"
    address = tls_door.target if is_grpc else url

    def label(**tls: Path) -> str:
        own = ClientTls(**tls)
        options = {"tls": own, "retry": Retry(attempts=1)}
        with connect(address, is_grpc=is_grpc, is_async=is_async, **options) as client:
            return str(client.predict(b"x", model="m")[0].label)

    ca = server.certificate
    assert label(ca=ca, certificate=friend.certificate, key=friend.key) == "class 1.0"
    with pytest.raises(ConnectionFailed, match="cannot reach"):
        label(ca=ca, certificate=stranger.certificate, key=stranger.key)
    with pytest.raises(ConnectionFailed, match="cannot reach"):
        label(ca=ca)
    with pytest.raises(ConnectionFailed, match=r"(?i)certificate.verify.failed"):
        label(ca=stranger.certificate, certificate=friend.certificate, key=friend.key)


def test_a_missing_file(server: Identity, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"no file .*none.pem for TLS"):
        Tls(server.certificate, tmp_path / "none.pem")
