"""Seeds that hang on nothing but the recipe's seed and a place in the training.

No generator is carried along: a run that goes on from a checkpoint, with other workers or over
other processes, draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
import struct


def seed_of(*place: int) -> int:
    """Mix numbers, such as (seed, epoch, position), into a seed of 63 bits."""
    packed = struct.pack(f"<{len(place)}q", *place)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1
