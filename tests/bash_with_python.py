"""Bash scripts in which some commands are Python functions of this process."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

Function = Callable[[list[str]], None]
"""Takes the arguments of a command. Its output is the command's, and so is its SystemExit."""

BASH = shutil.which("bash") or "bash"

COMMAND = f"""#!{sys.executable} -SE
import json, os, socket, sys
call = [os.path.basename(sys.argv[0]), sys.argv[1:], dict(os.environ)]
with socket.create_connection(("127.0.0.1", int(os.environ["PYTHON_FUNCTIONS"]))) as connection:
    with connection.makefile("rw") as stream:
        print(json.dumps(call), file=stream, flush=True)
        status, said = json.loads(stream.readline())
print(said, end="")
sys.exit(status)
"""


@dataclass(frozen=True)
class Call:
    """A command that a function has carried out."""

    command: str
    arguments: list[str]
    status: int
    said: str


def bash(
    script: str,
    functions: Mapping[str, Function],
    folder: Path,
    environment: Mapping[str, str],
    seconds: float,
) -> tuple[int, str, list[Call]]:
    """Run a script in `folder`; returns its status, its output, and the calls of functions.

    After so many seconds it is killed.
    """
    calls = []
    with (
        tempfile.TemporaryDirectory() as commands,
        tempfile.TemporaryFile("w+") as output,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        for command in functions:
            file = Path(commands, command)
            file.write_text(COMMAND)
            file.chmod(0o755)
        listener.settimeout(0.05)
        process = subprocess.Popen(
            [BASH, "-c", script],
            cwd=folder,
            env={
                **environment,
                "PATH": os.pathsep.join(filter(None, [commands, environment["PATH"]])),
                "PYTHON_FUNCTIONS": str(listener.getsockname()[1]),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                calls.append(_answer(connection, functions))
        output.seek(0)
        return process.returncode, output.read(), calls


def _answer(connection: socket.socket, functions: Mapping[str, Function]) -> Call:
    with connection, connection.makefile("rw") as stream:
        command, arguments, environment = json.loads(stream.readline())
        output = io.StringIO()
        with (
            redirect_stdout(output),
            redirect_stderr(output),
            patch.dict(os.environ, environment | {"PATH": os.environ["PATH"]}),
        ):
            status = _status(functions[command], arguments)
        call = Call(command, arguments, status, output.getvalue())
        print(json.dumps([call.status, call.said]), file=stream)
        return call


def _status(function: Function, arguments: list[str]) -> int:
    try:
        function(arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0
