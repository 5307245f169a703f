"""TorchServe from start to stop, as one block of a program.

    with running(config, resolve([], config.model_store), log_dir=Path("logs")) as server:
        print(server.rest_url)
        server.wait()

The block is entered when the server is ready. Whatever ends it, requests in flight are answered,
and then nothing of the server is left.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from marina.errors import ServeError
from marina.serve.interruption import Interruption
from marina.serve.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from marina.serve.config import ServeConfig
    from marina.serve.served import Served
    from marina.serve.server import OnEvent, OnLine
    from marina.serve.state import State, StateFile


@contextmanager
def running(
    config: ServeConfig,
    models: Sequence[Served],
    *,
    log_dir: Path = Path("logs"),
    state: State | None = None,
    state_file: StateFile | None = None,
    keys: Sequence[Ed25519PublicKey] = (),
    echo: OnLine | None = None,
    on_event: OnEvent = lambda _: None,
) -> Iterator[Server]:
    """Serve models while a block runs.

    The block is entered when every worker has loaded and a golden image of each model is answered
    rightly over REST and gRPC. At its end, however it ends, requests in flight are answered, and
    then no process and no temporary file is left. In the main thread, Ctrl-C and SIGTERM end the
    block (or its `Server.wait`), and a second one ends everything at once.

    Args:
        config: Where to listen.
        models: What to serve, see `resolve` and `restore`.
        log_dir: Folder of the logs and of ``serve.json``.
        state: How to serve it; None serves it as the archives ask.
        state_file: Keeps what is changed; None forgets it at the end.
        keys: One of them must have signed what is registered later; none asks for no signature.
        echo: Called with each line of TorchServe's log.
        on_event: Called with a line for each step.

    Yields:
        The server.

    Raises:
        ServeError: It cannot start, or broke for good while `Server.wait` waited.
    """
    error: str | None = None
    with Interruption() as interruption:
        server = Server(
            config,
            models,
            log_dir,
            interruption,
            state=state,
            state_file=state_file,
            keys=keys,
            echo=echo,
            on_event=on_event,
        )
        try:
            server.start()
            interruption.phase = "serving"
            interruption.check()  # one that came just before the line above
            yield server
        except ServeError as err:
            error = str(err)
            raise
        finally:
            try:
                interruption.phase = "stopping"
            finally:  # one that is raised just before the line above
                server.stop(error)
