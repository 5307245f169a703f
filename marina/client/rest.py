"""How calls travel over REST."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx

from marina.client.address import is_loopback
from marina.client.answer import read_error
from marina.client.call import Attempt, Call, Operation, Reply
from marina.client.options import Options, Tls
from marina.client.status import cannot_reach, no_answer
from marina.errors import ClientError, ConnectionFailed, ConnectionRefused, DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

# Method, and path with {model} and {version}. A call's version is left out of the path where the
# path does not name it and the call has none.
_FORMS: dict[Operation, tuple[str, str]] = {
    Operation.PREDICT: ("POST", "/predictions/{model}"),
    Operation.EXPLAIN: ("POST", "/explanations/{model}"),
    Operation.PING: ("GET", "/ping"),
    Operation.LIST: ("GET", "/models"),
    Operation.DESCRIBE: ("GET", "/models/{model}"),
    Operation.REGISTER: ("POST", "/models"),
    Operation.SCALE: ("PUT", "/models/{model}"),
    Operation.SET_DEFAULT: ("PUT", "/models/{model}/{version}/set-default"),
    Operation.UNREGISTER: ("DELETE", "/models/{model}"),
    Operation.SWITCH: ("PUT", "/models/{model}/{version}/switch"),
    Operation.SET_POLICY: ("POST", "/models/{model}/policy"),
    Operation.SPLITS: ("GET", "/splits"),
    Operation.SET_SPLIT: ("PUT", "/splits/{model}"),
    Operation.CLEAR_SPLIT: ("DELETE", "/splits/{model}"),
    Operation.FEEDBACK: ("POST", "/feedback"),
}


class RestWire:
    """Sends calls over REST, and waits for each.

    Args:
        url: Of the inference API, without ``/predictions``; None where only management is asked.
        options: What the client was told.
    """

    def __init__(self, url: str | None, options: Options):
        self._form = _Form(url, options)
        self._http = httpx.Client(**self._form.http_options())

    def send(self, attempt: Attempt) -> Reply:
        """Send a call.

        Raises:
            ClientError: No answer came, or one that is an error.
        """
        request = self._form.request(attempt)
        try:
            return _reply(self._http.request(**request))
        except (httpx.HTTPError, ssl.SSLError) as err:
            raise self._form.error(err, request["url"]) from err

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class AsyncRestWire:
    """Sends calls over REST, and awaits each. See `RestWire`."""

    def __init__(self, url: str | None, options: Options):
        self._form = _Form(url, options)
        self._http = httpx.AsyncClient(**self._form.http_options())

    async def send(self, attempt: Attempt) -> Reply:
        """Send a call, see `RestWire.send`."""
        request = self._form.request(attempt)
        try:
            return _reply(await self._http.request(**request))
        except (httpx.HTTPError, ssl.SSLError) as err:
            raise self._form.error(err, request["url"]) from err

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class _Form:
    """What calls look like as HTTP requests, and what httpx's errors mean.

    Raises:
        ClientError: An address is no URL, or the TLS files are not what they should be.
    """

    def __init__(self, url: str | None, options: Options):
        self._options = options
        self._inference = _checked(url)
        self._management = _checked(options.management)
        self._ready = _checked(options.ready_url)

    def http_options(self) -> dict[str, Any]:
        """Give what httpx's client is made with."""
        options = self._options
        addresses = [a for a in (self._inference, self._management, self._ready) if a]
        is_secure = any(address.startswith("https:") for address in addresses)
        return {
            "timeout": httpx.Timeout(
                options.read_timeout_s, connect=options.connect_timeout_s, pool=None
            ),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=None),
            # Making a context takes longer than a request, and plain HTTP needs none.
            "verify": (options.tls or Tls()).context() if is_secure else False,
            "trust_env": not _all_loopback(addresses),
        }

    def request(self, attempt: Attempt) -> dict[str, Any]:
        """Give an attempt as the arguments of an HTTP request."""
        call = attempt.call
        headers = {"X-Request-Id": call.request_id, **call.options}
        if attempt.token is not None:
            headers["Authorization"] = f"Bearer {attempt.token}"
        if call.operation is Operation.READY:
            return {"method": "GET", "url": self._ready, "headers": headers}
        method, path = _FORMS[call.operation]
        if call.version is not None and "{version}" not in path:
            path += "/{version}"
        names = {"model": quote(call.model, safe=""), "version": quote(call.version or "", safe="")}
        request: dict[str, Any] = {
            "method": method,
            "url": self._base(call.operation) + path.format(**names),
            "headers": headers,
        }
        if call.operation in {Operation.PREDICT, Operation.EXPLAIN}:
            # Without a type TorchServe takes a body for a form, and drops it.
            headers["Content-Type"] = "application/octet-stream"
            request["content"] = call.image
        if call.arguments:
            request["params"] = _query(call)
        return request

    def error(self, err: httpx.HTTPError | ssl.SSLError, url: str) -> ClientError:
        """Give the error that one of httpx's, or of TLS under it, stands for.

        In TLS 1.3 a server refuses a client's certificate after the handshake, which httpx lets
        through as it is.
        """
        parts = urlsplit(url)
        address = f"{parts.scheme}://{parts.netloc}"
        if isinstance(err, httpx.ConnectTimeout):
            return ConnectionRefused(
                f"no connection to {address} within {self._options.connect_timeout_s:g} s: check "
                "the address and the network"
            )
        if isinstance(err, httpx.TimeoutException):
            return DeadlineExceeded(no_answer(address, self._options.read_timeout_s))
        is_unsent = isinstance(err, httpx.ConnectError)
        error = ConnectionRefused if is_unsent else ConnectionFailed
        return error(cannot_reach(address, _cause(err)))

    def _base(self, operation: Operation) -> str:
        base = self._management if operation.is_management else self._inference
        if base is None:
            which = "management" if operation.is_management else "inference"
            raise ClientError(
                f"this client was given no address of the {which} API: make it with one, such as "
                'management="http://127.0.0.1:8081"'
            )
        return base


def _query(call: Call) -> dict[str, str]:
    """Give the arguments as TorchServe reads them: booleans in lower case."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in call.arguments.items()
    }


def _reply(response: httpx.Response) -> Reply:
    if response.status_code >= 400:
        raise read_error(response.content, response.status_code)
    return Reply(response.content)


def _checked(url: str | None) -> str | None:
    if url is not None and not url.startswith(("http://", "https://")):
        raise ClientError(f"expected a URL such as http://127.0.0.1:8080, not {url!r}")
    return url and url.rstrip("/")


def _all_loopback(addresses: Sequence[str]) -> bool:
    return all(is_loopback(urlsplit(address).hostname) for address in addresses)


def _cause(error: BaseException) -> str:
    """Give the innermost reason; those around it are httpx's own bookkeeping."""
    reason: BaseException = error
    while inner := reason.__cause__ or reason.__context__:
        reason = inner
    if isinstance(reason, BaseExceptionGroup):
        reason = reason.exceptions[0]
    if isinstance(reason, ConnectionError) and reason.errno:
        return os.strerror(reason.errno)  # asyncio has words of its own for it
    return (reason.strerror if isinstance(reason, OSError) else None) or str(reason) or repr(reason)
