"""Verbs of a running server: serve, predict."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marina.cli.app import app
from marina.cli.options import (
    DrainTimeout,
    GatewayMetricsPort,
    GrpcManagementPort,
    GrpcPort,
    Json,
    LogFolder,
    ManagementPort,
    MetricsPort,
    RequiredKeys,
    RestPort,
    StoreFolder,
    TokenFile,
    chosen_token,
    print_json,
)
from marina.errors import ClientError
from marina.progress import tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from marina.serve.log import Line


class LogFormat(StrEnum):
    """How the log looks, as a choice that the shell can complete."""

    text = "text"
    json = "json"


@app.command(rich_help_panel="Serving")
def serve(
    archives: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]FILE.mar", help="What to serve. Default: all of the model store."
        ),
    ] = None,
    model_store: StoreFolder = Path("model_store"),
    log_dir: LogFolder = Path("logs"),
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Copy TorchServe's log to stderr as well.")
    ] = False,
    log_format: Annotated[
        LogFormat, typer.Option(help="Of what goes to stderr; the files are always JSON.")
    ] = LogFormat.text,
    rest_port: RestPort = 8080,
    grpc_port: GrpcPort = 7070,
    management_port: ManagementPort = 8081,
    grpc_management_port: GrpcManagementPort = 7071,
    metrics_port: MetricsPort = 8082,
    gateway_metrics_port: GatewayMetricsPort = 9901,
    drain_timeout: DrainTimeout = 30.0,
    gateway: Annotated[
        bool,
        typer.Option("--gateway/--no-gateway", help="Put Envoy in front: limits, splits, one log."),
    ] = True,
    explanations: Annotated[
        bool, typer.Option("--explanations", help="Let /explanations through the gateway.")
    ] = False,
    address: Annotated[str, typer.Option(help="Where REST and gRPC listen.")] = "127.0.0.1",
    metrics_address: Annotated[
        str, typer.Option(help="Where the Prometheus metrics listen, for a scrape from elsewhere.")
    ] = "127.0.0.1",
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM: speak TLS 1.3 with this certificate chain.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM: its private key.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="PEM: only clients with a certificate of these authorities.")
    ] = None,
    require_signature: RequiredKeys = None,
    tokens: Annotated[
        bool,
        typer.Option(
            "--tokens/--no-tokens", help="Ask every request for a token; `marina token` prints it."
        ),
    ] = True,
    gpu: Annotated[
        bool, typer.Option("--gpu/--no-gpu", help="Use the GPUs that there are.")
    ] = True,
    new_state: Annotated[
        bool,
        typer.Option(
            "--new-state", help="Put state.json aside, and begin anew with all of the store."
        ),
    ] = False,
) -> None:
    """Serve archives until Ctrl-C or SIGTERM; ready only when the golden images are answered.

    Without archives it serves what model_store/state.json says, which `marina models` changes and
    which outlives a crash; where there is none, all of the store. A state that is damaged is
    refused: bring back a copy, or see --new-state. Archives that are named are served until the
    end, and the state is left alone.
    """
    from marina import display
    from marina.archive.signature import read_public_key
    from marina.serve import ServeConfig, gateway_options, kept_state, resolve, running

    config = ServeConfig(
        model_store=model_store,
        address=address,
        metrics_address=metrics_address,
        gateway=gateway_options(
            gateway_metrics_port,
            tls_certificate,
            tls_key,
            client_ca,
            explanations=explanations,
            is_on=gateway,
        ),
        rest_port=rest_port,
        grpc_port=grpc_port,
        management_port=management_port,
        grpc_management_port=grpc_management_port,
        metrics_port=metrics_port,
        drain_timeout_s=drain_timeout,
        tokens=tokens,
        gpu=gpu,
    )
    keys = [read_public_key(file) for file in require_signature or ()]
    tell = _tell(log_format)
    with ExitStack() as stack:
        if archives:
            models, state, file = resolve(archives, model_store, keys), None, None
        else:
            kept = stack.enter_context(
                kept_state(model_store, keys, is_new=new_state, on_event=tell)
            )
            models, state, file = kept.models, kept.state, kept.file
        server = stack.enter_context(
            running(
                config,
                models,
                log_dir=log_dir,
                state=state,
                state_file=file,
                keys=keys,
                echo=_echo(log_format) if foreground else None,
                on_event=tell,
            )
        )
        if log_format is LogFormat.text:
            display.server(server)
        server.wait()


def _tell(log_format: LogFormat) -> Callable[[str], None]:
    """Give what tells of an event on stderr."""
    from marina.serve.events import event_line

    if log_format is LogFormat.text:
        return tell
    return lambda message: typer.echo(event_line(message), err=True)


def _echo(log_format: LogFormat) -> Callable[[Line], None]:
    """Give what copies a line of TorchServe's log to stderr."""
    is_text = log_format is LogFormat.text
    return lambda line: typer.echo(line.as_text() if is_text else line.whole, err=True)


@app.command(rich_help_panel="Serving")
def predict(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Files, folders, globs.")],
    url: Annotated[
        str | None,
        typer.Option(
            help="Default: 127.0.0.1 at MARINA_REST_PORT (8080), MARINA_GRPC_PORT (7070)."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name of the model.")] = "resnet",
    version: Annotated[str | None, typer.Option(help="Default: the server's default.")] = None,
    grpc: Annotated[bool, typer.Option("--grpc", help="Ask over gRPC.")] = False,
    top_k: Annotated[int | None, typer.Option(help="Classes to show.", min=1)] = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Classify images on a running server; exits with 8 if any of them failed."""
    from marina import display
    from marina.predict import find_images, predict_each

    outcomes = predict_each(
        find_images(images),
        url,
        model,
        version,
        grpc=grpc,
        top_k=top_k,
        token=chosen_token(token_file),
    )
    if as_json:
        print_json([outcome.as_dict() for outcome in outcomes])
    else:
        display.outcomes(outcomes)
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        raise typer.Exit(ClientError.exit_code)
