"""The token that TorchServe wants as ``Authorization: Bearer TOKEN``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from marina.errors import ClientError

Side: TypeAlias = Literal["inference", "management"]

# The token itself, the path of TorchServe's key_file.json, or what gives the token of the moment.
Token: TypeAlias = str | Path | Callable[[], str]

# On a busy machine, what is written in place is torn for as long as its writer waits for a core.
_READS = 50
_READ_AGAIN_S = 0.02


class TokenSource:
    """A token that is remembered until the server refuses it.

    Args:
        token: The token itself, the path of TorchServe's ``key_file.json`` (which has one for
            inference and one for management), or a function that gives the token. None shows none.
        side: Which of a key file's tokens is meant.
    """

    def __init__(self, token: Token | None, side: Side):
        self._token = token
        self._side: Side = side
        self._current: str | None = None

    @property
    def can_change(self) -> bool:
        """Whether another reading may give another token."""
        return self._token is not None and not isinstance(self._token, str)

    @property
    def advice(self) -> str:
        """What to do about a refusal."""
        if self._token is None:
            return "this client shows none; give it token=, such as the path of key_file.json"
        if isinstance(self._token, Path):
            return f"the one in {self._token} has expired, or is another server's"
        return "give the client the token of the moment, or the path of key_file.json"

    def current(self) -> str | None:
        """Give the token.

        Raises:
            ClientError: The key file cannot be read.
        """
        if self._current is None:
            self._current = self._read()
        return self._current

    def renew(self, refused: str | None) -> bool:
        """Read the token again, since the server refused it.

        Returns:
            Whether there is another one now, with which to try again.
        """
        self._current = self._read()
        return self._current != refused

    def _read(self) -> str | None:
        if isinstance(self._token, Path):
            return read_key_file(self._token, self._side)
        return self._token() if callable(self._token) else self._token


def read_key_file(file: Path, side: Side) -> str:
    """Read a token from TorchServe's ``key_file.json``.

    TorchServe writes the file in place, so one that is torn is read again for a moment.

    Raises:
        ClientError: It is missing, or not such a file.
    """
    for read in range(_READS):
        try:
            return str(json.loads(file.read_text())[side]["key"])
        except OSError as err:
            raise ClientError(
                f"cannot read the token file {file}: {err.strerror or err}. The server writes it "
                "as it starts; name the right one, or no token for a server that wants none"
            ) from err
        except (ValueError, KeyError, TypeError) as err:
            if read == _READS - 1:
                raise ClientError(
                    f"{file} is no token file: expected TorchServe's key_file.json, with a key "
                    f'for "{side}"'
                ) from err
            time.sleep(_READ_AGAIN_S)
    raise AssertionError("unreachable")  # the last read returns or raises
