"""Where the top-N task has its candidates, and the history in its input."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from peft_pod.corpus import Corpus
from peft_pod.corpus.candidates import draw_candidates
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor, train_tokenizer
from peft_pod.tasks import Field, TopNTask, load_task
from peft_pod.tuner import template_texts

from ..corpora import hand_made_corpus

KINDS = {
    ("prompt", 0): ["user", "candidates"],
    ("prompt", 2): ["user", "candidates", "history"],
    ("trie", 0): ["user"],
    ("trie", 2): ["user", "history"],
}


@pytest.fixture(scope="module")
def split():
    return hand_made_corpus().split()


def make(candidates_in, history_length, **options):
    return TopNTask(num_negatives=2, candidates_in=candidates_in, history_length=history_length, **options)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_input_holds_what_was_asked_for(kind):
    task = make(*kind)
    assert list(task.bare.fields) == KINDS[kind]
    assert all(isinstance(part, Field) for part in task.bare.parts)
    assert len({template.text for template in task.templates}) == 6
    for template in task.templates:
        assert sorted(template.fields) == sorted(KINDS[kind])
        assert len(template.parts) > len(task.bare.parts)
    drawn = {task.draw_template(np.random.default_rng(seed)) for seed in range(100)}
    assert drawn == {task.bare, *task.templates}


def test_texts_for_prompts_are_those_of_the_task_as_it_is():
    texts = template_texts([make(*kind) for kind in KINDS])
    assert len(set(texts)) == 4
    assert "who has" not in texts[2]
    assert "who has" in texts[3]


def test_options_are_kept_and_those_of_older_models_load():
    made = make("trie", 3, negatives="popularity", bare_probability=0.5)
    again = load_task("topn", **made.options())
    assert again.options() == made.options()
    assert again.bare == made.bare
    older = load_task("topn", num_negatives=9, negatives="uniform", bare_probability=None)
    assert (older.candidates_in, older.history_length, older.bare) == ("prompt", 0, TopNTask.bare)


def test_samples_of_the_paper_are_those_drawn_before_there_were_others(split):
    task = TopNTask(num_negatives=2)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        items = split.train.sequences[1]
        answer = int(items[rng.integers(len(items))])
        candidates = draw_candidates(answer, items, split.train, 2, "uniform", rng).tolist()
        template = (*task.templates, task.bare)[rng.integers(7)]
        sample = task.training_sample(split.train, 1, np.random.default_rng(seed))
        assert (sample.target_item, sample.items, sample.template) == (answer, {"candidates": candidates}, template)
        assert sample.candidates == candidates


def test_in_the_trie_training_draws_no_candidates(split, monkeypatch):
    monkeypatch.setattr("peft_pod.tasks.topn.draw_candidates", None)
    drawn: Counter[int] = Counter()
    for seed in range(300):
        sample = make("trie", 0).training_sample(split.train, 0, np.random.default_rng(seed))
        assert (sample.user, sample.items, sample.candidates) == (0, {}, None)
        drawn[sample.target_item] += 1
    assert set(drawn) == {0, 1, 2}  # a, b, c of ann
    assert min(drawn.values()) > 70


@pytest.mark.parametrize(
    ("length", "expected"), [(1, {((0,), 1), ((1,), 2)}), (5, {((0,), 1), ((0, 1), 2)})], ids=["one", "all"]
)
@pytest.mark.parametrize("candidates_in", ["prompt", "trie"])
def test_the_history_is_what_stood_before_the_answer(split, candidates_in, length, expected):
    """Training items: ann a, b, c; bob b, c; cat d, e."""
    task = make(candidates_in, length)
    drawn: Counter[tuple[tuple[int, ...], int]] = Counter()
    for seed in range(200):
        sample = task.training_sample(split.train, 0, np.random.default_rng(seed))
        drawn[tuple(sample.items["history"]), sample.target_item] += 1
    assert set(drawn) == expected
    assert min(drawn.values()) > 70


def test_users_with_one_training_item_have_nothing_before_it():
    """Left to train on: ann a, b, c; bob b, before c and f, which are held out; cat d."""
    corpus = hand_made_corpus()
    kept = corpus.interactions.select([0, 1, 2, 3, 4, 5, 6, 7, 9])
    split = Corpus.from_tables("small", {"interactions": kept, "items": corpus.items}).split()
    assert make("trie", 0).training_size(split.train) == 3
    task = make("trie", 2)
    assert task.training_size(split.train) == 1
    assert task.training_sample(split.train, 0, np.random.default_rng(0)).user == 0
    assert [sample.items["history"] for sample in task.evaluation_samples(split, "validation")] == [[1, 2], [1]]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_all_kinds_ask_the_same_of_the_same_users(split, part):
    asked = {kind: make(*kind).evaluation_samples(split, part, seed=4) for kind in KINDS}
    for (candidates_in, length), samples in asked.items():
        for sample, paper in zip(samples, asked["prompt", 0], strict=True):
            assert (sample.user, sample.target_item) == (paper.user, split.target(paper.user, part))
            assert sample.candidates == paper.candidates == paper.items["candidates"]
            assert sample.target_item in sample.candidates
            assert ("candidates" in sample.items) == (candidates_in == "prompt")
            known = split.history(sample.user, part).tolist()
            assert sample.items.get("history") == (known[-length:] if length else None)


def test_questions_are_checked():
    with pytest.raises(ValueError, match="history is empty, but history_length of the task 'topn' is 2"):
        make("trie", 2).query(0, [1, 2])
    with pytest.raises(ValueError, match="history has 1 items, but history_length of the task 'topn' is 0"):
        make("trie", 0).query(0, [1, 2], history=[3])
    assert make("trie", 2).query(0, [1, 2], history=[3, 4, 5]).items == {"history": [4, 5]}
    with pytest.raises(ValueError, match=r"candidates_in must be one of \['prompt', 'trie'\], got 'input'"):
        TopNTask(candidates_in="input")
    for wrong in (-1, 1.5, True):
        with pytest.raises(ValueError, match=r"history_length must be 0 \(no history\) or a positive whole number"):
            TopNTask(history_length=wrong)


def test_without_names_of_users_there_must_be_a_history(split):
    indexing = load_indexing("random", users="none").fit(split.train)
    tokenizer = train_tokenizer(["item_ take the next"] * 9, whole_words=indexing.item_words)
    for task in (make("trie", 0), make("prompt", 0)):
        with pytest.raises(ValueError, match="knows nothing of users but their names.*--topn_history_length"):
            PODProcessor(tokenizer, indexing, [task])
    task = make("trie", 2)
    processor = PODProcessor(tokenizer, indexing, [task])
    words = [indexing.item_word(item) for item in (4, 5)]
    assert processor.text(task.query(0, [1, 2], history=[3, 4, 5])) == " ".join(words)
