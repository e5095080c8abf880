"""A lock that one process holds at a time, and that ends with the process."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Of `flock` and, on Windows, of `locking` and of a file that is being removed.
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


@contextmanager
def exclusive_lock(path: str | os.PathLike[str], held: str) -> Iterator[None]:
    """Hold a lock file that nobody else holds meanwhile, in this process or another.

    The system frees it when the process ends, also by `kill -9`: a lock file that is left over locks nothing.

    Args:
        path: the lock file; made where there is none, with its folder, and removed at the end.
        held: what the error says where somebody else holds it.

    Raises:
        BlockingIOError: somebody else holds it.

    Warns:
        UserWarning: the file system knows no locks; nothing is held then.

    Example:
        >>> import tempfile
        >>> lock = Path(tempfile.mkdtemp()) / "lock"
        >>> with exclusive_lock(lock, "somebody is at it"):
        ...     with exclusive_lock(lock, "somebody is at it"):
        ...         pass
        Traceback (most recent call last):
        BlockingIOError: somebody is at it
        >>> lock.exists()
        False
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    number = _locked(path, held)
    try:
        yield
    finally:
        _free(number, path)


def _locked(path: Path, held: str) -> int:
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(number)
        except OSError as error:
            os.close(number)
            if error.errno in _HELD:
                raise BlockingIOError(held) from error
            path.unlink(missing_ok=True)
            warnings.warn(
                f"the file system of {path.parent} cannot lock files ({error}): see to it that nothing else writes "
                "there",
                UserWarning,
                stacklevel=2,
            )
            return -1
        # Who held it may have removed it between the two, and the next one would lock another file of its name.
        if _is(number, path):
            return number
        os.close(number)


def _free(number: int, path: Path) -> None:
    if number < 0:
        return
    if sys.platform == "win32":  # where an open file cannot be removed
        os.close(number)
        with suppress(OSError):  # the next one has it open already
            path.unlink()
        return
    if _is(number, path):
        path.unlink(missing_ok=True)
    os.close(number)


def _is(number: int, path: Path) -> bool:
    """Whether an open file is the one that has the name."""
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def _lock(number: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
