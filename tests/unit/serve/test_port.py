"""A port that is taken is told before Ray starts, with what to do."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from more_ray.config import ModelConfig, ServeConfig
from more_ray.errors import UserError
from more_ray.serve.port import check_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def service(**address: Any) -> ServeConfig:
    return ServeConfig(model=ModelConfig(), **address)


def said(taken: int) -> str:
    return f"port: {taken} of 127.0.0.1 is taken; port={taken + 1} or another is allowed"


def test_ray_has_not_started_when_the_port_is_taken(taken: int) -> None:
    code = f"""
import sys, more_ray
from more_ray import commands, config
for serve in (more_ray.serve, commands.serve):
    try: serve(config.ServeConfig(model={{}}, port={taken}))
    except more_ray.UserError as error:
        print(error, 'torch' in sys.modules, 'ray' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{said(taken)} False False\n" * 2


def test_a_free_port_is_free_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    check_port(service(port=free))
    check_port(service(port=free))


def test_what_else_is_said() -> None:
    with pytest.raises(UserError, match=r"^port: cannot listen on 192\.0\.2\.1:8000: Cannot as"):
        check_port(service(host="192.0.2.1"))
    with socket.create_server(("127.0.0.1", 65_535)), pytest.raises(UserError, match="port=65534"):
        check_port(service(port=65_535))
