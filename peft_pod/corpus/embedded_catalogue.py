"""The books of the embedded corpus: series of several volumes, one-offs, and the features that reviews speak of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from .embedded_draws import UniformDraws

GENRES = ("mystery", "fantasy", "romance", "western", "thriller", "saga", "comedy", "fable")

ASPECTS = ("setting", "hero", "mood", "turn")
"""What each book has one of; the words are the features that reviews name."""

_SETTINGS = (
    "archive", "bakery", "canal", "castle", "circus", "desert", "glacier", "harbour", "island", "library", "lighthouse",
    "market", "monastery", "observatory", "orchard", "palace", "railway", "theatre", "vineyard", "workshop",
)  # fmt: skip
_HEROES = (
    "apprentice", "beekeeper", "botanist", "captain", "cartographer", "clockmaker", "detective", "envoy", "forger",
    "gardener", "governess", "innkeeper", "orphan", "pianist", "ranger", "scribe", "smuggler", "surgeon", "tailor",
    "widow",
)  # fmt: skip
_MOODS = (
    "banter", "dread", "humour", "irony", "longing", "melancholy", "mischief", "suspense", "tenderness", "warmth",
)  # fmt: skip
_TURNS = (
    "ambush", "auction", "betrayal", "confession", "duel", "escape", "feast", "funeral", "heist", "masquerade",
    "pursuit", "riddle", "shipwreck", "siege", "storm", "trial", "voyage", "wager", "wedding", "witness",
)  # fmt: skip
_FIRST_WORDS = (
    "Amber", "Ashen", "Autumn", "Borrowed", "Brass", "Broken", "Clockwork", "Copper", "Crimson", "Distant", "Drowned",
    "Emerald", "Faded", "Folded", "Forgotten", "Frozen", "Gilded", "Glass", "Hidden", "Hollow", "Iron", "Ivory",
    "Kindled", "Lost", "Midnight", "Nameless", "Paper", "Patient", "Painted", "Quiet", "Restless", "Salt", "Scarlet",
    "Second", "Silent", "Silver", "Sleeping", "Stolen", "Sunken", "Tangled", "Tin", "Velvet", "Wandering", "Whispered",
    "Wild", "Winter", "Wooden", "Yellow",
)  # fmt: skip
_SECOND_WORDS = (
    "Almanac", "Anchor", "Bell", "Bridge", "Candle", "Cathedral", "Compass", "Corridor", "Crown", "Door", "Feather",
    "Ferry", "Forest", "Fountain", "Garden", "Gate", "Harbour", "Hour", "Key", "Kingdom", "Ladder", "Lantern",
    "Ledger", "Letter", "Loom", "Map", "Meadow", "Mill", "Mirror", "Needle", "Oath", "Orchard", "Portrait", "Quarry",
    "River", "Road", "Season", "Shore", "Sonata", "Staircase", "Station", "Summit", "Thread", "Tide", "Tower",
    "Valley", "Window", "Wharf",
)  # fmt: skip
_PLACES = (
    "", "Arden", "Brill", "Carrow", "Dunmore", "Eskdale", "Farrow", "Galen", "Hythe", "Inver", "Jarrow", "Kell",
    "Lorne", "Marrick", "Norne", "Orley", "Penrose", "Quill", "Ravel", "Selby", "Tarn", "Ulver", "Vael", "Wray",
)  # fmt: skip

_BACKLIST_SHARE = 0.6


@dataclass(frozen=True)
class Book:
    """One item of the catalogue. `features` follow `ASPECTS`."""

    item_id: str
    title: str
    text: str
    genre: int
    features: tuple[str, ...]


@dataclass(frozen=True)
class Series:
    """Books to be read one after another. A one-off is a series of one volume.

    Attributes:
        genre: position in `GENRES`.
        volumes: positions in the catalogue, in reading order.
        popularity: weight among the series of the genre.
        quality: −1, 0 or 1, what it adds to ratings.
        published: seconds after the start of the corpus.
    """

    genre: int
    volumes: tuple[int, ...]
    popularity: float
    quality: int
    published: int


@dataclass(frozen=True)
class BookCatalogue:
    """All books, and how they belong together."""

    books: Sequence[Book]
    series: Sequence[Series]
    one_offs: Sequence[int]


def make_catalogue(
    draws: UniformDraws,
    *,
    num_items: int,
    num_genres: int,
    min_volumes: int,
    max_volumes: int,
    one_off_share: float,
    published_within: int,
) -> BookCatalogue:
    """Invent the books.

    Books stand in the catalogue, and have their IDs, in a random order: neither tells which book follows which.

    Args:
        draws: where randomness comes from.
        num_items: number of books.
        num_genres: number of genres; series are spread evenly over them.
        min_volumes: least number of volumes of a series.
        max_volumes: greatest.
        one_off_share: share of the books that belong to no series. Books left over when the series are made, fewer
            than `min_volumes`, are one-offs too.
        published_within: seconds within which the series come out that are not there from the start.

    Raises:
        ValueError: more titles are needed than there are words for.
    """
    lengths = _series_lengths(draws, num_items - int(num_items * one_off_share), min_volumes, max_volumes)
    num_one_offs = num_items - sum(lengths)
    titles = _titles(draws, len(lengths) + num_one_offs, num_items)
    numbers = draws.shuffled(range(num_items))
    books: list[Book | None] = [None] * num_items
    series = []
    for position, length in enumerate(lengths):
        genre = position % num_genres
        volumes = tuple(numbers.pop() for _ in range(length))
        shared = (draws.pick(_SETTINGS), draws.pick(_HEROES), draws.pick(_MOODS))
        for volume, number in enumerate(volumes, start=1):
            features = (*shared, draws.pick(_TURNS))
            books[number] = _book(number, f"The {titles[position]}", genre, features, volume, length)
        series.append(
            Series(
                genre=genre,
                volumes=volumes,
                popularity=1 / (position // num_genres + 4),
                quality=draws.between(-1, 1),
                published=0 if draws.chance(_BACKLIST_SHARE) else draws.below(published_within),
            )
        )
    for position, number in enumerate(numbers, start=len(lengths)):
        features = (draws.pick(_SETTINGS), draws.pick(_HEROES), draws.pick(_MOODS), draws.pick(_TURNS))
        books[number] = _book(number, _with_article(titles[position]), draws.below(num_genres), features)
    return BookCatalogue([book for book in books if book is not None], series, numbers)


def _series_lengths(draws: UniformDraws, books: int, least: int, most: int) -> list[int]:
    lengths: list[int] = []
    while books >= least:
        lengths.append(draws.between(least, min(most, books)))
        books -= lengths[-1]
    return lengths


def _titles(draws: UniformDraws, needed: int, num_items: int) -> list[str]:
    pairs = [f"{first} {second}" for first, second in product(_FIRST_WORDS, _SECOND_WORDS)]
    if needed > len(pairs) * len(_PLACES):
        raise ValueError(
            f"num_items={num_items} needs {needed} different titles, but there are words for "
            f"{len(pairs) * len(_PLACES)} only; make num_items smaller or min_volumes greater"
        )
    titles: list[str] = []
    for place in _PLACES:
        if len(titles) >= needed:
            break
        titles.extend(f"{pair} of {place}" if place else pair for pair in draws.shuffled(pairs))
    return titles[:needed]


def _book(
    number: int, title: str, genre: int, features: tuple[str, ...], volume: int | None = None, of: int = 1
) -> Book:
    setting, hero, mood, turn = features
    about = f"{_with_article(hero)} and {_with_article(setting)}, told with {mood}"
    if volume is None:
        text = f"{_with_article(GENRES[genre]).capitalize()} about {about}, complete in itself. It turns on the {turn}."
    else:
        title = f"{title}, Vol. {volume}"
        text = (
            f"{_with_article(GENRES[genre]).capitalize()} about {about}. Volume {volume} of {of} turns on the {turn}."
        )
    return Book(f"book-{number + 1}", title, text, genre, features)


def _with_article(words: str) -> str:
    article = "an" if words[0].lower() in "aeiou" else "a"
    return f"{article.capitalize() if words[0].isupper() else article} {words}"
