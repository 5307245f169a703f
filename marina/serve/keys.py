"""The tokens that TorchServe hands out, and their renewal before they expire.

TorchServe writes ``key_file.json`` into its working directory when it starts, with a token for
inference, one for management and one that renews these two. It is readable by its owner alone, and
lies where ``serve.json`` says. A token is renewed in good time by the server itself; whoever uses
the old one is refused from then on, and has to read the file again.
"""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import httpx

from marina.errors import ServeError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "key_file.json"

Kind = Literal["inference", "management"]

# Of a token's life, when it is renewed.
_RENEW_AT = 0.8

_READS = 20
_READ_AGAIN_S = 0.02


@dataclass(frozen=True)
class Key:
    """One token.

    Attributes:
        token: What a request shows as ``Authorization: Bearer TOKEN``.
        expires_s: When it ends, in seconds since 1970; None if it never does.
    """

    token: str
    expires_s: float | None

    @property
    def has_expired(self) -> bool:
        """Whether it is of no use any more."""
        return self.expires_s is not None and time.time() >= self.expires_s


class KeyFile:
    """TorchServe's ``key_file.json``.

    Args:
        path: Of the file, which need not exist yet.
        lifetime_s: How long a token lasts.
    """

    def __init__(self, path: Path, lifetime_s: float):
        self.path = path
        self._lifetime_s = lifetime_s

    def read(self, kind: Literal["inference", "management", "API"]) -> Key:
        """Read one token; the file is written in place, so a torn one is read again.

        Raises:
            ServeError: It is missing, or no such file.
        """
        for _ in range(_READS):
            try:
                entry = json.loads(self.path.read_text())[kind]
                return Key(str(entry["key"]), _seconds(entry.get("expiration time")))
            except (OSError, ValueError, KeyError, TypeError) as err:
                reason = err
            time.sleep(_READ_AGAIN_S)
        raise ServeError(f"expected TorchServe's tokens in {self.path}: {reason}")

    def admits(self, kind: Kind, authorization: str | None) -> bool:
        """Tell whether an ``Authorization`` header shows the token."""
        shown = (authorization or "").removeprefix("Bearer ")
        key = self.read(kind)
        return hmac.compare_digest(shown.encode(), key.token.encode()) and not key.has_expired

    def renew_if_old(self, management_url: str) -> bool:
        """Renew both tokens if one is near its end.

        Returns:
            Whether they were renewed.
        """
        ends = [self.read(kind).expires_s for kind in ("inference", "management")]
        left_s = min((end for end in ends if end is not None), default=float("inf")) - time.time()
        if left_s > self._lifetime_s * (1 - _RENEW_AT):
            return False
        self.renew(management_url)
        return True

    def renew(self, management_url: str) -> None:
        """Let TorchServe make new tokens; the old ones end at once.

        Raises:
            ServeError: It does not.
        """
        headers = {"Authorization": f"Bearer {self.read('API').token}"}
        try:
            with httpx.Client(trust_env=False, headers=headers) as client:
                for kind in ("inference", "management"):
                    answer = client.get(f"{management_url}/token", params={"type": kind})
                    answer.raise_for_status()
        except httpx.HTTPError as err:
            raise ServeError(f"TorchServe does not renew its tokens: {err}") from err


def _seconds(time_text: str | None) -> float | None:
    """Read ``2026-11-21T08:46:58.287595527Z``; Python takes no nanoseconds."""
    if time_text is None:
        return None
    whole = time_text.removesuffix("Z").partition(".")[0]
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
