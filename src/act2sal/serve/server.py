"""`act2sal serve`: listens, serves, stops gracefully."""

import logging
import os
import socket
import sys
from pathlib import Path

from act2sal.errors import InputError, MissingPackageError
from act2sal.predict.detector import Detector
from act2sal.serve.settings import Settings

SHORTEST_TOKEN = 16
"""Characters; `openssl rand -hex 16` gives 32."""

STOP_SECONDS = 30
"""After SIGTERM, requests that are held have this long to end."""

logger = logging.getLogger("act2sal")


def read_token(file: Path) -> str:
    """The token in a file, without white space around it.

    Raises:
        InputError: it cannot be read, or holds none, or one that can be guessed.
    """
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise InputError(f"--token-file {file}: cannot be read as text") from error
    if len(token) < SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise InputError(
            f"--token-file {file}: a token has at least {SHORTEST_TOKEN} characters and no space; "
            f"openssl rand -hex 16 > {file} writes one"
        )
    return token


def require_serve() -> None:
    """Make sure that what the service needs is installed.

    Raises:
        MissingPackageError: it is not.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingPackageError('serve needs the extra "serve": pip install "act2sal[serve]"') from error


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: any that is free.

    Raises:
        InputError: the address is not of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = (
            os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
        )
        raise InputError(f"--host {host} --port {port}: {reason}") from error
    return listener


def serve(detector: Detector, settings: Settings, listener: socket.socket, *, quiet: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that are held then are answered.

    Args:
        detector: makes the maps.
        settings: how the service behaves.
        listener: a socket that listens; is closed.
        quiet: log no requests.
    """
    require_serve()
    import uvicorn

    from act2sal.serve.app import app_of

    logging.getLogger("act2sal.serve").setLevel(logging.WARNING if quiet else logging.INFO)
    config = uvicorn.Config(
        app_of(detector, settings),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/", flush=True)
    print(f"device: {detector.device}; SIGTERM or Ctrl-C stops", file=sys.stderr, flush=True)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
