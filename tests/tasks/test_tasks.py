from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from peft_pod.corpus import load_corpus
from peft_pod.tasks import (
    ExplanationTask,
    Field,
    SequentialTask,
    Template,
    TopNTask,
    available_tasks,
    load_task,
    register_task,
    supported_tasks,
)

from ..corpora import hand_made_corpus

TASKS = [SequentialTask, TopNTask, ExplanationTask]


@pytest.fixture(scope="module")
def split():
    return hand_made_corpus().split()


@pytest.fixture(scope="module")
def large_split():
    return load_corpus("embedded", num_users=80).split()


def test_template_parts():
    template = Template("So {user} took {history} , next ?")
    assert template.parts == ("So", Field("user"), "took", Field("history"), ",", "next", "?")
    assert template.fields == ("user", "history")


@pytest.mark.parametrize("text", ["{user}, what next", "x{item}", "{user} {hist ory}", "open {brace"])
def test_template_fields_stand_alone(text):
    with pytest.raises(ValueError, match="put spaces around"):
        Template(text)


def test_empty_template_is_refused():
    with pytest.raises(ValueError, match="empty"):
        Template("  ")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_five_templates_and_a_bare_one_with_the_same_fields(task):
    assert len({template.text for template in task.templates}) >= 5
    for template in task.templates:
        assert sorted(template.fields) == sorted(task.bare.fields)
        assert len(template.parts) > len(task.bare.parts)
    assert all(isinstance(part, Field) for part in task.bare.parts)
    assert task.bare.fields[0] == "user"


@pytest.mark.parametrize("task", TASKS)
def test_options_make_an_equal_task(task):
    made = load_task(task.name, bare_probability=0.25)
    again = load_task(task.name, **made.options())
    assert again.options() == made.options()
    assert again.bare_probability == 0.25


def test_bare_probability():
    rng = np.random.default_rng(0)
    drawn = Counter(load_task("sequential", bare_probability=0.5).draw_template(rng) for _ in range(4000))
    assert abs(drawn[SequentialTask.bare] / 4000 - 0.5) < 0.04
    assert all(abs(drawn[template] / 4000 - 0.5 / 6) < 0.03 for template in SequentialTask.templates)
    uniform = Counter(load_task("sequential").draw_template(rng) for _ in range(7000))
    assert all(abs(count / 7000 - 1 / 7) < 0.02 for count in uniform.values())
    with pytest.raises(ValueError, match=r"bare_probability must be from 0 to 1, got 1\.5"):
        SequentialTask(bare_probability=1.5)


def test_sequential_segments_are_contiguous_and_from_the_training_part(large_split):
    train, task = large_split.train, SequentialTask(history_length=4)
    for index in range(task.training_size(train)):
        sample = task.training_sample(train, index, np.random.default_rng(index))
        items = train.sequences[sample.user].tolist()
        segment = [*sample.items["history"], sample.target_item]
        assert 2 <= len(segment) <= 5
        assert any(items[start : start + len(segment)] == segment for start in range(len(items)))


def test_sequential_draws_every_segment(split):
    """User `ann` has the training items a, b, c: the segments are ab, bc and abc."""
    task = SequentialTask()
    drawn = set()
    for seed in range(60):
        sample = task.training_sample(split.train, 0, np.random.default_rng(seed))
        drawn.add((tuple(sample.items["history"]), sample.target_item))
    assert drawn == {((0,), 1), ((1,), 2), ((0, 1), 2)}


def test_prefixes_are_all_there_once(split):
    """Training items: ann a, b, c; bob b, c; cat d, e."""
    task = SequentialTask(segments="prefixes")
    samples = [task.training_sample(split.train, index, np.random.default_rng(0)) for index in range(4)]
    assert task.training_size(split.train) == 4
    drawn = [(sample.user, sample.items["history"], sample.target_item) for sample in samples]
    assert drawn == [(0, [0], 1), (0, [0, 1], 2), (1, [1], 2), (2, [3], 4)]
    with pytest.raises(ValueError, match="segments must be one of .*'suffixes'"):
        SequentialTask(segments="suffixes")


def test_sequential_evaluation_is_hand_checked(split):
    task = SequentialTask(history_length=3)
    validation = task.evaluation_samples(split, "validation")
    test = task.evaluation_samples(split, "test")
    assert [sample.user for sample in test] == [0, 1]
    assert [sample.target_item for sample in validation] == [3, 5]
    assert [sample.target_item for sample in test] == [4, 0]
    assert test[0].items["history"] == [1, 2, 3]  # the most recent three of a, b, c, d
    assert test[0].exclude == [0, 1, 2, 3]
    assert test[0].template is SequentialTask.bare


def test_empty_history_is_refused():
    with pytest.raises(ValueError, match="history is empty"):
        SequentialTask().query(0, [])


def test_topn_training_does_not_look_at_held_out_items(split):
    """Of `ann` c is the last training item, d and e are held out: both must be drawn as negatives like any other."""
    task = TopNTask(num_negatives=2)
    negatives: Counter[int] = Counter()
    for seed in range(400):
        sample = task.training_sample(split.train, 0, np.random.default_rng(seed))
        assert len(set(sample.items["candidates"])) == 3
        assert sample.target_item in sample.items["candidates"]
        assert sample.target_item in {0, 1, 2}
        negatives.update(set(sample.items["candidates"]) - {sample.target_item})
    assert set(negatives) == {3, 4, 5}
    assert max(negatives.values()) - min(negatives.values()) < 80


def test_topn_answers_are_anywhere_among_the_candidates(large_split):
    task = TopNTask(num_negatives=9)
    places = Counter()
    for index in range(task.training_size(large_split.train)):
        for seed in range(10):
            sample = task.training_sample(large_split.train, index, np.random.default_rng((index, seed)))
            places[sample.items["candidates"].index(sample.target_item)] += 1
    assert len(places) == 10
    assert min(places.values()) > 0.6 * sum(places.values()) / 10


def test_topn_evaluation_is_fixed_by_the_seed_and_leaves_out_what_the_user_has(large_split):
    task = TopNTask(num_negatives=20)
    samples = task.evaluation_samples(large_split, "test", seed=3)
    assert samples == task.evaluation_samples(large_split, "test", seed=3)
    assert samples != task.evaluation_samples(large_split, "test", seed=4)
    for sample in samples:
        candidates = sample.items["candidates"]
        assert len(candidates) == len(set(candidates)) == 21
        assert sample.target_item == large_split.target(sample.user, "test")
        assert set(candidates) & set(large_split.all_items(sample.user).tolist()) == {sample.target_item}


def test_topn_query_checks_candidates():
    with pytest.raises(ValueError, match="candidates is empty"):
        TopNTask().query(0, [])
    with pytest.raises(ValueError, match="names an item twice"):
        TopNTask().query(0, [1, 1])


def test_topn_draws_popular_negatives_where_asked(large_split):
    train = large_split.train
    means = {}
    for negatives in ("uniform", "popularity"):
        task = TopNTask(num_negatives=9, negatives=negatives)
        assert load_task("topn", **task.options()).negatives == negatives
        samples = [*task.evaluation_samples(large_split, "test", seed=3)]
        samples += [task.training_sample(train, 0, np.random.default_rng(seed)) for seed in range(100)]
        wrong = [item for s in samples for item in s.items["candidates"] if item != s.target_item]
        means[negatives] = train.item_counts[wrong].mean()
    # Drawn in proportion to count + 1, the mean count is that of the counts weighted by themselves, but for the few
    # items that are taken or drawn already.
    counts = train.item_counts
    assert means["uniform"] == pytest.approx(counts.mean(), rel=0.1)
    assert means["popularity"] == pytest.approx((counts * (counts + 1)).sum() / (counts + 1).sum(), rel=0.1)
    assert means["popularity"] > 1.2 * means["uniform"]


def test_topn_refuses_another_way_of_drawing():
    with pytest.raises(ValueError, match=r"negatives must be one of \['uniform', 'popularity'\], got 'hard'"):
        TopNTask(negatives="hard")


def test_explanations_follow_their_interaction(split):
    task = ExplanationTask()
    assert task.training_size(split.train) == 3
    trained = [task.training_sample(split.train, index, np.random.default_rng(0)) for index in range(3)]
    assert [sample.target_text for sample in trained] == ["the soap smells of mint", "a bright lamp", "very soft"]
    assert [sample.target_text for sample in task.evaluation_samples(split, "validation")] == ["a soft towel"]
    assert [sample.target_text for sample in task.evaluation_samples(split, "test")] == ["the brush is sturdy"]


def test_registry():
    assert available_tasks()[:3] == ["sequential", "topn", "explanation"]
    with pytest.raises(ValueError, match=r"unknown task 'rating'; known are \['sequential', 'topn', 'explanation'"):
        load_task("rating")
    with pytest.raises(ValueError, match=r"task 'topn' does not take the options \['history'\]"):
        load_task("topn", history=3)
    assert register_task(SequentialTask) is SequentialTask

    class Other(SequentialTask):
        name = "sequential"

    with pytest.raises(ValueError, match="already a task 'sequential'"):
        register_task(Other)


def test_supported_tasks_follow_the_data(split):
    assert supported_tasks(split.train)[:3] == ["sequential", "topn", "explanation"]


@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_counts_are_checked(value):
    with pytest.raises(ValueError, match="history_length must be a positive whole number"):
        SequentialTask(history_length=value)
    with pytest.raises(ValueError, match="num_negatives must be a positive whole number"):
        TopNTask(num_negatives=value)
