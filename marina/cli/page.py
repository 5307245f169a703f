"""The verb that serves a page to try models on."""

from __future__ import annotations

from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import ManagementPort, RestPort, TokenFile, chosen_token
from marina.errors import ServeError
from marina.progress import console


@app.command(rich_help_panel="Serving")
def ui(
    port: Annotated[int, typer.Option(help="Where the page listens, on loopback.")] = 8090,
    url: Annotated[
        str | None, typer.Option(help="The server. Default: 127.0.0.1 at the REST port.")
    ] = None,
    management_url: Annotated[
        str | None, typer.Option(help="Its management. Default: at the management port.")
    ] = None,
    token_file: TokenFile = None,
    rest_port: RestPort = 8080,
    management_port: ManagementPort = 8081,
) -> None:
    """Serve a page to try the models on, until Ctrl-C: drop an image, compare the versions."""
    from marina.client import Client
    from marina.client.management import ManagementClient
    from marina.ui import PageServer

    loopback = "http://127.0.0.1"
    token = chosen_token(token_file)
    management = management_url or f"{loopback}:{management_port}"
    with (
        Client(url or f"{loopback}:{rest_port}", token=token, management=management) as client,
        ManagementClient(management, token=token) as manager,
    ):
        try:
            page = PageServer(client, port, manager, token)
        except OSError as err:
            raise ServeError(
                f"cannot listen on port {port} ({err.strerror}): choose another --port"
            ) from err
        console.print(f"try the models of {client.url} at {page.url}   Ctrl-C stops")
        with page:
            try:
                page.serve_forever()
            except KeyboardInterrupt:
                console.print("stopped")
