"""Allowed items, unknown users and items, probabilities, streams, adapters and threads."""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

from peft_pod.corpus import load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import GenerationSettings, Recommender, UserRecommendations
from peft_pod.generation.adapter_turns import AdapterTurns
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODCollator, PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer

from ..corpora import hand_made_corpus
from .test_recommender import MODES, make_recommender, score_by_hand


@pytest.fixture(scope="module")
def split():
    return hand_made_corpus().split()


@pytest.fixture(scope="module")
def recommender(split):
    return make_recommender(split)


def ids(found):
    return [entry.item_id for entry in found]


def same(found, expected):
    assert ids(found) == ids(expected)
    assert [entry.score for entry in found] == pytest.approx([entry.score for entry in expected], abs=1e-4)


# Allowed items


def test_allowed_items_are_those_of_the_whole_list(recommender):
    everything = recommender.recommend("cat", k=6)
    assert sorted(ids(everything)) == list("abcf")
    same(
        recommender.recommend("cat", k=6, allowed_items=["f", "d", "a", "f"]),
        [entry for entry in everything if entry.item_id in "af"],
    )
    kept = recommender.recommend("cat", k=6, allowed_items=["a", "d"], exclude_seen=False)
    assert sorted(ids(kept)) == ["a", "d"]
    both = recommender.recommend(["cat", "bob"], k=1, allowed_items=["a", "e"])
    assert [ids(found) for found in both] == [["a"], ["e"]]


def test_engine_combines_allowed_items_candidates_and_exclusions(recommender):
    from dataclasses import replace

    sample = recommender.processor.task("sequential").query(0, [1])
    sample = replace(sample, candidates=[1, 2, 3, 5])
    found = recommender.engine.find_items([sample], "sequential", k=6, only=[0, 1, 2, 5])
    assert sorted(item for item in found.items[0].tolist() if item >= 0) == [2, 5]
    with pytest.raises(ValueError, match="no item at position 6: there are 6 items"):
        recommender.engine.find_items([sample], "sequential", k=6, only=[6])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.recommend("cat", allowed_items="ab"), "allowed_items must be a list of item IDs, got the string"),
        (lambda r: r.recommend("cat", allowed_items=[]), "allowed_items is empty"),
        (lambda r: r.recommend("cat", allowed_items=["a", "x", "y"]), "names 2 items that are not .* such as 'x'"),
        (lambda r: r.recommend(["bob", "cat"], allowed_items=["d"]), "nothing is left to recommend to user 'cat'"),
        (lambda r: r.recommend("dan", ["a"], unknown_users="guess"), r"unknown_users must be one of .*, got 'guess'"),
        (lambda r: r.recommend("ann", ["a"], unknown_items="drop"), r"unknown_items must be one of .*, got 'drop'"),
        (lambda r: r.recommend("dan", unknown_users="history"), "user 'dan' is unknown and there is no history"),
        (lambda r: r.recommend(7, ["a"], unknown_users="history"), "user 7 is not a string"),
        (lambda r: r.recommend("ann", ["x", "y"], unknown_items="skip"), "history of user 'ann': .* none of its 2"),
        (lambda r: r.rank("dan", ["a"], unknown_users="history"), "'topn' cannot be asked without a user"),
        (lambda r: r.rank("ann", ["x"], ["a"], unknown_items="skip"), "item 'x' is not in the catalogue"),
        (lambda r: r.recommend_each({"user": "ann"}), "rows must be a list or stream of dictionaries"),
        (lambda r: r.recommend_each([], chunk_size=0), "chunk_size must be a positive whole number, got 0"),
        (lambda r: r.recommend_each([], k=0), "k must be a positive whole number, got 0"),
        (lambda r: list(r.recommend_each([{"user": "ann"}, {"name": 1}])), r"row 1: it has no 'user', only \['name'\]"),
        (lambda r: list(r.recommend_each([{"user": "dan"}])), "row 0: user 'dan' is not among"),
        (lambda r: list(r.recommend_each(["ann"])), "row 0: it must be a dictionary"),
        (lambda r: list(r.recommend_each([{"user": "ann", "history": "a"}])), "row 0: history must be a list"),
    ],
)
def test_bad_questions_are_named(recommender, call, message):
    with pytest.raises(ValueError, match=message):
        call(recommender)


def test_a_list_of_150_equals_exhaustive_scoring():
    split = load_corpus("embedded", num_users=20, num_items=300).split()
    indexing = load_indexing("random").fit(split.train)
    task = load_task("sequential")
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, [task], vocabulary_size=400, id_tokens="pieces")
    processor = PODProcessor(tokenizer, indexing, [task])
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2, train_base=True)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    recommender = Recommender(model.eval(), processor, Catalogue.from_split(split), GenerationSettings(item_beams=300))
    user = split.train.user_ids[4]
    history = split.all_items(4)
    collate = PODCollator(tokenizer.pad_token_id)
    from dataclasses import replace

    encoded = [processor(replace(task.query(4, history), target_item=item), "sequential") for item in range(300)]
    batch = collate(encoded)
    with torch.no_grad():
        logits = model(**batch).logits.log_softmax(-1)
    token_scores = logits.gather(-1, batch["labels"].clamp(min=0)[..., None]).squeeze(-1)
    scores = token_scores.masked_fill(batch["labels"] < 0, 0.0).sum(-1).double().numpy()
    scores[list(history)] = -np.inf
    order = np.argsort(-scores, kind="stable")[:150]
    found = recommender.recommend(user, k=150)
    assert len(set(ids(found))) == 150
    assert [entry.score for entry in found] == pytest.approx(scores[order], abs=1e-3)
    positions = [split.train.item_ids.index(item) for item in ids(found)]
    assert scores[positions] == pytest.approx(scores[order], abs=1e-3)  # ties may stand in either order


# Unknown users and items


def test_a_stranger_is_asked_about_without_a_name(recommender, split):
    found = recommender.recommend("dan", ["a", "b"], k=6, unknown_users="history")
    processor = recommender.processor
    sample = processor.task("sequential").query(-1, [0, 1])
    encoded = processor(sample, "sequential")
    named = processor(processor.task("sequential").query(0, [0, 1]), "sequential")
    assert processor.text(sample) == " ".join(map(processor.indexing.item_word, [0, 1]))
    # The items stand in the places that they have beside a name: the second and the third ID.
    assert sorted(set(encoded["whole_word_ids"])) == [0, 2, 3]
    assert encoded["whole_word_ids"] == [word for word in named["whole_word_ids"] if word != 1]
    scores = {item: score_by_hand(recommender, sample, "sequential", item) for item in range(2, 6)}
    expected = sorted(scores, key=scores.get, reverse=True)
    assert ids(found) == [split.train.item_ids[item] for item in expected]
    assert [entry.score for entry in found] == pytest.approx([scores[item] for item in expected], abs=1e-4)
    ranked = recommender.rank("dan", list("cdef"), ["a", "b"], unknown_users="history")
    same(ranked, found)
    known = recommender.recommend("ann", ["a", "b"], k=6)
    assert recommender.recommend("ann", ["a", "b"], k=6, unknown_users="history") == known
    assert [entry.score for entry in known] != [entry.score for entry in found]


def test_unknown_items_are_skipped_and_said_once(recommender):
    expected = recommender.recommend(["ann", "bob"], [["a", "b"], ["c"]], k=3)
    with pytest.warns(UserWarning, match=r"^4 items of the histories of 2 users .*: 'w', 'x', 'y', \.\.\.") as said:
        found = recommender.recommend(
            ["ann", "bob"], [["w", "a", "x", "b"], ["c", "y", "z"]], k=3, unknown_items="skip"
        )
    assert len(said) == 1
    assert said[0].filename == __file__
    for one, other in zip(found, expected, strict=True):
        same(one, other)
    with pytest.raises(ValueError, match="item 'w' is not in the catalogue"):
        recommender.recommend("ann", ["w", "a"])


def test_skipped_items_of_a_user_who_stands_twice_are_all_counted(recommender):
    with pytest.warns(
        UserWarning, match=r"^3 items of the histories of 2 users .*: 'x', 'y', 'z' \(first of user 'bob'"
    ):
        recommender.recommend(["bob", "ann", "bob"], [["x", "a"], ["y", "b"], ["c", "z"]], k=1, unknown_items="skip")


# Lists of users


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.recommend(["bob", "ann", "cat"], [["a"], [], ["b"]]), r"user\[1\], 'ann': the history is empty"),
        (
            lambda r: r.recommend(["bob", "ann"], [["a"], ["new"]]),
            r"user\[1\], 'ann': item 'new' is not in the catalogue",
        ),
        (
            lambda r: r.recommend(["bob", "bob"], [["a"], ["a", 7]]),
            r"user\[1\], 'bob': history holds 7, which is not a str",
        ),
        (
            lambda r: r.recommend(["bob", "ann"], [["a"], 7]),
            r"user\[1\], 'ann': history must be a list of item IDs, got 7",
        ),
        (lambda r: r.recommend(["bob", "ann"], 7), "history must be a list of lists of item IDs, got 7"),
        (lambda r: r.recommend(["bob", "dan"]), r"user\[1\], 'dan': user 'dan' is not among the 3 users"),
        (lambda r: r.recommend([["bob"]]), r"user\[0\], \['bob'\]: user \['bob'\] is not among .*; IDs are strings"),
        (lambda r: r.rank(["bob", "ann"], [["a"], ["new"]]), r"user\[1\], 'ann': item 'new' is not in the catalogue"),
        (lambda r: r.rank(["bob", "ann"], [["a"], ["b", "b"]]), r"user\[1\], 'ann': candidates names an item twice"),
        (
            lambda r: r.rank(["bob", "ann"], [["a"], None]),
            r"user\[1\], 'ann': candidates must be a list of item IDs, got",
        ),
        (lambda r: r.rank(["bob", "dan"], [["a"], ["b"]]), r"user\[1\], 'dan': user 'dan' is not among"),
        (lambda r: r.explain(["bob", "ann"], ["a", "new"]), r"user\[1\], 'ann': item 'new' is not in the catalogue"),
        (lambda r: r.explain(["bob", "ann"], ["a", ["b"]]), r"user\[1\], 'ann': item \['b'\] is not in the catalogue"),
        # One user needs no name.
        (
            lambda r: r.recommend("ann", [["a"]]),
            r"^history holds \['a'\], which is not a string; IDs of items are strings",
        ),
        (lambda r: r.recommend("ann", float("nan")), "^history must be a list of item IDs, got nan"),
        (lambda r: r.recommend("ann", ["a", 7], unknown_items="skip"), "^history holds 7, which is not a string"),
        (lambda r: r.recommend("ann", k=True), "^k must be a positive whole number, got True"),
        (lambda r: r.recommend("ann", k=2.0), "^k must be a positive whole number, got 2.0"),
        (lambda r: r.recommend("ann", allowed_items=[["a"]]), r"^allowed_items holds \['a'\], which is not a string"),
        (
            lambda r: list(r.recommend_each([{"user": "ann"}, {"user": "bob", "history": float("nan")}])),
            "^row 1: history",
        ),
        (lambda r: list(r.recommend_each([{"user": ["ann"]}])), r"^row 0: user \['ann'\] is not among the 3 users"),
    ],
)
def test_whose_fault_it_is(recommender, call, message):
    with pytest.raises(ValueError, match=message):
        call(recommender)


@pytest.mark.parametrize("kind", [tuple, np.array, lambda ids: pd.Series(ids, index=range(3, 3 + len(ids)))])
def test_tuples_arrays_and_columns_are_lists(recommender, kind):
    users, history = ["ann", "bob"], ["a", "b"]
    expected = recommender.recommend(users, [history, history], k=3)
    assert recommender.recommend(kind(users), [kind(history), kind(history)], k=np.int64(3)) == expected
    assert recommender.recommend(kind(users), kind([history, history]), k=3) == expected
    ranked = recommender.rank("ann", kind(list("cde")), kind(history), k=np.int32(2))
    assert ranked == recommender.rank("ann", list("cde"), history, k=2)
    assert recommender.explain(kind(users), kind(history)) == recommender.explain(users, history)
    allowed = recommender.recommend("cat", k=3, allowed_items=kind(list("abf")))
    assert allowed == recommender.recommend("cat", k=3, allowed_items=list("abf"))


# Probabilities


def test_probabilities_are_over_all_candidates(recommender):
    found = recommender.rank(["ann", "bob"], [["a", "b", "c", "f"], ["d", "e"]])
    for ranked in found:
        weights = np.exp([entry.score for entry in ranked])
        assert [entry.probability for entry in ranked] == pytest.approx(weights / weights.sum(), rel=1e-6)
        assert sum(entry.probability for entry in ranked) == pytest.approx(1)
    best = recommender.rank("ann", ["a", "b", "c", "f"], k=2)
    assert [entry.probability for entry in best] == pytest.approx([entry.probability for entry in found[0][:2]])
    assert recommender.rank("ann", ["c"])[0].probability == 1.0
    assert all(entry.probability is None for entry in recommender.recommend("cat"))


# Streams


@pytest.mark.parametrize("kind", ["list", "generator", "dataset", "iterable dataset"])
def test_a_stream_equals_one_by_one(recommender, kind):
    table = [
        {"user": "cat", "history": None},
        {"user": "ann", "history": ["f", "a"]},
        {"user": "bob", "history": ["c", "new"]},
        {"user": "dan", "history": ["a"]},
        {"user": "bob", "history": None},
    ]
    rows = {
        "list": lambda: table,
        "generator": lambda: (row for row in table),
        "dataset": lambda: Dataset.from_list(table),
        "iterable dataset": lambda: Dataset.from_list(table).to_iterable_dataset(),
    }[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = list(recommender.recommend_each(rows, k=2, unknown_users="history", unknown_items="skip", chunk_size=2))
    assert [result.user for result in found] == [row["user"] for row in table]
    assert [result.skipped for result in found] == [(), (), ("new",), (), ()]
    assert all(isinstance(result, UserRecommendations) for result in found)
    for row, result in zip(table, found, strict=True):
        history = row["history"] and [item for item in row["history"] if item != "new"]
        same(result.items, recommender.recommend(row["user"], history, k=2, unknown_users="history"))


def test_rows_are_read_as_they_are_needed(recommender):
    read = []

    def rows():
        while True:  # without an end
            read.append(len(read))
            yield {"user": "ann"}

    stream = recommender.recommend_each(rows(), k=1, chunk_size=3)
    assert read == []
    for _ in range(3):
        next(stream)
    assert len(read) == 3
    next(stream)
    assert len(read) == 6


@pytest.mark.parametrize(("rows", "shown"), [(list, "3/3"), (iter, "3row")])
def test_progress_knows_its_end_where_rows_have_a_length(split, capsys, rows, shown):
    recommender = make_recommender(split)
    recommender.engine.show_progress = True
    list(recommender.recommend_each(rows([{"user": "ann"}, {"user": "bob"}, {"user": "cat"}]), k=1, chunk_size=2))
    bars = capsys.readouterr().err
    assert shown in bars.replace(" ", "")
    assert "sequential" not in bars  # one bar, not one more for each chunk


# Several adapters of one base, and threads


def two_on_one_base(split, tmp_path, mode):
    first = make_recommender(split, mode)
    first.save_pretrained(tmp_path / "first")
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in first.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.5)
    first.save_pretrained(tmp_path / "second")
    one = Recommender.from_pretrained(tmp_path / "first")
    two = Recommender.from_pretrained(tmp_path / "second", base_model=one.model, adapter="second")
    assert two.model is one.model
    return one, two, [Recommender.from_pretrained(tmp_path / name) for name in ("first", "second")]


@pytest.mark.parametrize("mode", ["frozen", "lora", "nothing in front"])
def test_two_adapters_answer_as_each_would_alone(split, tmp_path, mode):
    one, two, alone = two_on_one_base(split, tmp_path, mode)
    before = [parameter.requires_grad for parameter in one.model.parameters()]
    answers = []
    for shared, own in zip((one, two), alone, strict=True):
        same(shared.recommend("ann", ["a"], k=5), own.recommend("ann", ["a"], k=5))
        same(shared.rank("bob", list("abc")), own.rank("bob", list("abc")))
        assert shared.explain("cat", "f") == own.explain("cat", "f")
        answers.append([entry.score for entry in shared.recommend("ann", ["a"], k=5)])
    assert answers[0] != pytest.approx(answers[1], abs=1e-3)
    assert one.model.active_adapter == "default"
    assert [parameter.requires_grad for parameter in one.model.parameters()] == before
    two.save_pretrained(tmp_path / "again")
    again = Recommender.from_pretrained(tmp_path / "again")
    same(again.recommend("ann", ["a"], k=5), two.recommend("ann", ["a"], k=5))


def test_adapters_that_cannot_be_chosen(split, tmp_path):
    one, _, _ = two_on_one_base(split, tmp_path, "frozen")
    with pytest.raises(ValueError, match=r"adapter is missing: the model has 2, \['default', 'second'\]"):
        Recommender(one.model, one.processor, one.catalogue)
    with pytest.raises(ValueError, match="adapter 'third' is not among"):
        Recommender(one.model, one.processor, one.catalogue, adapter="third")
    with pytest.raises(ValueError, match="has an adapter 'second' already"):
        Recommender.from_pretrained(tmp_path / "second", base_model=one.model, adapter="second")
    full = make_recommender(split, "full")
    with pytest.raises(ValueError, match="train_base=True"):
        Recommender.from_pretrained(tmp_path / "second", base_model=full.model, adapter="second")


def questions(recommender):
    return [
        lambda: ids(recommender.recommend("ann", ["a", "b"], k=4)),
        lambda: ids(recommender.recommend(["bob", "cat", "ann"], [["c"], ["d"], ["e"]], k=3)[1]),
        lambda: ids(recommender.rank("bob", ["e", "a", "c", "f"])),
        lambda: ids(recommender.rank("cat", ["a", "c", "b"], ["f"])),
        lambda: recommender.explain("ann", "a", max_tokens=6),
        lambda: [ids(result.items) for result in recommender.recommend_each([{"user": "bob"}, {"user": "cat"}], k=2)],
    ]


@pytest.mark.parametrize("mode", list(MODES))
def test_threads_get_what_one_after_the_other_gets(split, tmp_path, mode):
    if MODES[mode].get("train_base"):
        asked = questions(make_recommender(split, mode))
    else:
        one, two, _ = two_on_one_base(split, tmp_path, mode)
        asked = [question for pair in zip(questions(one), questions(two), strict=True) for question in pair]
    expected = [question() for question in asked]
    rounds = 4
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda question: question(), asked * rounds))
    assert found == expected * rounds


class Switched:
    """Stands for a model: it notes who is active."""

    def __init__(self):
        self.active_adapter = "a"
        self.peft_config = {"a": None, "b": None}

    def parameters(self):
        return []

    def set_adapter(self, name, inference_mode=False):
        self.active_adapter = name


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited for ten seconds"
        time.sleep(0.001)


def test_turns_let_the_same_adapter_in_together_and_others_in_order():
    model, turns = Switched(), AdapterTurns()
    together = threading.Barrier(2, timeout=10)
    entered = []
    leave = threading.Event()

    def use(adapter, barrier=False):
        with turns.turn(model, adapter):
            entered.append((adapter, model.active_adapter))
            if barrier:
                together.wait()  # both are inside at once
                leave.wait(10)

    first = [threading.Thread(target=use, args=("a", True)) for _ in range(2)]
    for thread in first:
        thread.start()
    wait_until(lambda: len(entered) == 2)
    other = threading.Thread(target=use, args=("b",))
    other.start()
    wait_until(lambda: turns._waiting)
    late = threading.Thread(target=use, args=("a",))  # it could go in at once, but `b` was here before
    late.start()
    time.sleep(0.05)
    assert entered == [("a", "a"), ("a", "a")]
    leave.set()
    for thread in (*first, other, late):
        thread.join(10)
        assert not thread.is_alive()
    assert entered[2:] == [("b", "b"), ("a", "a")]
    assert model.active_adapter == "a"


def test_a_turn_ends_with_an_error_too():
    model, turns = Switched(), AdapterTurns()
    with pytest.raises(KeyError), turns.turn(model, "b"):
        raise KeyError
    with pytest.raises(ValueError, match="has no adapter 'gone' any more"), turns.turn(model, "gone"):
        pass
    with turns.turn(model, "b"):
        assert model.active_adapter == "b"
    assert model.active_adapter == "a"
