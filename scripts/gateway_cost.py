"""What the gateway adds to a request: a server asked directly and through a gateway, in turns.

    marina serve --no-gateway --no-tokens
    python scripts/gateway_cost.py photo.jpg --model resnet --requests 3000

Both ways carry the same image over one connection each, alternately, so that whatever else the
machine does hits both. The gateway is one of the script's own, with a sticky split of one arm.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import tempfile
import time
from pathlib import Path

from marina.gateway import Gateway, GatewayConfig, make_split, parse_shares
from marina.serve.ports import free_ports

WARM_UP = 100


def main() -> None:
    """Measure, and print quantiles in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--port", type=int, default=8080, help="REST of the server, on 127.0.0.1")
    parser.add_argument("--model", default="resnet")
    parser.add_argument("--version", default="1.0")
    parser.add_argument("--requests", type=int, default=3000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marina-") as name:
        folder = Path(name)
        rest, grpc, metrics = free_ports(3)
        config = GatewayConfig(given.port, rest_port=rest, grpc_port=grpc, metrics_port=metrics)
        gateway = Gateway(config, (given.port, given.port), folder, folder)
        try:
            gateway.start()
            weights = parse_shares([f"{given.version}=100"])
            gateway.set_split(make_split(given.model, weights, sticky_header="x-user-id"))
            _compare(
                {"direct": given.port, "gateway": rest},
                {"direct": f"/{given.model}/{given.version}", "gateway": f"/{given.model}"},
                given.image.read_bytes(),
                given.requests,
            )
        finally:
            gateway.stop()


def _compare(ports: dict[str, int], paths: dict[str, str], image: bytes, requests: int) -> None:
    ways = {way: http.client.HTTPConnection("127.0.0.1", port) for way, port in ports.items()}
    took_ms: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(WARM_UP + requests):
        for way in sorted(ways, reverse=bool(number % 2)):
            started = time.perf_counter()
            headers = {"Content-Type": "application/octet-stream"}
            ways[way].request("POST", f"/predictions{paths[way]}", image, headers)
            answer = ways[way].getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise SystemExit(f"{way}: {answer.status} {answer.reason}")
            if number >= WARM_UP:
                took_ms[way].append((time.perf_counter() - started) * 1000)
    medians = {way: statistics.median(times) for way, times in took_ms.items()}
    for way, times in took_ms.items():
        p90, p99 = (statistics.quantiles(times, n=100)[q - 1] for q in (90, 99))
        print(f"{way:8} p50 {medians[way]:.3f} ms   p90 {p90:.3f} ms   p99 {p99:.3f} ms")
    print(f"added    p50 {medians['gateway'] - medians['direct']:.3f} ms")


if __name__ == "__main__":
    main()
