"""Several processes of one study on this machine: started, watched, and stopped together."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from experiments.errors import ConfigError

__all__ = ["launch_processes"]


def launch_processes(processes: int, arguments: Sequence[str], patience: int = 60) -> int:
    """Run a command as several processes that train together, and return the exit code.

    The output of the first process is shown; of another only its last lines, if it fails by itself.
    When one fails, dies or hangs, all are stopped. The code is 0 if all succeeded, 2 if they
    refused the command, otherwise 1.

    Args:
        processes: how many.
        arguments: of the command line, without those of `distributed.join`.
        patience: seconds that the others have to stop by themselves once one has failed.

    Raises:
        ConfigError: if that cannot be done.
    """
    if processes < 1:
        raise ConfigError(f"processes must be at least 1, got {processes}")
    if not arguments or arguments[0] != "compare":
        raise ConfigError("launch takes a compare command: launch --processes 2 compare …")
    # When a scheduler ends this process, the processes that it started must end too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    coordinator = f"localhost:{_free_port()}"
    with contextlib.ExitStack() as held:
        errors = [held.enter_context(tempfile.TemporaryFile()) for _ in range(processes)]
        running: list[subprocess.Popen[bytes]] = []
        held.callback(_end, running)
        for process_id, error in enumerate(errors):
            command = [sys.executable, "-m", "experiments", *arguments, "--distributed"]
            command += ["--coordinator", coordinator, "--processes", str(processes)]
            command += ["--process-id", str(process_id), "--patience", str(patience)]
            first = process_id == 0
            running.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=None if first else subprocess.DEVNULL,
                    stderr=None if first else error,
                )
            )
        return _watch(running, errors, patience)


def _watch(
    running: Sequence[subprocess.Popen[bytes]], errors: Sequence[IO[bytes]], patience: int
) -> int:
    failed: int | None = None
    until = float("inf")
    while any(process.poll() is None for process in running) and time.monotonic() < until:
        if failed is None:
            ended = [i for i, process in enumerate(running) if process.poll()]
            if ended:
                failed, until = ended[0], time.monotonic() + patience
        time.sleep(0.05)
    codes = [process.poll() for process in running]
    hang = [str(i) for i, code in enumerate(codes) if code is None]
    if all(code == 0 for code in codes):
        return 0
    if all(code == 2 for code in codes):
        # A user's mistake or a full disk, which the first process has reported.
        return 2
    if failed is None:
        failed = next(i for i, code in enumerate(codes) if code)
    words = f"process {failed} of {len(codes)} ended with code {codes[failed]}"
    if hang:
        words += f", process {' and '.join(hang)} did not answer"
    if failed and (said := _last_words(errors[failed])):
        print(said, file=sys.stderr)
    print(
        f"error: {words}: all were stopped; finished runs stay, and the same command continues",
        file=sys.stderr,
    )
    return 1


def _last_words(error: IO[bytes]) -> str:
    error.seek(0)
    return "\n".join(error.read().decode(errors="replace").splitlines()[-5:])


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll() is None:
            process.kill()
    for process in running:
        process.wait()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return int(s.getsockname()[1])
