from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import Corpus, Step
from peft_pod.corpus.prepare import PrepareOptions
from tests.corpora import hand_made_corpus

COLUMNS = ("user_id", "item_id", "timestamp", "rating", "review")
Row = tuple[str, str, int, float | None, str]


def corpus_of(
    rows: list[Row], items: str = "abcdef", sentences: list[tuple[str, str]] | None = None, columns: int = 5
) -> Corpus:
    tables = {
        "interactions": Dataset.from_dict(
            {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS[:columns])}
        ),
        "items": Dataset.from_dict({"item_id": list(items), "title": [f"Title {item}" for item in items]}),
    }
    if sentences is not None:
        tables["explanations"] = Dataset.from_dict(
            {
                "user_id": [user for user, _ in sentences],
                "item_id": [item for _, item in sentences],
                "explanation": [f"{user} likes {item}" for user, item in sentences],
                "feature": [""] * len(sentences),
            }
        )
    return Corpus.from_tables("small", tables)


def rows_of(corpus: Corpus) -> list[tuple[Any, ...]]:
    table = corpus.interactions
    return list(zip(*(table[name][:] for name in table.column_names), strict=True))


def test_exact_duplicates_are_equal_in_every_column():
    rows: list[Row] = [
        ("u", "a", 1, 5.0, "good"),
        ("u", "a", 1, 4.0, "good"),  # another rating
        ("u", "a", 1, 5.0, "good"),  # a duplicate of row 0, with another row between
        ("u", "a", 2, 5.0, "good"),  # another time
        ("v", "a", 1, 5.0, "good"),  # another user
        ("u", "a", 1, None, "good"),
        ("u", "a", 1, None, "good"),  # a duplicate: no rating twice
        ("u", "a", 1, 5.0, "bad"),  # another review
    ]
    corpus = corpus_of(rows)
    prepared = corpus.deduplicate()
    assert rows_of(prepared) == [rows[place] for place in (0, 1, 3, 4, 5, 7)]
    assert prepared.steps == (Step("drop duplicates", {}, {"exact duplicates dropped": 2}),)
    assert rows_of(corpus) == rows, "the corpus it was made of is as it was"
    assert rows_of(prepared.deduplicate()) == rows_of(prepared)


@pytest.mark.parametrize(("repeats", "kept"), [("keep", [0, 1, 2, 3, 4]), ("first", [1, 2, 3]), ("last", [0, 2, 3])])
def test_repeats_go_by_time_then_by_row(repeats: str, kept: list[int]):
    rows: list[Row] = [
        ("u", "a", 3, 2.0, ""),
        ("u", "a", 1, 4.0, ""),
        ("u", "b", 2, 1.0, ""),
        ("v", "a", 2, 1.0, ""),
        ("u", "a", 2, 1.0, ""),
    ]
    prepared = corpus_of(rows).deduplicate(repeats=repeats)
    assert rows_of(prepared) == [rows[place] for place in kept]
    tied = [("u", "a", 3, 2.0, ""), ("u", "a", 3, 4.0, "")]
    if repeats != "keep":
        assert prepared.steps[-1].counts == {"repeated interactions of a user with an item dropped": 2}
        assert rows_of(corpus_of(tied).deduplicate(repeats=repeats)) == [tied[0 if repeats == "first" else 1]]


def test_rating_threshold():
    rows: list[Row] = [("u", "a", 1, 3.0, ""), ("u", "b", 2, 2.9, ""), ("u", "c", 3, None, ""), ("u", "d", 4, 5.0, "")]
    prepared = corpus_of(rows).min_rating(3)
    assert rows_of(prepared) == [rows[0], rows[3]]
    assert prepared.steps[-1] == Step(
        "rating threshold",
        {"min_rating": 3.0},
        {"interactions with a lower rating dropped": 1, "interactions without a rating dropped": 1},
    )
    with pytest.raises(ValueError, match=r"min_rating is 3\.0, but the corpus has no ratings"):
        corpus_of(rows, columns=3).min_rating(3)


def test_the_last_opinion_counts():
    """Repeats are dropped before ratings are looked at: the item that `u` came to dislike is gone."""
    rows: list[Row] = [("u", "a", 1, 5.0, ""), ("u", "a", 2, 1.0, ""), ("u", "b", 3, 5.0, "")]
    assert rows_of(corpus_of(rows).prepare(repeats="last", min_rating=3)) == [rows[2]]
    assert rows_of(corpus_of(rows).prepare(repeats="first", min_rating=3)) == [rows[0], rows[2]]


def test_k_core_by_hand():
    """`w` has one item; without `w`, `c` has one user; without `c`, `v` has one item, and so on: u and x, a and b stay.

    A sentence stays where its interaction does.
    """
    taken = {"u": "ab", "x": "abd", "v": "dc", "w": "c"}
    rows: list[Row] = [(user, item, time, 1.0, "") for user, items in taken.items() for time, item in enumerate(items)]
    sentences = [("u", "a"), ("x", "d"), ("w", "c"), ("x", "b")]
    prepared = corpus_of(rows, sentences=sentences).k_core(users=2, items=2)
    assert [(row[0], row[1]) for row in rows_of(prepared)] == [("u", "a"), ("u", "b"), ("x", "a"), ("x", "b")]
    assert prepared.items["item_id"][:] == ["a", "b"]
    assert prepared.explanations is not None
    assert prepared.explanations["explanation"][:] == ["u likes a", "x likes b"]
    assert prepared.steps == (
        Step(
            "k-core",
            {"users": 2, "items": 2},
            {
                "interactions dropped": 4,
                "users dropped": 2,
                "items dropped from the catalogue": 4,
                "rounds": 4,
                "explanations without an interaction dropped": 2,
            },
        ),
    )


def test_thresholds_of_their_own():
    rows = [("u", item, time, 1.0, "") for time, item in enumerate("abc")] + [("v", "a", 9, 1.0, "")]
    corpus = corpus_of(rows)
    assert {row[0] for row in rows_of(corpus.k_core(users=3, items=0))} == {"u"}
    assert corpus.k_core(users=3, items=0).items["item_id"][:] == list("abcdef"), "no threshold, no item dropped"
    assert rows_of(corpus.k_core(users=0, items=2)) == [rows[0], rows[3]]


def test_nothing_left_is_an_error_that_names_the_thresholds():
    with pytest.raises(ValueError, match=r"no interaction of corpus 'hand-made' is left after 'k-core' with users=9"):
        hand_made_corpus().k_core(users=9, items=1)


def test_unused_items_stay_unless_dropped():
    corpus = corpus_of([("u", "b", 0, 1.0, ""), ("u", "d", 1, 1.0, "")])
    assert corpus.items["item_id"][:] == list("abcdef")
    prepared = corpus.drop_unused_items()
    assert prepared.items["item_id"][:] == ["b", "d"]
    assert prepared.items["title"][:] == ["Title b", "Title d"]
    assert prepared.steps[-1].counts == {"items without an interaction dropped from the catalogue": 4}
    assert prepared.split().train.item_ids == ["b", "d"]


def test_without_the_last_the_test_part_is_the_validation_part_of_the_whole():
    rows: list[Row] = [(user, item, 1, 1.0, "") for user in "uv" for item in "fdbeca"]  # the table's order decides
    whole = corpus_of(rows)
    split, shorter = whole.split(), whole.prepare(drop_last=1)
    assert shorter.steps[-1] == Step(
        "drop last", {"interactions": 1}, {"interactions dropped": 2, "users without an interaction left": 0}
    )
    assert shorter.split().test_items.tolist() == split.validation_items.tolist()
    for user in range(2):
        assert shorter.split().history(user, "test").tolist() == split.history(user, "validation").tolist()
    few = corpus_of([*rows, ("w", "a", 9, 1.0, "")]).prepare(drop_last=1)
    assert few.steps[-1].counts == {"interactions dropped": 3, "users without an interaction left": 1}


def test_steps_follow_those_before_and_stay_with_the_corpus(tmp_path):
    read = Step("read", {}, {"lines": 11})
    corpus = Corpus.from_tables("x", hand_made_corpus().tables, [read])
    prepared = corpus.prepare(drop_duplicates=True, k_core_users=2, k_core_items=1, drop_unused_items=True)
    assert [step.name for step in prepared.steps] == ["read", "drop duplicates", "k-core", "drop unused items"]
    assert prepared.fingerprint == corpus.fingerprint, "nothing was dropped, so the data are the same"
    assert corpus.k_core(4, 1).fingerprint != corpus.fingerprint
    prepared.save_to_disk(tmp_path)
    assert Corpus.load_from_disk(tmp_path).steps == prepared.steps
    assert corpus.prepare() is corpus


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": "all"}, r"repeats must be one of \['keep', 'first', 'last'\], got 'all'"),
        ({"min_rating": float("nan")}, "min_rating must be a finite number or None, got nan"),
        ({"min_rating": "4"}, "min_rating must be a finite number or None, got '4'"),
        ({"k_core_users": -1}, "k_core_users must be a whole number from 0, got -1"),
        ({"k_core_items": 2.5}, "k_core_items must be a whole number from 0, got 2.5"),
        ({"drop_last": -1}, "drop_last must be a whole number from 0, got -1"),
        ({"kcore": 5}, "prepare has no option 'kcore'; its options are drop_duplicates, repeats"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        hand_made_corpus().prepare(**options)


short_rows = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.sampled_from("abc"),
        st.integers(0, 2),
        st.sampled_from([None, 1.0, 4.0]),
        st.sampled_from(["", "x"]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    short_rows,
    st.builds(
        PrepareOptions,
        drop_duplicates=st.booleans(),
        repeats=st.sampled_from(["keep", "first", "last"]),
        min_rating=st.sampled_from([None, 2.0]),
        k_core_users=st.integers(0, 2),
        k_core_items=st.integers(0, 2),
        drop_last=st.integers(0, 2),
        drop_unused_items=st.booleans(),
    ),
)
def test_equals_rules_applied_row_by_row(rows: list[Row], options: PrepareOptions):
    left = list(rows)
    if options.drop_duplicates:
        left = list(dict.fromkeys(left))
    if options.repeats != "keep":
        by_pair: dict[tuple[str, str], Row] = {}
        ordered = sorted(left, key=lambda row: row[2])
        for row in ordered if options.repeats == "last" else reversed(ordered):
            by_pair[row[0], row[1]] = row
        chosen = [id(row) for row in by_pair.values()]
        left = [row for row in left if id(row) in chosen]
    if options.min_rating is not None:
        left = [row for row in left if row[3] is not None and row[3] >= options.min_rating]
    while True:
        users, items = Counter(row[0] for row in left), Counter(row[1] for row in left)
        core = [r for r in left if users[r[0]] >= options.k_core_users and items[r[1]] >= options.k_core_items]
        if core == left:
            break
        left = core
    if options.drop_last:
        ordered = [sorted((row for row in left if row[0] == user), key=lambda row: row[2]) for user in "uvw"]
        last = {id(row) for rows_of_user in ordered for row in rows_of_user[-options.drop_last :]}
        left = [row for row in left if id(row) not in last]
    sentences = sorted({(row[0], row[1]) for row in rows})
    corpus = corpus_of(rows, sentences=sentences)
    arguments = {name: getattr(options, name) for name in PrepareOptions.__dataclass_fields__}
    if not left:
        with pytest.raises(ValueError, match="no interaction of corpus 'small' is left"):
            corpus.prepare(**arguments)
        return
    prepared = corpus.prepare(**arguments)
    assert rows_of(prepared) == left
    dropped = len(rows) - len(left)
    counts = [one for step in prepared.steps for one in step.counts.items()]
    counted = sum(count for rule, count in counts if rule.startswith(("exact", "repeated", "interactions")))
    assert counted == dropped
    if prepared.steps:
        assert prepared.explanations is not None
        pairs = set(zip(prepared.explanations["user_id"][:], prepared.explanations["item_id"][:], strict=True))
        assert pairs == {(row[0], row[1]) for row in left}
    if options.drop_unused_items:
        assert set(prepared.items["item_id"][:]) == {row[1] for row in left}
