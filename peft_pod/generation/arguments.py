"""Arguments that are given for one user or for a list of users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def listed(value: str | list[str]) -> tuple[list[str], bool]:
    """Users as a list.

    Args:
        value: one user or a list of them.

    Returns:
        The list, and whether one was given without a list.

    Raises:
        ValueError: the list is empty.

    Example:
        >>> listed("u0007"), listed(["u0007"])
        ((['u0007'], True), (['u0007'], False))
    """
    if isinstance(value, list):
        if not value:
            raise ValueError("the list of users is empty")
        return value, False
    return [value], True


def lists_of_users(value: Any, num_users: int, single: bool, name: str) -> list[Sequence[str]]:
    """One list of item IDs for each user.

    Args:
        value: what was given: such a list for one user, a list of lists for a list of users.
        num_users: how many users there are.
        single: whether one user was given, not a list.
        name: of the argument, for errors.

    Raises:
        ValueError: it is a string, holds strings where lists should be, or has not one list for each user.
    """
    if isinstance(value, str):
        raise ValueError(f"{name} must be a list of item IDs, got the string {value!r}")
    lists = [value] if single else list(value)
    if len(lists) != num_users:
        raise ValueError(f"{name} has {len(lists)} lists for {num_users} users: give one list a user")
    for user_items in lists:
        if isinstance(user_items, str):
            raise ValueError(f"for a list of users, {name} must be a list of lists of item IDs")
    return lists


def same_length(users: list[str], values: list[Any], name: str) -> None:
    """Check that there is one value for each user.

    Raises:
        ValueError: there is not; the message has the argument's name.
    """
    if len(users) != len(values):
        raise ValueError(f"{name} has {len(values)} entries for {len(users)} users: give one a user")


def positive(name: str, value: int) -> int:
    """The value of an argument that must be a whole number above 0.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    return value
