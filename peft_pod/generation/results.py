"""What a `Recommender` answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recommendation:
    """One recommended item.

    Attributes:
        item_id: the corpus' own ID.
        title: the item's title.
        score: log-probability that the model gives the item's ID.
        probability: of a ranked candidate, the probability that it is this one, given that it is one of the
            candidates; they sum to 1 over all candidates of the user, also those that are not among the best k. `None`
            where no candidates were ranked, or a search did not find all of them.
    """

    item_id: str
    title: str
    score: float
    probability: float | None = None


@dataclass(frozen=True)
class UserRecommendations:
    """What is recommended for one row of a stream.

    Attributes:
        user: the user's ID.
        items: what is recommended, best first.
        skipped: IDs of the history that the catalogue does not know and that were left out, in their order.
    """

    user: str
    items: list[Recommendation]
    skipped: tuple[str, ...] = ()
