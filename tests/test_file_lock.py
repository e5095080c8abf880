from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from peft_pod import file_lock
from peft_pod.file_lock import exclusive_lock

from .training.killed_run import in_child


def test_nobody_else_holds_it_meanwhile(tmp_path: Path):
    lock = tmp_path / "deep" / "lock"

    def other():
        with exclusive_lock(lock, "busy"):
            pass

    with exclusive_lock(lock, "busy"):
        assert in_child(other) == 99  # an error
        with pytest.raises(BlockingIOError, match="^busy$"):
            other()
    assert not lock.exists()
    assert in_child(other) == 0
    other()


def test_a_kill_frees_it(tmp_path: Path):
    lock = tmp_path / "lock"

    def killed():
        with exclusive_lock(lock, "busy"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(killed) == -signal.SIGKILL
    assert lock.exists()
    with exclusive_lock(lock, "busy"), pytest.raises(BlockingIOError), exclusive_lock(lock, "busy"):
        pass
    assert not lock.exists()


def test_an_error_within_frees_it(tmp_path: Path):
    with pytest.raises(RuntimeError, match="disk full"), exclusive_lock(tmp_path / "lock", "busy"):
        raise RuntimeError("disk full")
    with exclusive_lock(tmp_path / "lock", "busy"):
        pass


def test_who_comes_while_it_is_removed_locks_the_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The holder ends between the opening of the file and its locking."""
    lock, inner = tmp_path / "lock", file_lock._lock
    holder = exclusive_lock(lock, "busy")
    holder.__enter__()
    ended = []

    def ends_first(number: int) -> None:
        if not ended:
            ended.append(holder.__exit__(None, None, None))
        inner(number)

    monkeypatch.setattr(file_lock, "_lock", ends_first)
    with exclusive_lock(lock, "busy"):
        assert lock.exists()
        with pytest.raises(BlockingIOError), exclusive_lock(lock, "busy"):
            pass


def test_a_lock_of_somebody_else_is_not_removed(tmp_path: Path):
    """Where the file was removed by hand, and another run made its own."""
    lock = tmp_path / "lock"
    with exclusive_lock(lock, "busy"):
        lock.unlink()
        second = exclusive_lock(lock, "busy")
        second.__enter__()
    assert lock.exists()
    second.__exit__(None, None, None)
    assert not lock.exists()


def test_where_files_cannot_be_locked_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unable(number: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(file_lock, "_lock", unable)
    said = pytest.warns(UserWarning, match="cannot lock files .*: see to it that nothing else writes there")
    with said, exclusive_lock(tmp_path / "lock", "busy"):
        pass
    assert list(tmp_path.iterdir()) == []
