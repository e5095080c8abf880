from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import Corpus, LeaveOneOut, load_corpus
from peft_pod.corpus.embedded import EmbeddedCorpusOptions, generate_embedded
from peft_pod.corpus.embedded_catalogue import ASPECTS, make_catalogue
from peft_pod.corpus.embedded_draws import UniformDraws

from .series_oracle import (
    SeriesOracle,
    co_occurrence,
    hit_rate,
    ndcg,
    popularity,
    random_hit_rate,
    random_ndcg,
    ranks,
    volumes,
)

DEFAULT_FINGERPRINT = "9a81345e258c"
SMALL_FINGERPRINT = "795a517520ba"


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus("embedded")


@pytest.fixture(scope="module")
def split(corpus: Corpus) -> LeaveOneOut:
    return corpus.split()


def histories(corpus: Corpus) -> dict[str, list[str]]:
    taken = defaultdict(list)
    for user, item in zip(*(corpus.interactions[:][name] for name in ("user_id", "item_id")), strict=True):
        taken[user].append(item)
    return taken


def test_rows_are_the_same_everywhere(corpus: Corpus):
    """Documented scores belong to these rows. Where a change of them is meant, `docs/corpus.md` changes with them."""
    assert corpus.fingerprint == DEFAULT_FINGERPRINT
    assert load_corpus("embedded", num_users=50, num_items=80, seed=7).fingerprint == SMALL_FINGERPRINT


def test_draws_are_the_same_everywhere():
    """The first values of PCG64, which numpy guarantees, and what is made of them."""
    draws = UniformDraws(seed=0, stream=0)
    expected = np.random.Generator(np.random.PCG64([0, 0])).random(5000)
    assert [draws.uniform() for _ in range(5000)] == expected.tolist()


def test_another_seed_gives_another_corpus():
    assert (
        load_corpus("embedded", num_users=20).fingerprint != load_corpus("embedded", num_users=20, seed=1).fingerprint
    )


def test_more_readers_leave_the_first_ones_as_they_were(corpus: Corpus):
    few = load_corpus("embedded", num_users=20)
    assert few.interactions[:] == corpus.interactions[: len(few.interactions)]
    assert few.items[:] == corpus.items[:]


def test_sizes(corpus: Corpus, split: LeaveOneOut):
    lengths = [len(items) for items in histories(corpus).values()]
    assert (split.train.num_users, split.train.num_items) == (1000, 300)
    assert (min(lengths), max(lengths)) == (12, 32)
    assert len(split.evaluated_users("test")) == 1000


def test_every_item_is_seen_in_training_and_some_much_more_than_others(split: LeaveOneOut):
    counts = split.train.item_counts
    assert counts.min() >= 5
    assert counts.max() >= 3 * np.median(counts)


def assert_read_in_order_and_nothing_twice(corpus: Corpus) -> None:
    volume_of = volumes(corpus.items["title"][:])
    by_id = {corpus.items["item_id"][item]: volume for item, volume in volume_of.items()}
    for items in histories(corpus).values():
        assert len(set(items)) == len(items)
        read: Counter[str] = Counter()
        for item in items:
            if item in by_id:
                name, number = by_id[item]
                assert number == read[name] + 1
                read[name] = number


def test_a_series_is_read_in_order_and_nothing_twice(corpus: Corpus):
    assert_read_in_order_and_nothing_twice(corpus)


def test_time_runs_forward(corpus: Corpus):
    columns = corpus.interactions[:]
    rows = pairwise(zip(columns["user_id"], columns["timestamp"], strict=True))
    assert all(user != next_user or time < next_time for (user, time), (next_user, next_time) in rows)


def test_the_order_of_the_catalogue_tells_nothing(corpus: Corpus):
    """In the leaking corpora the next item often has the next number; here that is chance."""
    volume_of = volumes(corpus.items["title"][:])
    item_of = {volume: item for item, volume in volume_of.items()}
    steps = [item_of[name, n + 1] - item for (name, n), item in item_of.items() if (name, n + 1) in item_of]
    assert sum(step == 1 for step in steps) <= 3
    assert abs(np.mean(np.array(steps) > 0) - 0.5) < 0.15


def test_titles_and_ids_are_unique(corpus: Corpus):
    large = load_corpus("embedded", num_users=1, num_items=20_000)
    for table in (corpus.items, large.items):
        assert len(set(table["title"][:])) == len(set(table["item_id"][:])) == len(table)
        assert all(re.fullmatch(r"(The|An?) [A-Z][\w ]+(, Vol\. \d)?", title) for title in table["title"][:])


def test_series_have_the_lengths_asked_for(corpus: Corpus):
    lengths = Counter(name for name, _ in volumes(corpus.items["title"][:]).values())
    assert set(lengths.values()) == {4, 5}
    assert len(corpus.items) - sum(lengths.values()) >= 30


def test_sentences_name_a_feature_of_the_item(corpus: Corpus):
    assert corpus.explanations is not None
    text = dict(zip(corpus.items["item_id"][:], corpus.items["text"][:], strict=True))
    for row in corpus.explanations:
        feature = rf"\b{row['feature']}\b"
        assert re.search(feature, row["explanation"])
        assert re.search(feature, text[row["item_id"]])


def test_sentences_are_the_reviews(corpus: Corpus):
    assert corpus.explanations is not None
    reviewed = [(row["user_id"], row["item_id"], row["review"]) for row in corpus.interactions if row["review"]]
    assert reviewed == [(row["user_id"], row["item_id"], row["explanation"]) for row in corpus.explanations]
    assert abs(len(reviewed) / len(corpus.interactions) - 0.7) < 0.02


def test_sentences_are_varied_and_yet_a_reader_s_own(corpus: Corpus):
    """Readers mostly write about one aspect and in a few ways, so that a sentence can be foretold in part."""
    assert corpus.explanations is not None
    rows = corpus.explanations[:]
    feature_free = [
        text.replace(feature, "_") for text, feature in zip(rows["explanation"], rows["feature"], strict=True)
    ]
    assert len(set(rows["explanation"])) > 3000
    assert len(set(feature_free)) > 150
    per_reader = defaultdict(set)
    for user, wording in zip(rows["user_id"], feature_free, strict=True):
        per_reader[user].add(wording)
    assert np.mean([len(wordings) for wordings in per_reader.values()]) < 12

    features = feature_by_aspect(corpus)
    aspects = defaultdict(Counter)
    for user, item, feature in zip(rows["user_id"], rows["item_id"], rows["feature"], strict=True):
        aspects[user][features[item].index(feature)] += 1
    most = [counts.most_common(1)[0][1] / counts.total() for counts in aspects.values()]
    assert 0.7 < np.mean(most) < 0.95
    assert {counts.most_common(1)[0][0] for counts in aspects.values()} == set(range(len(ASPECTS)))


def feature_by_aspect(corpus: Corpus) -> dict[str, tuple[str, ...]]:
    pattern = r"about an? (\w+) and an? (\w+), told with (\w+)[,.].* turns on the (\w+)\."
    found = {}
    for item in corpus.items:
        match = re.search(pattern, item["text"])
        assert match is not None
        found[item["item_id"]] = match.groups()
    return found


def test_ratings_follow_taste(corpus: Corpus):
    """Books of the genre that a reader has most of are rated higher than the reader's others."""
    genre = {item["item_id"]: item["text"].split()[1] for item in corpus.items}
    rows = corpus.interactions[:]
    assert set(rows["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    for user, item in zip(rows["user_id"], rows["item_id"], strict=True):
        taken[user][genre[item]] += 1
    liked, others = [], []
    for user, item, rating in zip(rows["user_id"], rows["item_id"], rows["rating"], strict=True):
        (liked if genre[item] == taken[user].most_common(1)[0][0] else others).append(rating)
    assert np.mean(liked) > np.mean(others) + 0.5


def test_order_pays_and_counting_does_not(corpus: Corpus, split: LeaveOneOut):
    """What the corpus is for: the gaps between no knowledge, counting, and knowing the rules."""
    oracle, counting, popular = (
        ranks(split, ranker) for ranker in (SeriesOracle(corpus, split), co_occurrence(split), popularity(split))
    )
    chance = random_hit_rate(split, 10)
    assert 0.03 < chance < 0.04
    assert 2 * chance < hit_rate(popular, 10) <= 0.12
    assert 4 * chance < hit_rate(counting, 10) <= 0.35
    assert hit_rate(oracle, 10) >= 0.75
    assert hit_rate(counting, 1) < 0.05
    assert hit_rate(oracle, 1) >= 0.4
    assert 5 * random_ndcg(split, 10) < ndcg(counting, 10) < ndcg(oracle, 10) / 4


def test_the_gaps_don_t_hang_on_the_seed():
    corpus = load_corpus("embedded", seed=1)
    split = corpus.split()
    counting, oracle = ranks(split, co_occurrence(split)), ranks(split, SeriesOracle(corpus, split))
    assert hit_rate(counting, 10) < 0.35 < 0.75 < hit_rate(oracle, 10)
    assert split.train.item_counts.min() >= 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_users": 0}, "num_users must be a whole number of at least 1, got 0"),
        ({"num_users": 10.0}, "num_users must be a whole number of at least 1, got 10.0"),
        ({"num_users": True}, "num_users must be a whole number of at least 1, got True"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"rotation": 1.5}, "rotation must be a number from 0 to 1, got 1.5"),
        ({"rotation": float("nan")}, "rotation must be a number from 0 to 1, got nan"),
        ({"review_probability": "0.5"}, "review_probability must be a number from 0 to 1, got '0.5'"),
        ({"num_genres": 9}, "num_genres must be at most 8, got 9"),
        ({"min_history": 40}, "min_history must not exceed max_history, got min_history=40 and max_history=32"),
        ({"min_volumes": 6}, "min_volumes must not exceed max_volumes, got min_volumes=6 and max_volumes=5"),
        ({"num_items": 31}, "max_history must not exceed num_items, .* max_history=32 and num_items=31"),
        ({"num_users": 1, "num_items": 10**6}, "num_items=1000000 needs .* titles, but there are words for .* only"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_corpus("embedded", **options)


@settings(max_examples=25, deadline=None)
@given(
    num_items=st.integers(1, 60),
    num_genres=st.integers(1, 8),
    series_in_hand=st.integers(1, 6),
    volume_range=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    probabilities=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=4, max_size=4),
    data=st.data(),
)
def test_any_options_give_a_sound_corpus(num_items, num_genres, series_in_hand, volume_range, probabilities, data):
    """Down to one book, and to readers who read the catalogue empty."""
    longest = data.draw(st.integers(1, num_items))
    rotation, one_off_share, one_off_probability, review_probability = probabilities
    corpus = generate_embedded(
        EmbeddedCorpusOptions(
            num_users=3,
            num_items=num_items,
            num_genres=num_genres,
            min_history=longest,
            max_history=longest,
            min_volumes=min(volume_range),
            max_volumes=max(volume_range),
            series_in_hand=series_in_hand,
            rotation=rotation,
            one_off_share=one_off_share,
            one_off_probability=one_off_probability,
            review_probability=review_probability,
        )
    )
    assert len(set(corpus.items["title"][:])) == len(corpus.items) == num_items
    assert {len(items) for items in histories(corpus).values()} == {longest}
    assert_read_in_order_and_nothing_twice(corpus)
    if review_probability in (0.0, 1.0):
        assert corpus.explanations is not None
        assert len(corpus.explanations) == review_probability * 3 * longest


def test_the_longest_untouched_series_is_continued():
    """With rotation 1, no one-offs and two series in hand, readers take turns."""
    corpus = load_corpus(
        "embedded", num_users=20, series_in_hand=2, rotation=1.0, one_off_probability=0.0, max_history=20
    )
    volume_of = volumes(corpus.items["title"][:])
    by_id = {corpus.items["item_id"][item]: volume for item, volume in volume_of.items()}
    for items in histories(corpus).values():
        # Series have at least four volumes, so in the first six books nobody finishes one.
        names = [by_id[item][0] for item in items[:6]]
        assert names == names[:2] * 3
        assert names[0] != names[1]


def test_a_new_series_is_not_read_before_it_is_out():
    catalogue = make_catalogue(
        UniformDraws(seed=0, stream=0),
        num_items=300,
        num_genres=5,
        min_volumes=4,
        max_volumes=5,
        one_off_share=0.1,
        published_within=2 * 365 * 86_400,
    )
    published = {
        catalogue.books[volume].item_id: series.published for series in catalogue.series for volume in series.volumes
    }
    rows = load_corpus("embedded").interactions[:]
    start = 1_577_836_800
    assert any(published.values())
    assert all(
        start + published.get(item, 0) <= time for item, time in zip(rows["item_id"], rows["timestamp"], strict=True)
    )
