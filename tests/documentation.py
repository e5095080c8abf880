"""Running the code of the documentation as it is written."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .forked import Script

ROOT = Path(__file__).parents[1]


def page(name: str) -> str:
    """The text of a page of `docs/`."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def python_blocks(text: str) -> list[str]:
    """The blocks of Python code in a page or a section of one."""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run_blocks(blocks: Sequence[str], folder: Path, *, before: str = "", checks: str = "") -> str:
    """Run blocks one after the other, as one script in a process and a folder of its own; returns what it printed.

    Args:
        blocks: of code.
        folder: where it runs.
        before: code in front of the first block.
        checks: code after the last one.
    """
    script = folder / "script.py"
    script.write_text("\n".join([before, *blocks, checks]), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory() as printed:
        out, err = Path(printed) / "out", Path(printed) / "err"
        process = Script(script.name, (), folder, environment, out, err).start()
        process.join(timeout=300)
        process.kill()
        assert process.exitcode == 0, err.read_text(encoding="utf-8")
        return out.read_text(encoding="utf-8")
