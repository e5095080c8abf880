"""The code in `docs/audit.md` runs as it is written, and says what the comments say."""

from __future__ import annotations

import pytest

from peft_pod.indexing import LeakWarning

from ..documentation import page, python_blocks


def test_the_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = python_blocks(page("audit.md"))
    names: dict = {}
    with pytest.warns(LeakWarning):
        exec(compile(block, "docs/audit.md", "exec"), names)
    assert (names["audit"].leaks, names["audit"].findings, names["leaking"].leaks) == (False, [], True)
    printed = capsys.readouterr().out
    assert "of corpus 'embedded' with indexing 'sequential': no leak found." in printed
    assert "index arithmetic: largest index + 1" in printed
