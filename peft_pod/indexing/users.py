"""How users are named, which most schemes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from peft_pod.corpus.split import IntArray, TrainingPart

from .base import Indexing
from .numbers import numbered, numbered_on

Users = Literal["index", "tokens", "none"]

_FORMS: dict[Users, str] = {"index": "user_{}", "tokens": "<user_{}>"}


class UserNumberingIndexing(Indexing):
    """A scheme that numbers users from 1, at random unless it says otherwise.

    Args:
        users: `"index"`, `user_0012` in the tokenizer's own pieces; `"tokens"`, one new token each, `<user_0012>`; or
            `"none"`: inputs do not name the user, and the model serves users it was not trained on.
        pad: whether to pad numbers to the same even number of digits throughout the corpus.

    Raises:
        ValueError: `users` is none of these.
    """

    def __init__(self, *, users: Users = "index", pad: bool = True) -> None:
        if users not in get_args(Users):
            raise ValueError(f"users must be one of {list(get_args(Users))}, got {users!r}")
        self.users = users
        self.pad = pad

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal scheme."""
        return {"users": self.users}

    def user_order(self, train: TrainingPart, rng: np.random.Generator) -> IntArray:
        """Positions of all users, in the order in which they are numbered; arguments as for `make_user_words`."""
        return rng.permutation(train.num_users)

    def make_user_words(self, train: TrainingPart, rng: np.random.Generator) -> Sequence[str]:
        """Number the users in the scheme's order, from 1; or name none."""
        return numbered(_FORMS[self.users], self.user_order(train, rng), self.pad) if self.users in _FORMS else ()

    def make_new_user_words(
        self, train: TrainingPart, words: Sequence[str | None], rng: np.random.Generator
    ) -> Sequence[str]:
        """Number new users on, in the scheme's order."""
        order = [user for user in self.user_order(train, rng).tolist() if words[user] is None]
        return numbered_on(_FORMS[self.users], words, order)
