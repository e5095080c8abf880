from __future__ import annotations

import pytest

from .killed_run import ended, in_child, make_parts, run


@pytest.fixture(scope="session")
def parts():
    """Corpus and processor of the runs in `killed_run`."""
    return make_parts()


@pytest.fixture(scope="session")
def undisturbed(parts, tmp_path_factory):
    """What a run ends with that nothing disturbs, and its folder, which tests only read."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert in_child(lambda: run(parts, folder)) == 0
    return ended(folder), folder
