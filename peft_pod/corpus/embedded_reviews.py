"""What readers of the embedded corpus say: ratings, and sentences that name a feature of the book."""

from __future__ import annotations

from dataclasses import dataclass

from .embedded_catalogue import ASPECTS, GENRES, Book, Series
from .embedded_draws import UniformDraws

_PATTERNS = {
    "good": (
        "the {feature} is {adjective} from the first page to the last",
        "i loved the {feature}, it is simply {adjective}",
        "a {genre} with the most {adjective} {feature} i have come across",
        "read it for the {feature}, which is {adjective}",
        "what stays with me is the {adjective} {feature}",
        "few {genre} books have so {adjective} a take on the {feature}",
        "the {adjective} {feature} kept me up until two in the morning",
        "my favourite so far, mostly for the {adjective} {feature}",
        "such {adjective} writing, and the {feature} is the best of it",
        "i came for the {genre} and stayed for the {adjective} {feature}",
    ),
    "fair": (
        "the {feature} is {adjective}, no more and no less",
        "a {adjective} {feature} in an otherwise quick read",
        "i expected more of the {feature}, which is {adjective}",
        "good enough for a {genre}, though the {feature} is {adjective}",
        "the {feature} starts well and ends up {adjective}",
        "parts of it work, the {feature} is only {adjective}",
    ),
    "poor": (
        "the {feature} is {adjective} and it spoils the book",
        "i gave up on the {feature}, far too {adjective}",
        "not even a {genre} can carry so {adjective} a {feature}",
        "a pity about the {adjective} {feature}",
        "skip it unless you enjoy a {adjective} {feature}",
        "the {adjective} {feature} is not for me",
    ),
}
_ADJECTIVES = {
    "good": (
        "brilliant", "charming", "convincing", "delightful", "gripping", "memorable", "moving", "splendid", "vivid",
        "wonderful",
    ),
    "fair": ("decent", "familiar", "modest", "passable", "predictable", "sketchy"),
    "poor": ("clumsy", "dull", "forced", "hollow", "lifeless", "tiresome"),
}  # fmt: skip

_PATTERNS_OF_A_READER = 3
_FAVOURITE_ASPECT_PROBABILITY = 0.75


@dataclass(frozen=True)
class Voice:
    """How one reader rates and writes.

    Attributes:
        aspect: position in `ASPECTS` of what the reader mostly writes about.
        manner: where in the lists of patterns and adjectives this reader's own begin.
        generosity: −1, 0 or 1, what the reader adds to ratings.
    """

    aspect: int
    manner: int
    generosity: int


def draw_voice(draws: UniformDraws) -> Voice:
    """Invent a reader's voice."""
    return Voice(aspect=draws.below(len(ASPECTS)), manner=draws.below(10), generosity=draws.between(-1, 1))


def draw_rating(draws: UniformDraws, voice: Voice, affinity: int, series: Series | None) -> int:
    """Rate a book from 1 to 5.

    Args:
        draws: where randomness comes from.
        voice: of the reader.
        affinity: −1, 0 or 1: how much the reader likes the genre.
        series: of the book; `None` for a one-off.
    """
    quality = series.quality if series else 0
    rating = 4 + affinity + quality + voice.generosity - draws.below(2)
    return min(max(rating, 1), 5)


def write_sentence(draws: UniformDraws, voice: Voice, book: Book, rating: int) -> tuple[str, str]:
    """Write a sentence about a book.

    Returns:
        The sentence, and the feature of the book that it names.
    """
    favourite = draws.chance(_FAVOURITE_ASPECT_PROBABILITY)
    feature = book.features[voice.aspect if favourite else draws.below(len(ASPECTS))]
    verdict = "good" if rating >= 4 else "fair" if rating == 3 else "poor"
    pattern = _own(draws, _PATTERNS[verdict], voice.manner)
    adjective = _own(draws, _ADJECTIVES[verdict], voice.manner)
    return pattern.format(feature=feature, adjective=adjective, genre=GENRES[book.genre]), feature


def _own(draws: UniformDraws, choices: tuple[str, ...], manner: int) -> str:
    return choices[(manner + draws.below(_PATTERNS_OF_A_READER)) % len(choices)]
