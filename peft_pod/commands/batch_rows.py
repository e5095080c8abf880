"""What a row of a batch asks for, and whether a recommender can answer it."""

from __future__ import annotations

from collections.abc import Iterator

from peft_pod.generation import Recommendation, Recommender

from .batch_input import Chunk


class RowAnswers:
    """Answers chunks of rows with a recommender, and finds beforehand what it could not answer.

    Args:
        recommender: answers.
        k: how many items.
        exclude_seen: whether to leave out the items of a row's history.
        skip_unknown: whether users that the model does not know get an empty list; otherwise they are an error.
    """

    def __init__(self, recommender: Recommender, k: int, *, exclude_seen: bool, skip_unknown: bool) -> None:
        self.recommender = recommender
        self.k = k
        self.exclude_seen = exclude_seen
        self.skip_unknown = skip_unknown
        # Where inputs do not name users, anybody with a history can be answered.
        self._names_users = bool(recommender.processor.indexing.user_words)

    def check(self, chunk: Chunk) -> int:
        """Check every row of a chunk without running the model.

        Returns:
            How many users are unknown.

        Raises:
            ValueError: a row cannot be answered; the message names it.
        """
        unknown = 0
        for number, (user, history) in enumerate(self._rows(chunk), chunk.first_row):
            try:
                unknown += not self._check_row(user, history)
            except ValueError as error:
                raise ValueError(f"--input, row {number} (the first is 0), user {user!r}: {error}") from error
        return unknown

    def answer(self, chunk: Chunk) -> list[list[Recommendation]]:
        """The items of each row, none for users who are unknown."""
        rows = list(self._rows(chunk))
        known = [number for number, (user, history) in enumerate(rows) if self._knows(user, history)]
        answers: list[list[Recommendation]] = [[] for _ in rows]
        if known:
            users = [rows[number][0] for number in known]
            histories = [self._history(*rows[number]) for number in known]
            found = self.recommender.recommend(users, histories, k=self.k, exclude_seen=self.exclude_seen)
            for number, items in zip(known, found, strict=True):
                answers[number] = items
        return answers

    def _rows(self, chunk: Chunk) -> Iterator[tuple[str, list[str] | None]]:
        for number, (user, history) in enumerate(zip(chunk.users, chunk.histories, strict=True), chunk.first_row):
            if not user:
                raise ValueError(f"--input, row {number} (the first is 0) has no user")
            yield user, history

    def _knows(self, user: str, history: list[str] | None) -> bool:
        return self.recommender.catalogue.has_user(user) or (history is not None and not self._names_users)

    def _check_row(self, user: str, history: list[str] | None) -> bool:
        """Whether the user is known."""
        catalogue = self.recommender.catalogue
        if not self._knows(user, history):
            if self.skip_unknown:
                return False
            try:
                catalogue.user_position(user)
            except ValueError as error:
                raise ValueError(f"{error}; --unknown_users skip gives such users an empty list") from error
        if history is None:
            taken = catalogue.history(catalogue.user_position(user)).tolist()
        else:
            taken = [catalogue.item_position(item) for item in history]
        if not taken:
            raise ValueError("the history is empty: give at least one item, or leave the row out")
        if self.exclude_seen and len(taken) >= len(catalogue.item_ids) == len(set(taken)):
            raise ValueError("the history holds every item, so nothing is left: leave the row out, or give --keep_seen")
        return True

    def _history(self, user: str, history: list[str] | None) -> list[str]:
        if history is not None:
            return history
        catalogue = self.recommender.catalogue
        return [catalogue.item_ids[item] for item in catalogue.history(catalogue.user_position(user)).tolist()]
