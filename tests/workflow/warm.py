"""Python that starts in milliseconds: processes are forked from one that has imported the libraries.

A run of the toy starts two dozen processes, and each spends most of its second on imports of pandas, HDF5 and torch.
Here `python` is a small client that hands its arguments, folder, environment and open files to a server. The server
forks: its child runs what was asked for, under the client's eyes, and dies with it. Nothing of this package is imported
before the fork, so that each checkout runs its own code.
"""

import atexit
import json
import os
import runpy
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl
from pathlib import Path
from typing import Any

LIBRARIES = (
    "av",
    "h5py",
    "numpy",
    "pandas",
    "pydantic",
    "PIL.Image",
    "safetensors.numpy",
    "safetensors.torch",
    "snakemake.cli",
    "snakemake.api",
    "snakemake.iocontainers",
    "snakemake.script",
    "torch",
    "torch._dynamo",
    "tqdm",
    "yaml",
)
_F_SETSIG = 10  # of Linux: which signal tells that something came over a socket, or that its other end is gone
_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(asked).to_bytes(4, "little")], [0, 1, 2])
    server.sendall(asked)
    code = server.recv(1)
os._exit(code[0] if code else 137)
"""


@contextmanager
def warm_python(folder: Path, *, hash_seed: int) -> Iterator[Path]:
    """Yield the path of a `python` that starts at once; those of another hash seed order sets in another way."""
    address, client = folder / "socket", folder / "python"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(hash_seed)}
    client.write_text(_CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    with subprocess.Popen([sys.executable, __file__, str(address), str(client)], env=environment) as server:
        try:
            while not address.exists():
                assert server.poll() is None, "the server of warm processes has ended"
                time.sleep(0.05)
            yield client
        finally:
            server.kill()


def serve(address: str, client: str) -> None:
    """Fork for every client, for as long as whoever started this lives."""
    for name in LIBRARIES:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system takes away children that have ended
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.new")
    listening.listen(64)
    Path(f"{address}.new").rename(address)
    listening.settimeout(5.0)
    parent = os.getppid()
    while os.getppid() == parent:  # who started it may have been killed
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        connection.settimeout(None)
        if os.fork() == 0:
            listening.close()
            _be_asked(connection, client=client)
        connection.close()


def _be_asked(connection: socket.socket, *, client: str) -> None:
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    size, content = int.from_bytes(head, "little"), b""
    while len(content) < size:
        content += connection.recv(size - len(content))
    arguments, folder, environment = json.loads(content)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _die_with(connection)
    sys.executable = client
    code = _run(arguments)
    connection.sendall(bytes([code & 255]))
    os._exit(code)


def _die_with(connection: socket.socket) -> None:
    # Who kills the client means the process behind it.
    fcntl(connection, _F_SETSIG, signal.SIGKILL)
    fcntl(connection, F_SETOWN, os.getpid())
    fcntl(connection, F_SETFL, fcntl(connection, F_GETFL) | os.O_ASYNC)


def _run(arguments: Sequence[str]) -> int:
    kind = arguments[0] if arguments[0] in ("-m", "-c") else ""
    sys.argv = ["-c", *arguments[2:]] if kind == "-c" else list(arguments[bool(kind) :])
    start = str(Path.cwd()) if kind else str(Path(arguments[0]).parent)
    sys.path[:] = [start, *os.environ.get("PYTHONPATH", "").split(os.pathsep), *sys.path[1:]]
    try:
        if kind == "-c":
            exec(arguments[1], {"__name__": "__main__"})  # noqa: S102 (as Python does)
        elif kind:
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(arguments[0], run_name="__main__")
        code: Any = 0
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


if __name__ == "__main__":
    serve(*sys.argv[1:])
