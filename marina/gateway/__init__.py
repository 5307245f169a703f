"""Envoy between clients and TorchServe: limits, deadlines, one form of errors, and splits.

gateway = Gateway(config, folder, log_dir)
gateway.start()
gateway.set_split(make_split("resnet", parse_shares(["1.0=90", "2.0=10"])))
gateway.stop()
"""

from marina.gateway.access_log import read_log
from marina.gateway.config import GatewayConfig, Limits, Tls
from marina.gateway.gateway import Gateway, read_splits
from marina.gateway.split import Split, make_split, parse_shares

__all__ = [
    "Gateway",
    "GatewayConfig",
    "Limits",
    "Split",
    "Tls",
    "make_split",
    "parse_shares",
    "read_log",
    "read_splits",
]
