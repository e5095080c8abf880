"""Checks of schemes' arguments."""

from __future__ import annotations


def at_least(name: str, value: int, least: int, *, at_most: int | None = None) -> int:
    """Check an argument that counts something.

    Raises:
        ValueError: it is no whole number, too small or too large.

    Example:
        >>> at_least("branching", 32, 2)
        32
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if at_most is not None and value > at_most:
        raise ValueError(f"{name} must be at most {at_most}, got {value}")
    return value
