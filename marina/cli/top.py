"""The verb that watches a running server: top."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import Json, print_json
from marina.errors import ConnectionFailed


@app.command(rich_help_panel="Serving")
def top(
    metrics_url: Annotated[
        str | None,
        typer.Option(help="Default: 127.0.0.1 at MARINA_METRICS_PORT (8082). Asks for no token."),
    ] = None,
    interval: Annotated[
        float, typer.Option(help="Seconds between two looks.", min=0.1, max=60)
    ] = 1.0,
    window: Annotated[
        float, typer.Option(help="Seconds that rates and quantiles are over.", min=0.1)
    ] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Draw one table and end.")] = False,
    as_json: Json = False,
) -> None:
    """Watch a running server: requests/s, latency per version, queues, workers, batches, errors."""
    from rich.live import Live
    from rich.text import Text

    from marina import display
    from marina.top import compare, read

    port = os.environ.get("MARINA_METRICS_PORT", "8082")
    url = metrics_url or f"http://127.0.0.1:{port}/metrics"
    readings = deque([read(url)])
    if once or as_json:
        time.sleep(interval)
        sample = compare(readings[0], read(url))
        if as_json:
            print_json(sample.as_dict())
        else:
            display.output.print(display.monitor(sample, url))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=display.output, screen=True) as live:
        while True:
            time.sleep(interval)
            try:
                readings.append(read(url))
            except ConnectionFailed as err:
                live.update(Text(str(err), style="red"), refresh=True)
                continue
            while len(readings) > 2 and readings[1].at <= readings[-1].at - window:
                readings.popleft()
            live.update(display.monitor(compare(readings[0], readings[-1]), url), refresh=True)
