from __future__ import annotations

import itertools
import pickle
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from peft_pod.corpus import load_corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import (
    EvaluationSamples,
    PODCollator,
    PODProcessor,
    SampleKey,
    TaskAlternatingBatchSampler,
    TrainingSamples,
    WordTokenizer,
    train_tokenizer,
)
from peft_pod.tasks import ExplanationTask, SequentialTask, TopNTask, load_task

from ..corpora import hand_made_corpus
from .tokenizers_for_tests import TEXTS, TOKENIZERS

every_tokenizer = pytest.mark.parametrize("kind", list(TOKENIZERS))


@pytest.fixture(scope="module")
def split():
    return hand_made_corpus().split()


def make_processor(split, kind="own", **arguments):
    indexing = load_indexing("sequential").fit(split.train)
    tasks = [load_task("sequential"), load_task("topn", num_negatives=2), load_task("explanation")]
    return PODProcessor(TOKENIZERS[kind](), indexing, tasks, **arguments)


@every_tokenizer
def test_word_by_word_equals_the_whole_text(kind):
    tokenizer = TOKENIZERS[kind]()
    words = WordTokenizer(tokenizer)
    for text in {*TEXTS, "user_12 item_0345 took item_1 , and then ? item_99"}:
        pieces = [words.encode(word, first=place == 0) for place, word in enumerate(text.split())]
        together = [*words.prefix, *(token for piece in pieces for token in piece), *words.suffix]
        assert together == tokenizer(text)["input_ids"]


def test_words_are_words():
    words = WordTokenizer(TOKENIZERS["own"]())
    for wrong in ("", "two words", "tab\t"):
        with pytest.raises(ValueError, match="is not one word"):
            words.encode(wrong)


def test_tokenizer_without_padding_is_refused():
    tokenizer = TOKENIZERS["own"]()
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="the tokenizer has no pad_token"):
        WordTokenizer(tokenizer)


def test_own_tokenizer_writes_numbers_in_pairs():
    tokenizer = train_tokenizer(["item_ user_"] * 5, 300)
    assert tokenizer.tokenize("item_004217") == ["▁item_", "00", "42", "17"]
    for number in range(100):
        assert tokenizer.tokenize(f"item_{number:02d}")[1:] == [f"{number:02d}"]


def test_own_tokenizer_round_trips_text():
    tokenizer = train_tokenizer([*TEXTS, "It's 12 o'clock (noon)!"] * 3, 400)
    for text in (*TEXTS[:2], "It's 12 o'clock (noon)!"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


@every_tokenizer
def test_encoding_equals_tokenising_the_text(split, kind):
    processor = make_processor(split, kind)
    for task in processor.tasks:
        for sample in task.evaluation_samples(split, "test"):
            encoded = processor(sample, task.name)
            assert encoded["input_ids"] == processor.tokenizer(processor.text(sample))["input_ids"]
            assert encoded["attention_mask"] == [1] * len(encoded["input_ids"])
            assert encoded["task_id"] == processor.task_names.index(task.name)


@every_tokenizer
def test_whole_word_ids_number_the_ids(split, kind):
    """Decoding the tokens of each whole-word ID gives back exactly the n-th ID of the text."""
    processor = make_processor(split, kind)
    rng_keys = [SampleKey(task, 0, number) for task in range(3) for number in range(20)]
    samples = TrainingSamples(split.train, processor)
    for key in rng_keys:
        sample = samples.sample(key)
        encoded = samples[key]
        words = processor.text(sample).split()
        ids = [word for word in words if word.startswith(("item_", "user_"))]
        for number, word in enumerate(ids, 1):
            tokens = [
                token
                for token, whole in zip(encoded["input_ids"], encoded["whole_word_ids"], strict=True)
                if whole == number
            ]
            assert processor.tokenizer.decode(tokens).strip() == word
        assert max(encoded["whole_word_ids"]) == len(ids)


def test_encoding_by_hand(split):
    processor = make_processor(split)
    sample = SequentialTask().evaluation_samples(split, "test")[1]  # bob: b, c, f, then a
    user = processor.indexing.user_word(1)  # drawn at random, and so are the items' numbers
    numbers = {item: processor.indexing.item_word(split.train.item_ids.index(item))[-2:] for item in "abcf"}
    b, c, f = numbers["b"], numbers["c"], numbers["f"]
    assert processor.text(sample) == f"{user} item_{b} item_{c} item_{f}"
    encoded = processor(sample, "sequential")
    tokens = processor.tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens == ["▁user_", user[-2:], "▁item_", b, "▁item_", c, "▁item_", f, "</s>"]
    assert encoded["whole_word_ids"] == [1, 1, 2, 2, 3, 3, 4, 4, 0]
    assert processor.tokenizer.convert_ids_to_tokens(encoded["labels"]) == ["▁item_", numbers["a"], "</s>"]


def test_labels_of_text_are_cut(split):
    processor = make_processor(split, max_target_length=4)
    sample = ExplanationTask().evaluation_samples(split, "test")[0]
    labels = processor(sample, "explanation")["labels"]
    whole = processor.tokenizer("the brush is sturdy")["input_ids"]
    assert len(whole) > 4
    assert labels == [*whole[:3], processor.tokenizer.eos_token_id]


def test_samples_without_an_answer_have_no_labels(split):
    processor = make_processor(split)
    assert "labels" not in processor(SequentialTask().query(0, [1]), "sequential")


def test_long_history_loses_its_oldest_items(split):
    processor = make_processor(split, max_input_length=7)
    sample = SequentialTask().query(0, [0, 1, 2, 3])
    encoded = processor(sample, "sequential")
    shorter = make_processor(split)(SequentialTask().query(0, [2, 3]), "sequential")
    assert encoded == shorter


def test_too_many_candidates_are_an_error(split):
    processor = make_processor(split, max_input_length=7)
    with pytest.raises(ValueError, match="the input has 11 tokens and the model takes 7: give fewer candidates"):
        processor(TopNTask().query(0, [0, 1, 2, 3]), "topn")


def test_ids_that_the_tokenizer_cannot_write_are_an_error(split):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    with pytest.raises(ValueError, match=r"cannot write the ID 'item_0\d'"):
        PODProcessor(fast, load_indexing("sequential").fit(split.train), [load_task("sequential")])


def test_unknown_task_is_named(split):
    with pytest.raises(ValueError, match=r"unknown task 'rating'; this model has \['sequential'"):
        make_processor(split).task("rating")


def test_processor_saves_and_loads(split, tmp_path):
    from transformers import AutoTokenizer

    processor = make_processor(split, max_input_length=40, max_target_length=9)
    processor.save_pretrained(tmp_path)
    loaded = PODProcessor.from_pretrained(tmp_path, AutoTokenizer.from_pretrained(tmp_path))
    for task in processor.tasks:
        for sample in task.evaluation_samples(split, "test"):
            assert loaded(sample, task.name) == processor(sample, task.name)
    assert loaded.task("topn").num_negatives == 2
    assert (loaded.max_input_length, loaded.max_target_length) == (40, 9)
    with pytest.raises(FileNotFoundError, match=r"pod_processor\.json"):
        PODProcessor.from_pretrained(tmp_path / "nowhere", processor.tokenizer)


def test_training_samples_follow_from_their_key_alone(split):
    samples = TrainingSamples(split.train, make_processor(split), seed=5)
    again = TrainingSamples(split.train, make_processor(split), seed=5)
    keys = [SampleKey(task, 0, number) for task in range(3) for number in range(10)]
    assert [samples[key] for key in keys] == [again[key] for key in reversed(keys)][::-1]
    assert len({str(samples[SampleKey(0, 0, number)]) for number in range(30)}) > 5


def test_history_dropout_thins_the_histories_that_are_trained_on(split):
    """Each sample is the same but for its history, of which items are left out and none is moved."""
    whole = TrainingSamples(split.train, make_processor(split), seed=5)
    thin = TrainingSamples(split.train, make_processor(split), seed=5, history_dropout=0.4)
    before = after = expected = 0.0
    for key in (SampleKey(0, number, epoch) for epoch in range(20) for number in range(whole.sizes[0])):
        first, second = whole.sample(key), thin.sample(key)
        history, kept = first.items["history"], second.items["history"]
        left = iter(history)
        assert all(item in left for item in kept)  # in the same order
        assert len(kept) >= 1
        assert replace(second, items=first.items) == first
        assert thin.sample(key) == second
        before, after = before + len(history), after + len(kept)
        expected += 0.6 * len(history) + 0.4 ** len(history)
    assert abs(after - expected) < 4 * (0.24 * before) ** 0.5
    explanation = SampleKey(2, 1, 0)
    assert thin.sample(explanation) == whole.sample(explanation)
    with pytest.raises(ValueError, match=r"history_dropout must be a share from 0 to below 1, got 1\.0"):
        TrainingSamples(split.train, make_processor(split), history_dropout=1.0)


def test_a_task_without_samples_is_an_error(split):
    train = replace(split.train, explanations=[])
    with pytest.raises(ValueError, match="no training samples for the task 'explanation'; it has no explanations"):
        TrainingSamples(train, make_processor(split))


def test_limited_evaluation_is_a_fixed_subset(split):
    processor = make_processor(split)
    whole = EvaluationSamples.of_part(split, "test", processor)
    one = EvaluationSamples.of_part(split, "test", processor, limit=1)
    assert [len(one[name]) for name in ("sequential", "topn")] == [1, 1]
    assert one["sequential"].samples[0] in whole["sequential"].samples
    assert (
        one["sequential"].samples == EvaluationSamples.of_part(split, "test", processor, limit=1)["sequential"].samples
    )


def test_evaluation_samples_are_encoded_when_asked_for(split, monkeypatch):
    processor = make_processor(split)
    samples = EvaluationSamples.of_part(split, "test", processor)["sequential"]
    expected = [processor(sample, "sequential") for sample in samples.samples]
    calls = []
    encode = PODProcessor.__call__
    monkeypatch.setattr(PODProcessor, "__call__", lambda *how: calls.append(how[1]) or encode(*how))
    EvaluationSamples.of_part(split, "test", processor)
    assert calls == []
    assert [samples[row] for row in range(len(samples))] == expected
    assert len(calls) == len(samples) > 1


def test_evaluation_samples_can_be_handed_to_workers(split):
    for samples in EvaluationSamples.of_part(split, "test", make_processor(split)).values():
        assert list(pickle.loads(pickle.dumps(samples.samples))) == list(samples.samples)


def test_collator_pads_by_hand():
    rows = [
        {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "whole_word_ids": [1, 1, 0], "task_id": 2, "labels": [8]},
        {"input_ids": [5], "attention_mask": [1], "whole_word_ids": [1], "task_id": 2, "labels": [8, 9]},
    ]
    batch = PODCollator(pad_token_id=3, pad_to_multiple_of=2)(rows)
    expected = {
        "input_ids": [[5, 6, 7, 3], [5, 3, 3, 3]],
        "attention_mask": [[1, 1, 1, 0], [1, 0, 0, 0]],
        "whole_word_ids": [[1, 1, 0, 0], [1, 0, 0, 0]],
        "labels": [[8, -100], [8, 9]],
        "task_id": [2, 2],
    }
    assert {name: tensor.tolist() for name, tensor in batch.items()} == expected
    assert all(tensor.dtype == torch.long for tensor in batch.values())


@settings(max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 3), st.integers(0, 5))
def test_batches_alternate_and_cover_everything(sizes, batch_size, processes, epoch):
    sampler = TaskAlternatingBatchSampler(sizes, batch_size, seed=1, num_processes=processes)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert all(len(batch) == batch_size and len({key.task for key in batch}) == 1 for batch in batches)
    # Dealt out in turn, every rank has the same task at a step, and the tasks take turns.
    steps = [batches[start : start + processes] for start in range(0, len(batches), processes)]
    for number, step in enumerate(steps):
        assert {batch[0].task for batch in step} == {number % len(sizes)}
    # Every sample of every task is seen, and as evenly as can be.
    for task, size in enumerate(sizes):
        seen = Counter(key.index for batch in batches for key in batch if key.task == task)
        assert set(seen) == set(range(size))
        assert max(seen.values()) - min(seen.values()) <= 1


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 3))
def test_nothing_is_drawn_twice(sizes, batch_size, processes):
    """A task of ten samples beside one of a thousand would otherwise train on the same ten questions all epoch long."""
    sampler = TaskAlternatingBatchSampler(sizes, batch_size, seed=1, num_processes=processes)
    keys = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        keys += [key for batch in sampler for key in batch]
    assert len(set(keys)) == len(keys)


def test_a_small_task_gets_new_questions_each_time_it_starts_over(split):
    samples = TrainingSamples(split.train, make_processor(split))
    sampler = TaskAlternatingBatchSampler([40, samples.sizes[1]], 4)
    keys = [key for batch in sampler for key in batch if key.task == 1 and key.index == 0]
    assert len(keys) > 10
    assert len({str(samples[key]["input_ids"]) for key in keys}) > 5


def test_ranks_together_see_the_batches_of_one_process():
    one = list(TaskAlternatingBatchSampler([10, 7], 4, seed=2))
    two = list(TaskAlternatingBatchSampler([10, 7], 2, seed=2, num_processes=2))
    assert [first + second for first, second in zip(two[::2], two[1::2], strict=True)] == one


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_batches_of_similar_length_hold_the_same_samples(sizes, batch_size, processes, window, epoch):
    plain = TaskAlternatingBatchSampler(sizes, batch_size, seed=1, num_processes=processes)
    bucketed = TaskAlternatingBatchSampler(
        sizes, batch_size, seed=1, num_processes=processes, length=_length, window=window
    )
    for sampler in (plain, bucketed):
        sampler.set_epoch(epoch)
    batches = list(bucketed)
    assert batches == list(bucketed)
    assert len(batches) == len(bucketed)
    assert [(len(batch), {key.task for key in batch}) for batch in batches] == [
        (len(batch), {key.task for key in batch}) for batch in plain
    ]
    for task in range(len(sizes)):
        one, other = (_steps_of(task, sampler, processes) for sampler in (plain, bucketed))
        for start in range(0, len(one), window):
            # The samples of a window are as they were, and its steps do not overlap in length.
            some, sorted_steps = one[start : start + window], other[start : start + window]
            assert sorted(key for step in some for key in step) == sorted(key for step in sorted_steps for key in step)
            ranges = sorted((min(map(_length, step)), max(map(_length, step))) for step in sorted_steps)
            assert all(low[1] <= high[0] for low, high in itertools.pairwise(ranges))


def _length(key):
    return (key.index * 7919 + key.round * 104729) % 13, 0


def _steps_of(task, sampler, processes):
    batches = [batch for batch in sampler if batch[0].task == task]
    return [list(itertools.chain(*batches[start : start + processes])) for start in range(0, len(batches), processes)]


def test_ranks_together_see_the_bucketed_batches_of_one_process():
    one = list(TaskAlternatingBatchSampler([50, 7], 4, seed=2, length=_length, window=3))
    two = list(TaskAlternatingBatchSampler([50, 7], 2, seed=2, num_processes=2, length=_length, window=3))
    assert [first + second for first, second in zip(two[::2], two[1::2], strict=True)] == one
    assert one != list(TaskAlternatingBatchSampler([50, 7], 4, seed=2))


def test_windows_are_measured_when_their_turn_comes():
    measured = []

    def length(key):
        measured.append(key)
        return (key.index,)

    batches = iter(TaskAlternatingBatchSampler([100], 5, length=length, window=2))
    next(batches)
    assert len(measured) == 10
    next(batches)
    next(batches)
    assert len(measured) == 20


def test_batches_of_similar_length_are_padded_less():
    split = load_corpus("embedded", num_users=80).split()
    processor = make_processor(split)
    samples = TrainingSamples(split.train, processor)
    padded = []
    for length in (None, samples.length):
        counts = [0] * len(samples.sizes)
        for batch in TaskAlternatingBatchSampler(samples.sizes, 8, seed=1, length=length):
            if len(batch) == 8 and batch[0].round == 0:
                encoded = PODCollator(0)([samples[key] for key in batch])
                counts[batch[0].task] += int((encoded["attention_mask"] == 0).sum() + (encoded["labels"] < 0).sum())
        padded.append(counts)
    before, after = padded
    assert after[0] < before[0] * 0.7  # histories
    assert after[2] < before[2] * 0.9  # sentences; their questions differ by the template alone


def test_epochs_are_shuffled_anew():
    sampler = TaskAlternatingBatchSampler([30], 5, seed=2)
    first = [key.index for batch in sampler for key in batch]
    assert first == [key.index for batch in sampler for key in batch]
    sampler.set_epoch(1)
    assert first != [key.index for batch in sampler for key in batch]


def test_keys_are_those_of_whole_permutations():
    sizes, batch, epoch = [1000, 70], 8, 2
    sampler = TaskAlternatingBatchSampler(sizes, batch, seed=5)
    sampler.set_epoch(epoch)
    found = [[key for keys in sampler if keys[0].task == task for key in keys] for task in (0, 1)]
    for task, size in enumerate(sizes):
        rng = np.random.default_rng((5, epoch, task))
        rounds = -(-1000 // size)
        expected = [
            SampleKey(task, index, epoch * rounds + number)
            for number in range(rounds)
            for index in rng.permutation(size).tolist()
        ]
        assert found[task] == expected[:1000]


def test_the_first_keys_of_a_long_epoch_take_little_memory():
    sampler = TaskAlternatingBatchSampler([3_000_000, 10], 4)
    tracemalloc.start()
    try:
        batches = iter(sampler)
        first = [next(batches) for _ in range(4)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [keys[0].task for keys in first] == [0, 1, 0, 1]
    # Four bytes a sample, and not the hundred of a key.
    assert peak < 3_000_000 * 5


def test_only_the_tasks_asked_for_take_turns():
    sampler = TaskAlternatingBatchSampler([50, 4, 9], 2, seed=3, num_processes=2, tasks=[2, 1])
    batches = list(sampler)
    assert len(batches) == len(sampler) == 2 * 2 * 3  # 9 samples in steps of 4, two ranks, two tasks
    assert [batch[0].task for batch in batches] == [2, 2, 1, 1] * 3
    whole = list(TaskAlternatingBatchSampler([4, 4], 2, seed=3, tasks=[0, 1]))
    assert whole == list(TaskAlternatingBatchSampler([4, 4], 2, seed=3))
    for tasks in ([], [3], [-1]):
        with pytest.raises(ValueError, match="tasks must be some of 0 to 2"):
            TaskAlternatingBatchSampler([50, 4, 9], 2, tasks=tasks)


@pytest.mark.parametrize(("sizes", "batch_size"), [([], 2), ([3, 0], 2), ([3], 0)])
def test_sampler_checks_its_arguments(sizes, batch_size):
    with pytest.raises(ValueError, match=r"training samples|must be positive"):
        TaskAlternatingBatchSampler(sizes, batch_size)


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader_with_workers_gives_the_same_batches(split, workers):
    processor = make_processor(split)
    samples = TrainingSamples(split.train, processor)
    sampler = TaskAlternatingBatchSampler(samples.sizes, 2)
    collate = PODCollator(processor.tokenizer.pad_token_id)
    loader = DataLoader(samples, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
    expected = [collate([samples[key] for key in batch]) for batch in sampler]
    for got, wanted in zip(loader, expected, strict=True):
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)
