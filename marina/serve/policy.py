"""Which versions of a model are kept.

==========  ==============================================================================
policy      what is served
==========  ==============================================================================
all         every version of the store's index, and those that are registered later
latest      the highest version alone: a higher one that is registered takes over at once
keep:N      the default and the highest others, N together
specific    what was registered, and nothing else
==========  ==============================================================================

A policy is applied when the server starts and when a version is registered or the policy set. To
unregister a version, or to make a lower one the default, is to choose: `all`, `latest` and
`keep:N`, which would undo it at the next start, become `specific`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from marina.archive.version import precedence
from marina.errors import OperationRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL, LATEST, SPECIFIC, KEEP = "all", "latest", "specific", "keep"


def highest(versions: Iterable[str]) -> str:
    """Give the highest version."""
    return max(versions, key=precedence)


def checked_policy(text: str) -> str:
    """Give a policy as it stands in the state.

    Raises:
        OperationRefused: It is none.
    """
    kind, _, number = text.replace(" ", ":", 1).partition(":")
    if kind == KEEP and number.isdecimal() and int(number) > 0:
        return f"{KEEP}:{int(number)}"
    if kind in {ALL, LATEST, SPECIFIC} and not number:
        return kind
    raise OperationRefused(f"a version policy is latest, specific, all or keep:N, not {text!r}")


def kept(policy: str, versions: Iterable[str], default: str) -> set[str]:
    """Say which of the served versions stay.

    Args:
        policy: In the form that `checked_policy` gives.
        versions: Those that are served.
        default: The one of them that answers whoever names none; it always stays.
    """
    kind, _, number = policy.partition(":")
    if kind == LATEST:
        return {default}
    if kind != KEEP:
        return set(versions)
    others = sorted((v for v in versions if v != default), key=precedence, reverse=True)
    return {default, *others[: int(number) - 1]}


def restored(policy: str, versions: Iterable[str], default: str) -> set[str]:
    """Say which versions of the index a policy serves at a start; not for `specific`."""
    versions = set(versions) | {default}
    if policy == LATEST:
        return {highest(versions)}
    return kept(policy, versions, default)
