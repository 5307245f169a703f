"""A split: which share of a model's unversioned requests each of its versions answers.

A share is held as *slots*, ten thousand in all, each a hundredth of a percent. A request falls
on a slot by the hash of its sticky header, or by chance without one. When weights change, an arm
that shrinks gives up the slots that it got last, and one that grows takes those: whoever was on
an arm whose weight grew stays there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from marina.errors import SplitError

SLOTS = 10_000

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_HEADER = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# What the gateway itself sets, or what means something else already.
_RESERVED = frozenset({"x-marina-arm", "x-marina-model", "x-marina-shadow", "x-request-id", "host"})


@dataclass(frozen=True, slots=True)
class Share:
    """Adjacent slots of one arm, from ``start`` to before ``stop``."""

    arm: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of slots."""
        return self.stop - self.start


@dataclass(frozen=True)
class Split:
    """The split of one model.

    Attributes:
        model: Its name.
        weights: Slots of each version (its *arm*), in the order given; they sum to `SLOTS`.
        shares: Who has which slots; per arm in the order in which it got them.
        sticky_header: Requests with the same value of it go to the same arm; None sends each
            request by chance.
        force_header: A request that names an arm in it goes there; None lets nobody choose.
        shadow: Slots of each version that gets copies of requests, whose answers go to the log
            alone.
        keep_images: Percent of the copies whose image is kept for a moment, see
            `marina.gateway.kept_images`.
        since: Unix time from which on every request falls under it, in seconds.
    """

    model: str
    weights: Mapping[str, int]
    shares: tuple[Share, ...]
    sticky_header: str | None = None
    force_header: str | None = None
    shadow: Mapping[str, int] | None = None
    keep_images: int = 0
    since: float = 0.0

    @property
    def versions(self) -> list[str]:
        """Every version that the split needs."""
        return list(dict.fromkeys([*self.weights, *(self.shadow or {})]))

    def as_dict(self) -> dict[str, Any]:
        """Give the form for JSON."""
        return {
            "model": self.model,
            "weights": {arm: percent(slots) for arm, slots in self.weights.items()},
            "shadow": {arm: percent(slots) for arm, slots in (self.shadow or {}).items()},
            "sticky_header": self.sticky_header,
            "force_header": self.force_header,
            "keep_images": self.keep_images,
            "since": self.since,
            "shares": [[share.arm, share.start, share.stop] for share in self.shares],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Split:
        """Read that form.

        Raises:
            SplitError: It is not that form.
        """
        try:
            return cls(
                model=str(value["model"]),
                weights=_slots(value["weights"]),
                shares=tuple(Share(str(a), int(b), int(c)) for a, b, c in value["shares"]),
                sticky_header=value["sticky_header"],
                force_header=value["force_header"],
                shadow=_slots(value["shadow"]),
                keep_images=int(value.get("keep_images", 0)),
                since=float(value["since"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise SplitError(f"expected the stored form of a split, got {value!r}") from err


def make_split(
    model: str,
    weights: Mapping[str, int],
    *,
    sticky_header: str | None = None,
    force_header: str | None = None,
    shadow: Mapping[str, int] | None = None,
    keep_images: int = 0,
    before: Split | None = None,
) -> Split:
    """Make a split, moving as few users as the new weights allow.

    Args:
        model: Its name.
        weights: Slots of each version; see `parse_shares`.
        sticky_header: See `Split`.
        force_header: See `Split`.
        shadow: Slots of each version that gets copies.
        keep_images: See `Split`.
        before: The split that this one replaces.

    Raises:
        SplitError: The weights do not sum to 100 %, a header's name is none, or a percentage.
    """
    if not 0 <= keep_images <= 100:
        raise SplitError(f"keep_images is a percentage of 0 to 100, not {keep_images}")
    total = sum(weights.values())
    if total != SLOTS:
        given = " + ".join(f"{percent(slots):g}" for slots in weights.values())
        raise SplitError(f"the weights must sum to 100 percent, not {given} = {percent(total):g}")
    return Split(
        model=model,
        weights=dict(weights),
        shares=_assign(weights, before.shares if before else ()),
        sticky_header=_header(sticky_header),
        force_header=_header(force_header),
        shadow=dict(shadow or {}),
        keep_images=keep_images,
    )


def parse_shares(arguments: Sequence[str]) -> dict[str, int]:
    """Read ``VERSION=PERCENT`` (``2.0=10``, ``2.0=12.5%``) as slots of each version.

    Raises:
        SplitError: One is not of that form, is out of range, or comes twice.
    """
    slots: dict[str, int] = {}
    for argument in arguments:
        version, separator, text = argument.partition("=")
        if not separator or not _VERSION.fullmatch(version):
            raise SplitError(f"expected VERSION=PERCENT, such as 2.0=10, got {argument!r}")
        if version in slots:
            raise SplitError(f"version {version} is given twice: name each once")
        slots[version] = _to_slots(text.removesuffix("%"), argument)
    return slots


def percent(slots: int) -> float:
    """Give slots as a percentage."""
    return slots * 100 / SLOTS


def _to_slots(text: str, argument: str) -> int:
    try:
        slots = Decimal(text) * SLOTS / 100
        is_whole = slots == slots.to_integral_value()
    except InvalidOperation:
        raise SplitError(f"{argument}: expected a percentage, such as 10 or 12.5") from None
    if not is_whole or not 0 <= slots <= SLOTS:
        raise SplitError(f"{argument}: expected 0 to 100 percent in steps of {percent(1):g}")
    return int(slots)


def _slots(percentages: Mapping[str, Any]) -> dict[str, int]:
    return {str(arm): round(float(value) * SLOTS / 100) for arm, value in percentages.items()}


def _header(name: str | None) -> str | None:
    if name is None:
        return None
    if not _HEADER.fullmatch(name.lower()) or name.lower() in _RESERVED:
        raise SplitError(f"{name!r} cannot be the name of that header: choose one like x-user-id")
    return name.lower()


def _assign(weights: Mapping[str, int], before: Sequence[Share]) -> tuple[Share, ...]:
    """Give each arm its slots, the last gained given up first."""
    held: dict[str, list[Share]] = {arm: [] for arm in weights}
    free = [share for share in before if share.arm not in weights]
    if not before:
        free = [Share("", 0, SLOTS)]
    for share in before:
        if share.arm in held:
            held[share.arm].append(share)
    for arm, shares in held.items():
        free.extend(_give_up(shares, sum(share.size for share in shares) - weights[arm]))
    free.sort(key=lambda share: share.start)
    for arm, shares in held.items():
        shares.extend(_take(free, arm, weights[arm] - sum(share.size for share in shares)))
    return tuple(share for shares in held.values() for share in shares)


def _give_up(shares: list[Share], count: int) -> list[Share]:
    """Take slots off the end of an arm's list."""
    given: list[Share] = []
    while count > 0:
        last = shares.pop()
        stay = max(0, last.size - count)
        if stay:
            shares.append(Share(last.arm, last.start, last.start + stay))
        given.append(Share(last.arm, last.start + stay, last.stop))
        count -= last.size - stay
    return given


def _take(free: list[Share], arm: str, count: int) -> list[Share]:
    """Take slots off the start of the free ones."""
    taken: list[Share] = []
    while count > 0:
        first = free.pop(0)
        take = min(count, first.size)
        taken.append(Share(arm, first.start, first.start + take))
        if take < first.size:
            free.insert(0, Share(first.arm, first.start + take, first.stop))
        count -= take
    return taken
