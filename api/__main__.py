"""`python -m api`: run the API until SIGTERM."""

from typing import Annotated

import typer
import uvicorn

from workers.logs import set_up_logging

MAX_HEADER_BYTES = 16 * 1024
SHUTDOWN_S = 3
"""How long open streams may go on once we are told to stop; their clients come back with Last-Event-ID."""


def serve(
    host: Annotated[str, typer.Option()] = "127.0.0.1", port: Annotated[int, typer.Option()] = 8000
) -> None:
    """Run the API on one address."""
    set_up_logging()
    uvicorn.run(
        "api.app:create_app",
        factory=True,
        host=host,
        port=port,
        loop="uvloop",
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


if __name__ == "__main__":
    typer.run(serve)
