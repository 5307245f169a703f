"""Predictions over REST."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import requests

from marina.client.address import is_loopback
from marina.client.answer import read_error
from marina.client.transport import Transport
from marina.errors import ConnectionFailed, DeadlineExceeded


class Client(Transport):
    """A client of TorchServe's REST inference API.

    Args:
        url: Of the server, without ``/predictions``.
        connect_timeout_s: Longest wait for a connection, in seconds.
        read_timeout_s: Longest wait for the answer once connected, in seconds.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 60.0,
    ):
        self.url = url.rstrip("/")
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(urlsplit(self.url).hostname)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _send(
        self, image: bytes, model: str, version: str | None, options: dict[str, str]
    ) -> tuple[bytes, str | None]:
        path = "/".join(quote(part, safe="") for part in (model, version) if part is not None)
        # Without a type TorchServe takes a body for a form, and drops it.
        headers = {"Content-Type": "application/octet-stream", **options}
        response = self._post(f"{self.url}/predictions/{path}", image, headers)
        request_id = response.headers.get("x-request-id")
        if response.status_code >= 400:
            raise read_error(response.content, response.status_code, request_id)
        return response.content, request_id

    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> requests.Response:
        timeout_s = (self._connect_timeout_s, self._read_timeout_s)
        try:
            return self._session.post(url, data=body, headers=headers, timeout=timeout_s)
        except requests.ConnectTimeout as err:
            raise ConnectionFailed(
                f"no connection to {self.url} within {self._connect_timeout_s:g} s: "
                "check the address and the network"
            ) from err
        except requests.Timeout as err:
            raise DeadlineExceeded(
                f"no answer from {self.url} within {self._read_timeout_s:g} s: "
                "the server is overloaded, or its worker hangs"
            ) from err
        except requests.RequestException as err:
            raise ConnectionFailed(
                f"cannot reach {self.url} ({_cause(err)}): check that it is the server's address, "
                "and that the server runs (`marina serve`)"
            ) from err


def _cause(error: BaseException) -> str:
    """Give the innermost reason; those around it are urllib3's own bookkeeping."""
    reason: BaseException = error
    while inner := reason.__cause__ or reason.__context__:
        reason = inner
    return (reason.strerror if isinstance(reason, OSError) else None) or str(reason)
