"""Verbs of rollouts: rollout start, status, history, report, pause …, and feedback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from marina.cli.app import app
from marina.cli.options import (
    Json,
    LogFolder,
    ManagementUrl,
    TokenFile,
    connect_management,
    print_json,
)

rollout = typer.Typer(
    help="A rollout: where it stands, why, and what a person decides.", no_args_is_help=True
)
app.add_typer(rollout, name="rollout", rich_help_panel="Rollouts")

Model = Annotated[str, typer.Argument(help="Name of the model, such as resnet.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the log.")]


@rollout.command()
def start(
    file: Annotated[Path, typer.Argument(help="Such as models/rollouts/resnet.yaml.")],
    log_dir: LogFolder = Path("logs"),
    again: Annotated[
        bool, typer.Option("--again", help="Begin anew if this rollout has ended.")
    ] = False,
    skip_lost: Annotated[
        bool, typer.Option("--skip-lost", help="Go on though unread access log was lost.")
    ] = False,
    url: ManagementUrl = None,
    token_file: TokenFile = None,
) -> None:
    """Drive a rollout to its end: 0 promoted, 11 rolled back, 12 left where it was by Ctrl-C.

    The split holds while this process is away, and the same command goes on where it was.
    """
    from marina.progress import console
    from marina.rollout.decision import EXIT_CODES
    from marina.rollout.live import LiveRollout, put_aside
    from marina.rollout.spec import read_rollout

    def tell(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    spec = read_rollout(file)
    put_aside(log_dir, spec, again=again)
    with (
        connect_management(url, token_file) as manager,
        LiveRollout(spec, log_dir, manager, tell, skip_lost=skip_lost) as live,
    ):
        try:
            live.run()
        except KeyboardInterrupt:
            tell("left where it is: the split holds, and the same command goes on")
    typer.echo(f"{spec.model} {spec.candidate}: {live.rollout.phase}")
    raise typer.Exit(EXIT_CODES[live.rollout.phase])


@app.command("feedback", rich_help_panel="Rollouts")
def feedback(
    request_id: Annotated[str, typer.Argument(help="X-Request-Id of the answer.")],
    label: Annotated[str, typer.Argument(help="The true class.")],
    url: ManagementUrl = None,
    token_file: TokenFile = None,
) -> None:
    """Tell the true class of an image that was classified; rollouts count it for its version."""
    with connect_management(url, token_file) as manager:
        manager.feedback(request_id, label)


@rollout.command()
def status(
    model: Model,
    log_dir: LogFolder = Path("logs"),
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew each second.")] = False,
    as_json: Json = False,
) -> None:
    """Show where a rollout stands and why; exits with 0 promoted, 11 rolled back, 12 neither."""
    from rich.live import Live

    from marina import display
    from marina.rollout.commands import log_of
    from marina.rollout.decision import EXIT_CODES
    from marina.rollout.recorded import read_rollout_log

    log = log_of(log_dir, model)
    state, _ = read_rollout_log(log)
    if as_json:
        print_json(state.as_dict())
    elif watch:
        with Live(display.rollout_status(state), console=display.output) as live:
            while not state.over:
                time.sleep(1)
                state, _ = read_rollout_log(log)
                live.update(display.rollout_status(state))
    else:
        display.output.print(display.rollout_status(state))
    raise typer.Exit(EXIT_CODES[state.phase])


@rollout.command()
def history(model: Model, log_dir: LogFolder = Path("logs"), as_json: Json = False) -> None:
    """Show every decision and its reason; --json gives the evidence too."""
    from marina import display
    from marina.rollout.commands import log_of
    from marina.rollout.recorded import read_rollout_log

    _, events = read_rollout_log(log_of(log_dir, model))
    if as_json:
        print_json([event for event in events if event["event"] in {"decided", "commanded"}])
    else:
        display.rollout_history(events)


@rollout.command()
def report(
    model: Model,
    log_dir: LogFolder = Path("logs"),
    out: Annotated[
        Path | None, typer.Option(help="Where it goes. Default: report.html beside the log.")
    ] = None,
) -> None:
    """Write one HTML page: traffic, latency per arm, the verdict with its evidence, a gallery."""
    from marina.rollout.commands import log_of
    from marina.rollout.report import write_report

    log = log_of(log_dir, model)
    page = out or log.with_name("report.html")
    write_report(log, page)
    typer.echo(page)


@rollout.command()
def pause(model: Model, log_dir: LogFolder = Path("logs"), reason: Reason = "by hand") -> None:
    """Hold the step: nothing advances, a breach still acts."""
    _command("pause", model, log_dir, reason)


@rollout.command()
def resume(model: Model, log_dir: LogFolder = Path("logs"), reason: Reason = "by hand") -> None:
    """Go on from a pause."""
    _command("resume", model, log_dir, reason)


@rollout.command()
def promote(model: Model, log_dir: LogFolder = Path("logs"), reason: Reason = "by hand") -> None:
    """Give the candidate all of the traffic, whatever the gates say."""
    _command("promote", model, log_dir, reason)


@rollout.command()
def rollback(model: Model, log_dir: LogFolder = Path("logs"), reason: Reason = "by hand") -> None:
    """Give the baseline all of the traffic back."""
    _command("rollback", model, log_dir, reason)


def _command(action: str, model: str, log_dir: Path, reason: str) -> None:
    from marina.progress import console
    from marina.rollout.commands import Command, log_of, send
    from marina.rollout.decision import Action
    from marina.rollout.recorded import read_rollout_log, refuse_command

    log = log_of(log_dir, model)
    state, _ = read_rollout_log(log)
    refuse_command(state, Action(action))
    send(log, Command(Action(action), time.time(), reason))
    console.print(f"{action}: left for the rollout's process, which obeys at its next turn")
