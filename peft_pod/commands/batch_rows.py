"""What a row of a batch asks for, and whether a recommender can answer it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from peft_pod.generation import Recommender, UserRecommendations
from peft_pod.generation.questions import Questions, Unknown, UnknownItems, UserHistory

from .batch_input import Chunk

UnknownRowUsers = Literal["error", "skip", "history"]


@dataclass(frozen=True)
class RowCounts:
    """What is known of rows before any is answered.

    Attributes:
        rows: how many there are.
        unknown_users: rows whose user the model does not know and would have to.
        skipped_items: items of histories that the model does not know and that are left out.
        shortened: rows that have such items.

    Example:
        >>> RowCounts(2, skipped_items=3, shortened=1) + RowCounts(1, unknown_users=1)
        RowCounts(rows=3, unknown_users=1, skipped_items=3, shortened=1)
    """

    rows: int = 0
    unknown_users: int = 0
    skipped_items: int = 0
    shortened: int = 0

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(
            self.rows + other.rows,
            self.unknown_users + other.unknown_users,
            self.skipped_items + other.skipped_items,
            self.shortened + other.shortened,
        )


class RowAnswers:
    """Answers chunks of rows with a recommender, and finds beforehand what it could not answer.

    Args:
        recommender: answers.
        k: how many items.
        exclude_seen: whether to leave out the items of a row's history.
        allowed_items: the items that may be recommended at all; all of them where it is left out.
        unknown_users: whether users that the model does not know are an error, get an empty list, or are answered by
            the history that the row gives.
        unknown_items: whether items of histories that the model does not know are an error, or are left out.

    Raises:
        ValueError: `allowed_items` is empty or names an item that is not in the catalogue.
    """

    def __init__(
        self,
        recommender: Recommender,
        k: int,
        *,
        exclude_seen: bool,
        allowed_items: Sequence[str] | None = None,
        unknown_users: UnknownRowUsers = "error",
        unknown_items: UnknownItems = "error",
    ) -> None:
        self.recommender = recommender
        self.k = k
        self.exclude_seen = exclude_seen
        self.allowed_items = allowed_items
        self.skip_unknown = unknown_users == "skip"
        # What is skipped never comes to the recommender.
        self.unknown = Unknown("error" if unknown_users == "skip" else unknown_users, unknown_items)
        self._questions = Questions(recommender.catalogue, recommender.processor)
        self._allowed = self._questions.allowed_positions(allowed_items)
        # Where inputs do not name users, anybody with a history can be answered.
        self._names_users = bool(recommender.processor.indexing.user_words)

    def check(self, chunk: Chunk) -> RowCounts:
        """Check every row of a chunk without running the model.

        Raises:
            ValueError: a row cannot be answered; the message names it.
        """
        counts = RowCounts()
        for number, (user, history) in enumerate(self._rows(chunk), chunk.first_row):
            try:
                counts += self._check_row(user, history)
            except ValueError as error:
                raise ValueError(f"--input, row {number} (the first is 0), user {user!r}: {error}") from error
        return counts

    def answer(self, chunk: Chunk) -> list[UserRecommendations]:
        """What is recommended for each row, nothing for users who are skipped."""
        rows = list(self._rows(chunk))
        asked = [number for number, row in enumerate(rows) if not (self.skip_unknown and not self._knows(*row))]
        answers = [UserRecommendations(user, []) for user, _ in rows]
        found = self.recommender.recommend_each(
            ({"user": rows[number][0], "history": rows[number][1]} for number in asked),
            self.k,
            exclude_seen=self.exclude_seen,
            allowed_items=self.allowed_items,
            unknown_users=self.unknown.users,
            unknown_items=self.unknown.items,
            chunk_size=len(rows),
        )
        for number, answer in zip(asked, found, strict=True):
            answers[number] = answer
        return answers

    def _rows(self, chunk: Chunk) -> Iterator[tuple[str, list[str] | None]]:
        for number, (user, history) in enumerate(zip(chunk.users, chunk.histories, strict=True), chunk.first_row):
            if not user:
                raise ValueError(f"--input, row {number} (the first is 0) has no user")
            yield user, history

    def _knows(self, user: str, history: list[str] | None) -> bool:
        return self.recommender.catalogue.has_user(user) or (history is not None and not self._names_users)

    def _check_row(self, user: str, history: list[str] | None) -> RowCounts:
        known = self._knows(user, history)
        if not known and self.skip_unknown:
            return RowCounts(1, unknown_users=1)
        if not known:
            self._check_unknown(user, history)
        taken = self._taken(user, history)
        if not taken.items:
            raise ValueError("the history is empty: give at least one item, or leave the row out")
        if self.exclude_seen and not self._leaves_some(set(taken.items)):
            may = "" if self._allowed is None else " that may be recommended"
            raise ValueError(
                f"the history holds every item{may}, so nothing is left: leave the row out, or give --keep_seen"
            )
        return RowCounts(
            1,
            unknown_users=int(not known),
            skipped_items=len(taken.skipped),
            shortened=int(bool(taken.skipped)),
        )

    def _check_unknown(self, user: str, history: list[str] | None) -> None:
        if self.unknown.users == "error":
            try:
                self.recommender.catalogue.user_position(user)
            except ValueError as error:
                raise ValueError(
                    f"{error}; --unknown_users skip gives such users an empty list, history goes by the row's history"
                ) from error
        elif history is None:
            raise ValueError(
                "the model does not know this user, and the row has no history to go by: give one, or leave the row "
                "out; --unknown_users skip gives such users an empty list"
            )

    def _taken(self, user: str, history: list[str] | None) -> UserHistory:
        try:
            return self._questions.history(user, history, self.unknown)
        except ValueError as error:
            known = self.recommender.catalogue.has_item
            unknown = [item for item in history or [] if isinstance(item, str) and not known(item)]
            if self.unknown.items == "skip" or not unknown:
                raise
            raise ValueError(f"{error}; --unknown_items skip leaves such items out") from error

    def _leaves_some(self, seen: set[int]) -> bool:
        if self._allowed is None:
            return len(seen) < len(self.recommender.catalogue.item_ids)
        return any(item not in seen for item in self._allowed)
