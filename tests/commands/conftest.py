from __future__ import annotations

import pytest

from .runs import small, train


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of the default mode, full fine-tuning, that tests only read; and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    done = train(small(), folder / "run")
    assert done.status == 0, done.err
    return folder / "run", done.out
