"""From the corpus' own IDs to what a model is asked: who the user is, and what they took."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from peft_pod.corpus.catalogue import Catalogue
from peft_pod.processing import PODProcessor
from peft_pod.tasks.base import UNNAMED_USER

from .arguments import item_ids

UnknownUsers = Literal["error", "history"]
UnknownItems = Literal["error", "skip"]

_SHOWN_SKIPPED = 3


@dataclass(frozen=True)
class Unknown:
    """What to do with users and items that the model was not trained on.

    Args:
        users: `"error"`, or `"history"`: ask without the user's name.
        items: `"error"`, or `"skip"`: leave the item out of the history.

    Raises:
        ValueError: one of them is none of these.
    """

    users: UnknownUsers = "error"
    items: UnknownItems = "error"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("unknown_users", self.users, get_args(UnknownUsers)),
            ("unknown_items", self.items, get_args(UnknownItems)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {value!r}")


@dataclass(frozen=True)
class UserHistory:
    """What a user took, as far as the catalogue knows it.

    Attributes:
        items: positions of the items, oldest first.
        skipped: IDs that the catalogue does not know and that were left out.
    """

    items: list[int]
    skipped: tuple[str, ...] = ()


class Questions:
    """Looks users, items and histories up for a model.

    Args:
        catalogue: users and items.
        processor: of the model; knows whether inputs name users.
    """

    def __init__(self, catalogue: Catalogue, processor: PODProcessor) -> None:
        self.catalogue = catalogue
        self.processor = processor

    def user_position(self, user: str, task: str, unknown: Unknown) -> int:
        """The position by which a task asks about a user, `UNNAMED_USER` for one that it does not name.

        Where inputs do not name users, one that the model was not trained on is as good as any other.

        Args:
            user: the user's ID.
            task: name of the task.
            unknown: what to do with one that the catalogue does not know.

        Raises:
            ValueError: the user is unknown and must not be, or the task cannot ask without the user's name.
        """
        if self.catalogue.has_user(user) or (unknown.users == "error" and self.processor.indexing.user_words):
            return self.catalogue.user_position(user)
        if not isinstance(user, str):
            raise ValueError(f"user {user!r} is not a string; IDs of users are strings")
        if self.processor.indexing.user_words and not self.processor.knows_more_than_users(task):
            raise ValueError(
                f"user {user!r} is unknown, and the task {task!r} cannot be asked without a user: its question says "
                "nothing of them but the name. Give a history where the model has a task that reads one"
            )
        return UNNAMED_USER

    def history(self, user: str, given: Sequence[str] | None, unknown: Unknown) -> UserHistory:
        """The history of a user: the given one, or the saved one where none is given.

        Args:
            user: the user's ID.
            given: IDs of items, oldest first.
            unknown: what to do with items that the catalogue does not know.

        Raises:
            ValueError: it is no list of strings, an item is unknown and must not be, nothing is left of the history,
                or none is given for a user without a saved one.
        """
        if given is None:
            if unknown.users == "history" and not self.catalogue.has_user(user):
                raise ValueError(f"user {user!r} is unknown and there is no history to go by: pass history=")
            return UserHistory(self.catalogue.history(self.catalogue.user_position(user)).tolist())
        if unknown.items == "error":
            return UserHistory(self.item_positions(given, "history"))
        given = item_ids(given, "history")
        skipped = tuple(item for item in given if not self.catalogue.has_item(item))
        items = [self.catalogue.item_position(item) for item in given if self.catalogue.has_item(item)]
        if skipped and not items:
            raise ValueError(
                f"nothing is left of the history of user {user!r}: the catalogue knows none of its {len(skipped)} "
                f"items, such as {skipped[0]!r}"
            )
        return UserHistory(items, skipped)

    def item_positions(self, given: Sequence[str], name: str) -> list[int]:
        """Positions of items.

        Args:
            given: IDs of the items.
            name: of the argument, for errors.

        Raises:
            ValueError: they are no list of strings, or one is not in the catalogue.
        """
        return [self.catalogue.item_position(item_id) for item_id in item_ids(given, name)]

    def allowed_positions(self, allowed_items: Sequence[str] | None) -> list[int] | None:
        """Positions of the items that may be recommended, each once; `None` for all.

        Raises:
            ValueError: it is no list of strings, empty, or names an item that is not in the catalogue.
        """
        if allowed_items is None:
            return None
        found = self.catalogue.item_positions(item_ids(allowed_items, "allowed_items"))
        if not found:
            raise ValueError("allowed_items is empty: name the items that may be recommended, or leave it out for all")
        wrong = [item_id for item_id, position in found.items() if position is None]
        if wrong:
            raise ValueError(
                f"allowed_items names {len(wrong)} items that are not in the catalogue of "
                f"{len(self.catalogue.item_ids)} items, such as {wrong[0]!r}: leave them out"
            )
        return [position for position in found.values() if position is not None]


def warn_of_skipped(users: Sequence[str], histories: Sequence[UserHistory]) -> None:
    """Say once which items of histories were left out, if any; the warning points to the caller's caller.

    Args:
        users: IDs of the users.
        histories: the history of each.
    """
    # Pairs, since a user may stand in the list more than once.
    skipped = [(user, item) for user, taken in zip(users, histories, strict=True) for item in taken.skipped]
    if not skipped:
        return
    items = [item for _, item in skipped]
    num_users = len({user for user, _ in skipped})
    shown = ", ".join(map(repr, items[:_SHOWN_SKIPPED])) + (", ..." if len(items) > _SHOWN_SKIPPED else "")
    warnings.warn(
        f"{len(items)} items of the histories of {num_users} users are not in the catalogue and were skipped: "
        f"{shown} (first of user {skipped[0][0]!r})",
        UserWarning,
        stacklevel=3,
    )
