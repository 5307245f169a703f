"""What a client can be told: deadlines, retries, sizes, TLS and the token."""

from __future__ import annotations

import random
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from marina.errors import ClientError

if TYPE_CHECKING:
    from marina.client.token import Token

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Retry:
    """When a request that the server certainly did not take is sent again.

    That is so if its queue was full, or if no connection came about. Nothing else is repeated: a
    request that is late may well be worked on.

    Attributes:
        attempts: Times a request is sent at most; 1 never repeats one.
        first_s: Longest wait before the second attempt, in seconds. It doubles with each further
            one, and the wait is drawn from between nothing and that, lest all clients come back
            at once.
        longest_s: Longest wait of all, in seconds.
    """

    attempts: int = 3
    first_s: float = 0.1
    longest_s: float = 2.0

    def pause_s(self, attempt: int) -> float:
        """Draw the wait after an attempt, the first being 1, in seconds."""
        return random.uniform(0, min(self.longest_s, self.first_s * 2 ** (attempt - 1)))  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust, and who we are.

    Attributes:
        ca: PEM file of the authorities to trust; None takes the machine's own.
        certificate: PEM file of the client's certificate, where the server asks for one.
        key: PEM file of its key.

    Raises:
        ClientError: A file cannot be read, or only one of certificate and key is given.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ClientError("a client certificate needs its key and a key its certificate")
        for file in (self.ca, self.certificate, self.key):
            if file is not None and not file.is_file():
                raise ClientError(f"expected a PEM file, there is none at {file}")

    def contents(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Give it as gRPC takes it: the files' bytes, in the order authorities, key, certificate.

        gRPC takes its own authorities, not the machine's, where none are given.

        Raises:
            ClientError: A file is not what it should be.
        """
        self.context()  # gRPC itself would say so only when it fails to connect
        files = (self.ca, self.key, self.certificate)
        ca, key, certificate = (file.read_bytes() if file else None for file in files)
        return ca, key, certificate

    def context(self) -> ssl.SSLContext:
        """Give it as HTTP takes it.

        Raises:
            ClientError: A file is not what it should be.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as err:
            files = ", ".join(str(f) for f in (self.ca, self.certificate, self.key) if f)
            raise ClientError(
                f"expected certificates and their key in PEM: {files}: {err}"
            ) from err
        return context


@dataclass(frozen=True, slots=True)
class Options:
    """What all clients can be told.

    Attributes:
        connect_timeout_s: Longest wait for a connection, in seconds.
        read_timeout_s: Longest wait for the answer once connected, in seconds.
        max_message_bytes: A larger image is refused before it is sent, as `TooLarge`; over gRPC,
            whose own limit would be 4 MiB, a larger answer is too.
        retry: When a request is sent again.
        token: The token itself, the path of TorchServe's ``key_file.json``, or a function that
            gives the token. One that the server refuses is read again, since tokens expire.
        tls: Whom to trust. None trusts the machine's authorities for an ``https`` URL, and over
            gRPC speaks in the clear.
        ready_url: Where `ready` asks, such as ``http://127.0.0.1:8081/ready``.
        management: Where `models` asks and `feedback` goes: a URL over REST, ``host:port`` over
            gRPC.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    max_message_bytes: int = 64 * MIB
    retry: Retry = field(default_factory=Retry)
    token: Token | None = None
    tls: Tls | None = None
    ready_url: str | None = None
    management: str | None = None

    def for_http(self) -> Options:
        """Give those of a gRPC client for what it asks over HTTP."""
        return replace(self, management=None)


class OptionFields(TypedDict, total=False):
    """The fields of `Options`, for the clients' keyword arguments."""

    connect_timeout_s: float
    read_timeout_s: float
    max_message_bytes: int
    retry: Retry
    token: Token | None
    tls: Tls | None
    ready_url: str | None
    management: str | None
