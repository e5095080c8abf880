"""The embedded corpus: readers of book series, made from a seed, for tests, demonstrations and teaching.

It needs no download and no licence, and what can be learnt from it is known. Readers have a few series in hand at a
time and mostly go on with the one they put down longest ago. So the next book is well determined by the *order* of
the history, while the books around it belong to other series: counting which books occur together says little.
`docs/corpus.md` has the rules in full and the scores of the baselines.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from datasets import Dataset, Features, Value

from .corpus import Corpus
from .embedded_catalogue import GENRES, BookCatalogue, Series, make_catalogue
from .embedded_draws import UniformDraws
from .embedded_reviews import draw_rating, draw_voice, write_sentence

_DAY = 86_400
_FIRST_DAY = 1_577_836_800
"""2020-01-01 in seconds since 1970."""
_SIGN_UP_WINDOW = 3 * 365 * _DAY
_PUBLISHING_WINDOW = 2 * 365 * _DAY
_NEW_FOR = 180 * _DAY
_NEW_SERIES_BOOST = 2.0
_TASTE_FIRST_GENRE, _TASTE_SECOND_GENRE, _TASTE_ELSEWHERE = 0.65, 0.25, 0.10


@dataclass(frozen=True, kw_only=True)
class EmbeddedCorpusOptions:
    """What the embedded corpus is made of.

    Args:
        num_users: readers.
        num_items: books.
        seed: everything random follows from it. Readers come one after another, so that a corpus with more readers
            begins with the readers of the smaller one.
        num_genres: genres; each reader has a favourite and a second one.
        min_history: fewest books of a reader.
        max_history: most; all numbers from `min_history` on are equally likely.
        min_volumes: fewest volumes of a series.
        max_volumes: most, likewise.
        series_in_hand: how many series a reader has begun and not finished; with fewer, the next book begins one.
        rotation: probability of going on with the series put down longest ago rather than with another in hand.
        one_off_share: share of the books that belong to no series.
        one_off_probability: how often a reader takes one of those, whatever the taste: the noise of the corpus.
        review_probability: how often a reader writes a sentence about a book.

    Raises:
        ValueError: a value is out of its range; the message names the field.

    Example:
        >>> EmbeddedCorpusOptions(num_users=50).num_items
        300
    """

    num_users: int = 1000
    num_items: int = 300
    seed: int = 0
    num_genres: int = 5
    min_history: int = 12
    max_history: int = 32
    min_volumes: int = 4
    max_volumes: int = 5
    series_in_hand: int = 4
    rotation: float = 0.95
    one_off_share: float = 0.1
    one_off_probability: float = 0.05
    review_probability: float = 0.7

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, float):
                self._check_probability(field.name, value)
            else:
                self._check_count(field.name, value)
        if self.num_genres > len(GENRES):
            raise ValueError(f"num_genres must be at most {len(GENRES)}, got {self.num_genres}")
        for least, most in (("min_history", "max_history"), ("min_volumes", "max_volumes")):
            if getattr(self, least) > getattr(self, most):
                raise ValueError(
                    f"{least} must not exceed {most}, got {least}={getattr(self, least)} and "
                    f"{most}={getattr(self, most)}"
                )
        if self.max_history > self.num_items:
            raise ValueError(
                f"max_history must not exceed num_items, since nobody takes a book twice; got "
                f"max_history={self.max_history} and num_items={self.num_items}"
            )

    @staticmethod
    def _check_probability(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")

    @staticmethod
    def _check_count(name: str, value: object) -> None:
        least = 0 if name == "seed" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def generate_embedded(options: EmbeddedCorpusOptions | None = None) -> Corpus:
    """Make the embedded corpus; the same options give the same rows on every machine.

    Args:
        options: sizes, seed and habits; `None` for the defaults, which the documented scores belong to.

    Raises:
        ValueError: there are not enough words for the titles of so many items.

    Example:
        >>> corpus = generate_embedded(EmbeddedCorpusOptions(num_users=3))
        >>> len(corpus.items), len(set(corpus.interactions["user_id"]))
        (300, 3)
    """
    options = options or EmbeddedCorpusOptions()
    catalogue = make_catalogue(
        UniformDraws(options.seed, stream=0),
        num_items=options.num_items,
        num_genres=options.num_genres,
        min_volumes=options.min_volumes,
        max_volumes=options.max_volumes,
        one_off_share=options.one_off_share,
        published_within=_PUBLISHING_WINDOW,
    )
    interactions: dict[str, list] = {name: [] for name in _INTERACTION_FEATURES}
    explanations: dict[str, list] = {name: [] for name in _EXPLANATION_FEATURES}
    reading_draws = UniformDraws(options.seed, stream=1)
    review_draws = UniformDraws(options.seed, stream=2)
    series_of = {volume: series for series in catalogue.series for volume in series.volumes}
    for user in range(options.num_users):
        reader = _Reader(options, catalogue, reading_draws)
        voice = draw_voice(review_draws)
        for timestamp, number in reader.read():
            book = catalogue.books[number]
            rating = draw_rating(review_draws, voice, reader.affinity(book.genre), series_of.get(number))
            sentence = ""
            if review_draws.chance(options.review_probability):
                sentence, feature = write_sentence(review_draws, voice, book, rating)
                _append(explanations, (f"reader-{user + 1}", book.item_id, sentence, feature))
            _append(interactions, (f"reader-{user + 1}", book.item_id, timestamp, rating, sentence))
    items = {
        "item_id": [book.item_id for book in catalogue.books],
        "title": [book.title for book in catalogue.books],
        "text": [book.text for book in catalogue.books],
    }
    tables = {
        "interactions": Dataset.from_dict(interactions, features=_INTERACTION_FEATURES),
        "items": Dataset.from_dict(items),
        "explanations": Dataset.from_dict(explanations, features=_EXPLANATION_FEATURES),
    }
    return Corpus.from_tables("embedded", tables)


_INTERACTION_FEATURES = Features(
    {
        "user_id": Value("string"),
        "item_id": Value("string"),
        "timestamp": Value("int64"),
        "rating": Value("float32"),
        "review": Value("string"),
    }
)
_EXPLANATION_FEATURES = Features({name: Value("string") for name in ("user_id", "item_id", "explanation", "feature")})


def _append(columns: dict[str, list], row: tuple) -> None:
    for column, value in zip(columns.values(), row, strict=True):
        column.append(value)


class _Reader:
    """One reader, who takes book after book."""

    def __init__(self, options: EmbeddedCorpusOptions, catalogue: BookCatalogue, draws: UniformDraws) -> None:
        self._options = options
        self._catalogue = catalogue
        self._draws = draws
        weights = [1 / (genre + 3) for genre in range(options.num_genres)]
        self._favourite = draws.weighted(weights)
        others = [0.0 if genre == self._favourite else weight for genre, weight in enumerate(weights)]
        self._second = draws.weighted(others) if any(others) else self._favourite
        self._not_begun = [self._taste(series.genre) * series.popularity for series in catalogue.series]
        self._in_hand: list[tuple[Series, int]] = []
        """Series begun and not finished with the number of volumes read, the one put down longest ago first."""
        self._one_offs = list(catalogue.one_offs)

    def affinity(self, genre: int) -> int:
        """1 for the favourite genre, 0 for the second, −1 for the others."""
        return 1 if genre == self._favourite else 0 if genre == self._second else -1

    def read(self) -> list[tuple[int, int]]:
        """The whole history: time in seconds since 1970 and the book's position in the catalogue, oldest first."""
        length = self._draws.between(self._options.min_history, self._options.max_history)
        now = self._draws.below(_SIGN_UP_WINDOW)
        history = []
        for _ in range(length):
            now += self._draws.between(2, 28) * _DAY + self._draws.below(_DAY)
            history.append((_FIRST_DAY + now, self._next_book(now)))
        return history

    def _next_book(self, now: int) -> int:
        if self._one_offs and self._draws.chance(self._options.one_off_probability):
            return self._take_one_off()
        if len(self._in_hand) < self._options.series_in_hand and any(self._not_begun):
            return self._begin_series(now)
        if self._in_hand:
            return self._continue_series()
        return self._take_one_off()

    def _take_one_off(self) -> int:
        return self._one_offs.pop(self._draws.below(len(self._one_offs)))

    def _begin_series(self, now: int) -> int:
        weights = [
            weight * (_NEW_SERIES_BOOST if now - series.published < _NEW_FOR else 1.0)
            if series.published <= now
            else 0.0
            for weight, series in zip(self._not_begun, self._catalogue.series, strict=True)
        ]
        # With everything that is out already begun, a reader pre-orders.
        position = self._draws.weighted(weights if any(weights) else self._not_begun)
        self._not_begun[position] = 0.0
        return self._read_volume(self._catalogue.series[position], 0)

    def _continue_series(self) -> int:
        others = len(self._in_hand) - 1
        stays_in_turn = self._draws.chance(self._options.rotation) or others == 0
        position = 0 if stays_in_turn else 1 + self._draws.below(others)
        return self._read_volume(*self._in_hand.pop(position))

    def _read_volume(self, series: Series, volume: int) -> int:
        if volume + 1 < len(series.volumes):
            self._in_hand.append((series, volume + 1))
        return series.volumes[volume]

    def _taste(self, genre: int) -> float:
        if genre == self._favourite:
            return _TASTE_FIRST_GENRE
        if genre == self._second:
            return _TASTE_SECOND_GENRE
        return _TASTE_ELSEWHERE / self._options.num_genres
