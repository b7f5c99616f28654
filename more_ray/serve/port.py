"""Whether a service can listen at its address, as far as that is known without Ray."""

from __future__ import annotations

import errno
import socket

from more_ray.config.serve import ServeConfig
from more_ray.errors import UserError


def check_port(config: ServeConfig) -> None:
    """Listen for a moment; raises UserError where that is not possible."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((config.host, config.port))
        except OSError as error:
            raise UserError(f"port: {_reason(config, error)}") from error


def _reason(config: ServeConfig, error: OSError) -> str:
    host, port = config.host, config.port
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {host}:{port}: {error.strerror}"
    other = port + 1 if port < 65_535 else port - 1
    return f"{port} of {host} is taken; port={other} or another is allowed"
