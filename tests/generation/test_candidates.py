"""Candidates that only the trie knows: the model is trained a few steps, and its answers are compared with scoring."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peft_pod.corpus import load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import GenerationSettings, Recommender
from peft_pod.indexing import load_indexing
from peft_pod.metrics import evaluate_baselines, evaluate_model
from peft_pod.processing import EvaluationSamples, PODCollator, PODProcessor, TrainingSamples
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer

KINDS = {
    "user": ({"history_length": 0}, {}),
    "history": ({"history_length": 3}, {}),
    "history alone": ({"history_length": 3}, {"users": "none"}),
}


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=21, num_items=40).split()


@pytest.fixture(scope="module", params=list(KINDS))
def recommender(request, split, tmp_path_factory):
    task_options, indexing_options = KINDS[request.param]
    indexing = load_indexing("random", **indexing_options).fit(split.train)
    tasks = [load_task("topn", num_negatives=12, candidates_in="trie", **task_options)]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400, id_tokens="pieces")
    processor = PODProcessor(tokenizer, indexing, tasks)
    model = build_model("scratch:tiny", processor, dropout=0.0, num_virtual_tokens=2, train_base=True)
    arguments = PODTrainingArguments(
        output_dir=str(tmp_path_factory.mktemp("run")), max_steps=12, per_device_train_batch_size=8, logging_steps=1,
        learning_rate=5e-3, eval_strategy="no", save_strategy="no", load_best_model_at_end=False, disable_tqdm=True,
        use_cpu=True,
    )  # fmt: skip
    trainer = PODTrainer(
        model,
        arguments,
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor),
        eval_dataset=EvaluationSamples.of_part(split, "validation", processor),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    return Recommender(
        model.eval(), processor, Catalogue.from_split(split), GenerationSettings(item_beams=40, batch_size=8)
    )


def scores(recommender, words, items):
    """Log-probabilities of items after an input of words, each by a pass of its own over the tokens."""
    processor = recommender.processor
    tokenizer, known = processor.tokenizer, [*processor.indexing.user_words, *processor.indexing.item_words]
    input_ids, whole_word_ids = [], []
    for number, word in enumerate(words, start=1):
        tokens = tokenizer(" ".join(["a", word]), add_special_tokens=False)["input_ids"][1:]
        input_ids += tokens
        whole_word_ids += [number if word in known else 0] * len(tokens)
    found = []
    for item in items:
        answer = tokenizer(processor.indexing.item_word(item))["input_ids"]
        batch = PODCollator(tokenizer.pad_token_id)(
            [
                {
                    "input_ids": [*input_ids, tokenizer.eos_token_id],
                    "attention_mask": [1] * (len(input_ids) + 1),
                    "whole_word_ids": [*whole_word_ids, 0],
                    "task_id": 0,
                    "labels": answer,
                }
            ]
        )
        with torch.no_grad():
            logits = recommender.model(**batch).logits.log_softmax(-1)
        found.append(logits[0].gather(-1, batch["labels"][0][:, None]).sum().item())
    return found


def question(recommender, split, user, part):
    processor = recommender.processor
    words = [processor.indexing.user_word(user)] if processor.indexing.user_words else []
    length = processor.task("topn").history_length
    known = split.history(user, part)[-length:].tolist() if length else []
    return words + [processor.indexing.item_word(item) for item in known]


def test_ranks_are_those_of_scoring_every_candidate(recommender, split):
    result = evaluate_model(recommender.engine, split, "test", seed=5)["topn"]
    samples = recommender.processor.task("topn").evaluation_samples(split, "test", 5)
    expected = []
    for sample in samples:
        found = scores(recommender, question(recommender, split, sample.user, "test"), sample.candidates)
        right = found[sample.candidates.index(sample.target_item)]
        expected.append(1 + sum(score > right for score in found))
    assert len(set(expected)) > 5
    assert result.ranks.ranks.tolist() == [rank if rank <= 10 else 0 for rank in expected]
    history_length = recommender.processor.task("topn").history_length
    assert result.protocol.details == {
        "candidate_seed": 5, "candidates_in": "trie", **({"history_length": history_length} if history_length else {}),
    }  # fmt: skip
    # Asked as in the paper's mode: numbers of both, and of the baselines, can be put side by side.
    baseline = evaluate_baselines([load_task("topn", num_negatives=12)], split, "test", seed=5)["topn"]["popularity"]
    assert result.protocol.candidates == "candidates-13"
    assert result.protocol.comparable_to(baseline.protocol)


def test_only_candidates_are_found(recommender, split):
    samples = recommender.processor.task("topn").evaluation_samples(split, "validation", 2)
    found = recommender.engine.find_items(samples, "topn", k=20)
    for sample, items in zip(samples, found.items.tolist(), strict=True):
        count = len(sample.candidates)
        assert set(items[:count]) == set(sample.candidates)
        assert items[count:] == [-1] * (20 - count)


def test_rank_takes_the_history_given_or_the_saved_one(recommender, split):
    task = recommender.processor.task("topn")
    ids = split.train.item_ids
    candidates = [0, 7, 21, 30]
    names = [ids[item] for item in candidates]
    user_id = split.train.user_ids[2]
    found = recommender.rank(user_id, names)
    words = question(recommender, split, 2, "test")
    if task.history_length:
        # What is known once all is known: the test item too.
        words = words[: -task.history_length] + [
            recommender.processor.indexing.item_word(item) for item in split.all_items(2)[-task.history_length :]
        ]
    expected = scores(recommender, words, candidates)
    assert [entry.score for entry in found] == pytest.approx(sorted(expected, reverse=True), abs=1e-4)
    assert [entry.item_id for entry in found] == [names[place] for place in np.argsort(expected)[::-1]]
    if not task.history_length:
        with pytest.raises(ValueError, match="no task of this model ranks candidates after one"):
            recommender.rank(user_id, names, [ids[3]])
        return
    user = "a stranger" if not recommender.processor.indexing.user_words else user_id
    found = recommender.rank(user, names, [ids[3], ids[9], ids[4]])
    words = words[: -task.history_length] + [recommender.processor.indexing.item_word(item) for item in (3, 9, 4)]
    expected = scores(recommender, words, candidates)
    assert [entry.score for entry in found] == pytest.approx(sorted(expected, reverse=True), abs=1e-4)


def test_a_saved_model_asks_in_the_same_way(recommender, split, tmp_path):
    recommender.save_pretrained(tmp_path)
    loaded = Recommender.from_pretrained(tmp_path)
    task = loaded.processor.task("topn")
    assert task.options() == recommender.processor.task("topn").options()
    names = [split.train.item_ids[item] for item in (0, 7, 21, 30)]
    assert loaded.rank(split.train.user_ids[0], names) == recommender.rank(split.train.user_ids[0], names)
