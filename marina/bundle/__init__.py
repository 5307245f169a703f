"""Everything that a host without a network needs to serve, in one folder with its checksums."""

from marina.bundle.bundle import make_bundle
from marina.bundle.wheels import download_wheels

__all__ = ["download_wheels", "make_bundle"]
