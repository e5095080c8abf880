from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import replace
from itertools import cycle

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import Corpus, load_corpus
from peft_pod.corpus.explain import choose_explanations, explanations_problem
from tests.corpora import hand_made_corpus, real_data

SMALL = {"min_reviews": 2, "max_share": 1.0, "min_noun_share": 0.2}
TEXTS = [
    "The tone is great. I bought it for my brother last year.",
    "I like the warm tone!",
    "The price is fair. The tone of it is thin.",
    "A great price for the tone.",
    "The strap is soft.",
    "Love the strap. It arrived on time.",
    "The strap of mine is too short, the price is fair.",
    "Fine.",
    "",
]
Rows = list[tuple[str, str, int, str]]


def corpus_of(rows: Rows, titles: dict[str, str] | None = None) -> Corpus:
    users, items, times, reviews = (list(column) for column in zip(*rows, strict=True))
    catalogue = sorted(set(items) | set(titles or {}))
    return Corpus.from_tables(
        "reviewed",
        {
            "interactions": Dataset.from_dict(
                {"user_id": users, "item_id": items, "timestamp": times, "review": reviews}
            ),
            "items": Dataset.from_dict(
                {"item_id": catalogue, "title": [(titles or {}).get(item, item) for item in catalogue]}
            ),
        },
    )


def reviewed(num_users: int = 6, texts: list[str] = TEXTS) -> Rows:
    """Each user takes four of five items; texts go round."""
    says = cycle(texts)
    return [
        (f"u{user}", f"i{(user + place) % 5}", 10 * user + place, next(says))
        for user in range(num_users)
        for place in range(4)
    ]


def table(corpus: Corpus) -> list[dict[str, str]]:
    assert corpus.explanations is not None
    return list(corpus.explanations)


def test_by_hand():
    """One user, two items, everything in training: the choice can be followed with a pencil."""
    rows = [
        ("a", "mic", 1, "The tone is great. I bought the tone of it."),
        ("b", "mic", 1, "It came on time. I see the tone of it. The price of it is fair."),
        ("c", "bag", 1, "The price is fair."),
        ("d", "bag", 1, "The strap is the strap. Price of the strap?"),
        ("e", "bag", 1, "Ok"),
        ("f", "bag", 1, " "),
        ("g", "bag", 1, "I price the things. They are fine and so I will see them."),
    ]
    found = choose_explanations(corpus_of(rows), **SMALL | {"opinion_weight": 0.0})
    assert table(found) == [
        # The other review of the microphone has "tone"; the first sentence of two that have it is taken.
        {"user_id": "a", "item_id": "mic", "explanation": "The tone is great.", "feature": "tone"},
        # Both reviews have "tone", and one other review has "price": "tone" goes more with the microphone.
        {"user_id": "b", "item_id": "mic", "explanation": "I see the tone of it.", "feature": "tone"},
        {"user_id": "c", "item_id": "bag", "explanation": "The price is fair.", "feature": "price"},
        # "strap" is in one review only. "Price" stands as a noun, in a sentence of four words.
        {"user_id": "d", "item_id": "bag", "explanation": "Price of the strap?", "feature": "price"},
        # "price" of the last one is a verb.
    ]
    assert found.steps[-1].counts == {
        "interactions": 7,
        "interactions without a review": 1,
        "reviews": 6,
        "distinct texts": 6,
        "features": 2,
        "reviews without a sentence of 4 to 20 words": 1,
        "reviews without a feature in such a sentence": 1,
        "held-out sentences that the user wrote in training too": 0,
        "train sentences": 4,
        "validation sentences": 0,
        "test sentences": 0,
    }
    # With opinions counted, the sentence that says the price is fair goes before the one that names the tone.
    weighed = choose_explanations(corpus_of(rows), **SMALL | {"opinion_weight": 5.0})
    assert table(weighed)[1]["explanation"] == "The price of it is fair."


@pytest.mark.parametrize(("common", "rare"), [("tone", "price"), ("price", "tone")])
def test_of_equal_features_the_more_frequent_is_kept(common: str, rare: str):
    """Nothing is known of the last item but the review itself, which doesn't count: no feature goes with it more."""
    rows = [(f"u{n}", "mic", 1, f"The {common} of it, {n}.") for n in range(4)]
    rows += [(f"v{n}", "amp", 1, f"The {rare} of it, {n}.") for n in range(2)]
    for says in (f"The {common} and the {rare}.", f"The {rare} and the {common}."):
        found = choose_explanations(corpus_of([*rows, ("w", "bag", 1, says)]), **SMALL)
        assert table(found)[-1]["feature"] == common


def test_a_sentence_has_the_length_asked_for():
    found = choose_explanations(corpus_of(reviewed()), **SMALL | {"min_words": 5, "max_words": 6})
    assert {row["explanation"] for row in table(found)} == {
        "I like the warm tone!",
        "The tone of it is thin.",
        "A great price for the tone.",
    }


def test_the_feature_is_a_word_of_the_sentence_and_the_sentence_of_the_review():
    corpus = corpus_of(reviewed(20))
    of = {(row["user_id"], row["item_id"]): row["review"] for row in corpus.interactions}
    found = table(choose_explanations(corpus, **SMALL | {"repeated": "keep"}))
    assert len(found) > 40
    for row in found:
        assert row["explanation"] in of[row["user_id"], row["item_id"]]
        assert row["feature"] in row["explanation"].lower().replace(".", "").replace("!", "").replace(",", "").split()
    assert max(Counter((row["user_id"], row["item_id"]) for row in found).values()) == 1


@pytest.mark.parametrize(
    ("split", "split_settings"),
    [("leave-one-out", {}), ("temporal", {"validation_fraction": 0.2, "test_fraction": 0.2})],
)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_held_out_reviews_change_no_training_sentence(
    split: str, split_settings: dict[str, float], data: st.DataObject
):
    """Whatever users write about held-out items, the training sentences and their features are the same."""
    rows = reviewed(8)
    corpus = corpus_of(rows)
    before = choose_explanations(corpus, split=split, split_settings=split_settings, **SMALL)
    divided = corpus.split(split, **split_settings)
    held_out = {
        (divided.train.user_ids[user], divided.train.item_ids[item])
        for user in range(divided.train.num_users)
        for item in divided.later[user].tolist()
    }
    assert len(held_out) >= 10
    new = ["The zither of the zither.", "A zither for the zither is great.", "STRAP! strap; Strap."]
    text = st.sampled_from([*TEXTS, *new])
    other = [
        (user, item, time, data.draw(text) if (user, item) in held_out else review) for user, item, time, review in rows
    ]
    after = choose_explanations(corpus_of(other), split=split, split_settings=split_settings, **SMALL)
    assert list(after.split(split, **split_settings).train.explanations) == list(
        before.split(split, **split_settings).train.explanations
    )
    assert after.steps[-1].counts["features"] == before.steps[-1].counts["features"]
    assert "zither" not in {row["feature"] for row in table(after)}


def test_training_reviews_do_change_them():
    """So that the test above can fail."""
    rows = reviewed(8)
    before = choose_explanations(corpus_of(rows), **SMALL)
    other = [(user, item, time, review.replace("tone", "zither")) for user, item, time, review in rows]
    assert {row["feature"] for row in table(choose_explanations(corpus_of(other), **SMALL))} == {
        row["feature"].replace("tone", "zither") for row in table(before)
    }


def test_an_opinion_can_be_required():
    found = choose_explanations(corpus_of(reviewed()), **SMALL | {"require_opinion": True})
    opinions = ("great", "like", "warm", "fair", "thin", "soft", "love", "short")
    assert all(any(opinion in row["explanation"].lower() for opinion in opinions) for row in table(found))
    none = ["The tone of the tone it is."] * 3
    with pytest.raises(ValueError, match="no sentence could be chosen"):
        choose_explanations(corpus_of(reviewed(texts=none)), **SMALL | {"require_opinion": True})


def test_sentences_about_held_out_items_are_held_out():
    found = choose_explanations(corpus_of(reviewed(12)), **SMALL)
    split = found.split()
    for part in ("validation", "test"):
        assert len(split.explanations(part)) == found.steps[-1].counts[f"{part} sentences"] > 0
        assert all(sentence.item == split.target(sentence.user, part) for sentence in split.explanations(part))
    assert len(split.train.explanations) == found.steps[-1].counts["train sentences"] > 0
    for sentence in split.train.explanations:
        assert sentence.item not in split.later[sentence.user]


def test_an_item_taken_again_and_held_out_is_not_learnt_from():
    """The first of ann's reviews is in the training part, but its item is her test item."""
    base = [(f"u{user}", item, 1, "The tone is great.") for user in range(4) for item in ("mic", "amp")]
    ann = [
        ("ann", "mic", 1, "The zither is great."),
        ("ann", "amp", 2, ""),
        ("ann", "bag", 3, ""),
        ("ann", "mic", 4, ""),
    ]
    found = choose_explanations(corpus_of([*base, *ann]), **SMALL | {"min_reviews": 1})
    assert {row["feature"] for row in table(found)} == {"tone"}


def test_sentences_that_a_user_wrote_in_training_too_are_dropped_from_evaluation():
    rows = [("ann", item, time, "The tone is great.") for time, item in enumerate(("mic", "amp", "bag", "cup"))]
    rows += [("bob", item, time, "The tone is warm.") for time, item in enumerate(("mic", "amp"))]
    corpus = corpus_of(rows)
    dropped, kept = (choose_explanations(corpus, **SMALL | {"repeated": rule}) for rule in ("drop", "keep"))
    counted = "held-out sentences that the user wrote in training too"
    assert (dropped.steps[-1].counts[counted], kept.steps[-1].counts[counted]) == (2, 2)
    assert [row["item_id"] for row in table(dropped)] == ["mic", "amp", "mic", "amp"]
    assert [row["item_id"] for row in table(kept)] == ["mic", "amp", "bag", "cup", "mic", "amp"]


def test_titles_count_as_one_more_review():
    rows = [(f"u{user}", "mic", 1, "The tone is the tone, the price of it is low.") for user in range(2)]
    rows = [*rows, ("u2", "mic", 1, "I see the price. I see the tone.")]
    options = SMALL | {"opinion_weight": 0.0}
    plain = choose_explanations(corpus_of(rows, {"mic": "The Tone Maker"}), **options | {"item_words": False})
    helped = choose_explanations(corpus_of(rows, {"mic": "The Tone Maker"}), **options)
    assert [table(found)[-1]["feature"] for found in (plain, helped)] == ["price", "tone"]


def test_the_same_call_gives_the_same_table():
    corpus = corpus_of(reviewed(20))
    assert choose_explanations(corpus, **SMALL).fingerprint == choose_explanations(corpus, **SMALL).fingerprint


def test_explanations_that_were_there_are_replaced_and_steps_go_on():
    before = corpus_of(reviewed())
    once = choose_explanations(before, **SMALL)
    twice = choose_explanations(once, **SMALL)
    assert twice.fingerprint == once.fingerprint
    assert [step.name for step in twice.steps][-2:] == ["explanations from reviews"] * 2


def test_corpora_without_text_are_refused():
    with pytest.raises(ValueError, match="'hand-made' has no reviews .* lack the column 'review'"):
        choose_explanations(hand_made_corpus())
    with pytest.raises(ValueError, match="has no reviews .* all are empty"):
        choose_explanations(corpus_of(reviewed(texts=[" ", ""])))
    with pytest.raises(ValueError, match="no sentence could be chosen from the 24 reviews .* lower min_reviews"):
        choose_explanations(corpus_of(reviewed(texts=["Fine."])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_word": 20}, "there is no option 'max_word' for explanations; there are min_words, max_words"),
        ({"min_words": 0}, "min_words must be at least 1, got 0"),
        ({"max_words": 3}, "max_words must be at least 4, got 3"),
        ({"min_reviews": 0}, "min_reviews must be at least 1, got 0"),
        ({"max_share": 1.5}, "max_share must be above 0 and at most 1, got 1.5"),
        ({"min_noun_share": 0.0}, "min_noun_share must be above 0 and at most 1, got 0.0"),
        ({"strength": 0.0}, "strength must be above 0, got 0.0"),
        ({"opinion_weight": -1.0}, "opinion_weight must not be negative, got -1.0"),
        ({"repeated": "yes"}, "repeated must be 'drop' or 'keep', got 'yes'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        choose_explanations(corpus_of(reviewed()), **options)


def test_another_split_or_other_interactions_are_found():
    corpus = corpus_of(reviewed(8))
    found = choose_explanations(corpus, **SMALL)
    assert explanations_problem(corpus, corpus.split()) is None
    assert explanations_problem(found, found.split()) is None
    cuts = {"validation_fraction": 0.2, "test_fraction": 0.2}
    assert "the corpus is split by {'split': 'temporal'" in str(
        explanations_problem(found, found.split("temporal", **cuts))
    )
    rows = found.interactions.select(range(1, 32))
    fewer = replace(found, tables=DatasetDict({**found.tables, "interactions": rows}))
    assert "the interactions are not those" in str(explanations_problem(fewer, fewer.split()))
    temporal = choose_explanations(corpus, split="temporal", split_settings=cuts, **SMALL)
    assert explanations_problem(temporal, temporal.split("temporal", **cuts)) is None
    without = found.interactions.remove_columns("review")
    slim = replace(found, tables=DatasetDict({**found.tables, "interactions": without}))
    assert explanations_problem(slim, slim.split()) is None


@pytest.mark.parametrize(
    ("corpus", "least_share", "most_repeated"),
    [
        (("amazon-2014", "amazon-2014-raw", {}), 0.8, 10),
        (("amazon-2018", "amazon-2018-raw", {"category": "All_Beauty"}), 0.35, 1500),
    ],
    ids=["instruments", "beauty"],
)
def test_real_reviews(corpus: tuple[str, str, dict[str, str]], least_share: float, most_repeated: int):
    name, folder, options = corpus
    read = load_corpus(name, real_data(folder), **options)
    found = read.with_explanations()
    rows, counts = table(found), found.steps[-1].counts
    assert len(rows) / len(read.interactions) >= least_share
    # Counted in another way: in a training review, by the same user, word for word.
    split = read.with_explanations(repeated="keep").split()
    of = {(row["user_id"], row["item_id"]): row["review"] for row in read.interactions}
    users, items = split.train.user_ids, split.train.item_ids
    wrote = [
        " ".join(" ".join(html.unescape(of[users[user], items[item]]).split()) for item in split.train.sequences[user])
        for user in range(split.train.num_users)
    ]
    held_out = [*split.explanations("validation"), *split.explanations("test")]
    repeated = sum(sentence.text in wrote[sentence.user] for sentence in held_out)
    # A sentence may also stand in a longer one.
    assert repeated - 50 <= counts["held-out sentences that the user wrote in training too"] <= repeated
    assert repeated <= most_repeated
    for row in rows:
        assert row["feature"] in row["explanation"].lower()
        assert 4 <= len(re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|\d+", row["explanation"])) <= 20
