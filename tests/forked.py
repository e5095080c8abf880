"""Processes of their own that have imported everything before they begin.

Imports take longer than what most of them do, so one process does them once, and is then forked for each. What has to
begin with an empty interpreter, such as what is tested for its memory, is started by `subprocess` instead.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["peft_pod.commands.train", "peft_pod.commands.recommend", "transformers.trainer"])


@dataclass(frozen=True)
class Script:
    """What a process does, as `python script arguments` or `python -m module arguments` would.

    Args:
        name: of a module, or the path of a file that ends with `.py`.
        arguments: behind the name.
        folder: where it runs.
        environment: all of its environment variables.
        out: file for what it prints.
        err: file for what it prints on standard error; may be the same.
    """

    name: str
    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    out: Path
    err: Path

    def start(self) -> BaseProcess:
        """Start it; it goes on by itself."""
        process = _FORKS.Process(target=self._run)
        process.start()
        return process

    def _run(self) -> None:
        # A new process was told to start others as it was started itself.
        multiprocessing.set_start_method(None, force=True)
        for stream, path in ((1, self.out), (2, self.err)):
            with path.open("ab") as file:
                os.dup2(file.fileno(), stream)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.argv = [self.name, *self.arguments]
        sys.path.insert(0, str(self.folder))
        if self.name.endswith(".py"):
            runpy.run_path(self.name, run_name="__main__")
        else:
            runpy.run_module(self.name, run_name="__main__", alter_sys=True)


def run_script(
    name: str, *arguments: str, folder: Path, environment: Mapping[str, str], seconds: float = 240
) -> CompletedProcess[str]:
    """Run a script and wait for it, as `subprocess.run` does.

    Args:
        name: as for `Script`, like the rest.
        arguments: likewise.
        folder: likewise.
        environment: likewise.
        seconds: after which it is killed; its exit status is then negative.
    """
    with TemporaryDirectory() as place:
        out, err = Path(place) / "out", Path(place) / "err"
        process = Script(name, arguments, folder, environment, out, err).start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
        printed = [path.read_text(encoding="utf-8") if path.exists() else "" for path in (out, err)]
    status = process.exitcode if process.exitcode is not None else -1
    return CompletedProcess([name, *arguments], status, *printed)
