"""Arguments that are given for one user or for a list of users."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Result = TypeVar("Result")

IDList: TypeAlias = list[str] | tuple[str, ...] | npt.NDArray[np.str_] | npt.NDArray[np.object_]
"""What counts as a list of users, or of an item for each: the answers come in a list too."""


def listed(value: str | IDList) -> tuple[list[str], bool]:
    """Users as a list.

    Args:
        value: one user, or several of them: a list, a tuple, or an array.

    Returns:
        The list, and whether one was given without a list.

    Raises:
        ValueError: the list is empty.

    Example:
        >>> listed("u0007"), listed(("u0007",)), listed(np.array(["u0007"]))
        ((['u0007'], True), (['u0007'], False), (['u0007'], False))
    """
    users = _plain(value)
    if not isinstance(users, list | tuple):
        return [users], True
    if not users:
        raise ValueError("the list of users is empty")
    return list(users), False


def lists_of_users(value: Any, num_users: int, single: bool, name: str) -> list[Sequence[str]]:
    """One list of item IDs for each user.

    Args:
        value: what was given: such a list for one user, a list of lists for a list of users.
        num_users: how many users there are.
        single: whether one user was given, not a list.
        name: of the argument, for errors.

    Raises:
        ValueError: it is a string, or no list, holds strings where lists should be, or has not one list for each user.
    """
    if isinstance(value, str):
        raise ValueError(f"{name} must be a list of item IDs, got the string {value!r}")
    lists = [value] if single else list_of(value, f"for a list of users, {name} must be a list of lists of item IDs")
    if len(lists) != num_users:
        raise ValueError(f"{name} has {len(lists)} lists for {num_users} users: give one list a user")
    for user_items in lists:
        if isinstance(user_items, str):
            raise ValueError(f"for a list of users, {name} must be a list of lists of item IDs")
    return lists


def item_ids(value: Any, name: str) -> list[str]:
    """A list of item IDs, from any kind of list.

    Args:
        value: what was given.
        name: of the argument, for errors.

    Raises:
        ValueError: it is no list, or holds what is no string.

    Example:
        >>> item_ids(np.array(["i0001", "i0002"]), "history")
        ['i0001', 'i0002']
        >>> item_ids([1], "history")
        Traceback (most recent call last):
        ValueError: history holds 1, which is not a string; IDs of items are strings
    """
    if isinstance(value, str):
        raise ValueError(f"{name} must be a list of item IDs, got the string {value!r}")
    found = list_of(value, f"{name} must be a list of item IDs")
    for item in found:
        if not isinstance(item, str):
            raise ValueError(f"{name} holds {item!r}, which is not a string; IDs of items are strings")
    return found


def list_of(value: Any, wanted: str) -> list[Any]:
    """What can be iterated over, as a list.

    Args:
        value: what was given.
        wanted: what it must be, for the error.

    Raises:
        ValueError: it cannot.
    """
    try:
        return list(_plain(value))
    except TypeError as error:
        raise ValueError(f"{wanted}, got {value!r}") from error


def each_user(users: Sequence[str], single: bool, ask: Callable[..., Result], *values: Iterable[Any]) -> list[Result]:
    """Ask something of each user in turn, so that an error says whose fault it is.

    Args:
        users: IDs of the users.
        single: whether one user was given, not a list: then the error needs no name.
        ask: called with a user and one of each of the values.
        values: one for each user.

    Raises:
        ValueError: as `ask` did; of a list of users with the user, and where it stands.

    Example:
        >>> each_user(["ann", "bob"], False, lambda user, item: item_ids(item, "history"), [["i0001"], 7])
        Traceback (most recent call last):
        ValueError: user[1], 'bob': history must be a list of item IDs, got 7
    """
    found = []
    for number, (user, *rest) in enumerate(zip(users, *values, strict=True)):
        try:
            found.append(ask(user, *rest))
        except ValueError as error:
            if single:
                raise
            raise ValueError(f"user[{number}], {user!r}: {error}") from error
    return found


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

    Example:
        >>> positive("k", np.int64(3))
        3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    return number


def _plain(value: Any) -> Any:
    """Arrays, and what tables and NumPy make of columns and strings, as Python's own."""
    return value.tolist() if hasattr(value, "tolist") else value
