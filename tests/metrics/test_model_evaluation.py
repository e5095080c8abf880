"""Run as a module, this file evaluates a saved model in as many processes as were started."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from peft_pod.corpus import load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.files import write_text
from peft_pod.generation import GenerationEngine, GenerationSettings, Recommender
from peft_pod.indexing import load_indexing
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.metrics import (
    Report,
    ValidationRanking,
    available_baselines,
    evaluate_baselines,
    evaluate_model,
    load_baseline,
    load_metric,
)
from peft_pod.metrics.user_ranks import load_ranks
from peft_pod.processing import PODCollator, PODProcessor
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer, process_state

from ..audit.cases import corpus_of
from ..training.launching import run_in_processes

KS = (1, 5, 10)
TASKS = ("sequential", "topn", "explanation")


def make_split():
    """21 users, which two processes cannot share evenly, and 40 items."""
    return load_corpus("embedded", num_users=21, num_items=40).split()


@pytest.fixture(scope="module")
def split():
    return make_split()


@pytest.fixture(scope="module")
def recommender(split):
    """A model that says something else of each user, with beams for all of the catalogue: its search is exact."""
    indexing = load_indexing("random").fit(split.train, seed=1)
    tasks = [load_task(name, **({"num_negatives": 12} if name == "topn" else {})) for name in TASKS]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400, id_tokens="pieces")
    processor = PODProcessor(tokenizer, indexing, tasks, max_target_length=8)
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2, train_base=True)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    settings = GenerationSettings(item_beams=40, text_beams=2, batch_size=4)
    return Recommender(model.eval(), processor, Catalogue.from_split(split), settings)


def log_probabilities(recommender, sample, task, items):
    """Of each item as the answer, by one teacher-forced pass over all of them; nothing is searched."""
    encoded = [recommender.processor(replace(sample, target_item=item), task) for item in items]
    batch = PODCollator(recommender.processor.tokenizer.pad_token_id)(encoded)
    labels = batch["labels"]
    with torch.no_grad():
        scores = recommender.model(**batch).logits.log_softmax(-1)
    found = scores.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return torch.where(labels >= 0, found, 0.0).sum(-1).tolist()


def scores_of_ranks(ranks):
    """HR and NDCG by their formulas, user by user; rank 0 is a miss."""
    metrics = {}
    for k in KS:
        hits = [rank for rank in ranks if 1 <= rank <= k]
        metrics[f"hr@{k}"] = len(hits) / len(ranks)
        metrics[f"ndcg@{k}"] = sum(1 / math.log2(rank + 1) for rank in hits) / len(ranks)
    return metrics


def rank_exhaustively(recommender, split, part, task_name, exclude_seen=True):
    task = recommender.processor.task(task_name)
    ranks = []
    for sample in task.evaluation_samples(split, part, 5):
        if task_name == "topn":
            allowed = list(sample.candidates)
        else:
            history = set(split.history(sample.user, part).tolist()) if exclude_seen else set()
            allowed = [item for item in range(split.train.num_items) if item not in history]
        scores = dict(zip(allowed, log_probabilities(recommender, sample, task_name, allowed), strict=True))
        target = split.target(sample.user, part)
        better = sum(score > scores[target] for score in scores.values()) if target in scores else math.inf
        ranks.append(0 if math.isinf(better) else int(better) + 1)
    return ranks


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_items_are_ranked_as_by_scoring_all_of_them(recommender, split, part, exclude_seen):
    results = evaluate_model(
        recommender.engine, split, part, tasks=["sequential", "topn"], seed=5, exclude_seen=exclude_seen
    )
    for name in ("sequential", "topn"):
        ranks = rank_exhaustively(recommender, split, part, name, exclude_seen)
        assert len(set(ranks)) > 5  # the model tells the users apart
        assert results[name].metrics == pytest.approx(scores_of_ranks(ranks), abs=1e-9)
        kept = results[name].ranks
        assert kept.ranks.tolist() == [rank if rank <= max(KS) else 0 for rank in ranks]
        users = [sample.user for sample in recommender.processor.task(name).evaluation_samples(split, part, 5)]
        assert list(kept.user_ids) == [split.train.user_ids[user] for user in users]
        assert set(results[name].intervals) == set(results[name].metrics)
        assert ("coverage@10" in results[name].statistics) == (name == "sequential")
    assert results["sequential"].protocol.to_dict() == {
        "part": part, "num_users": 21, "candidates": "full", "history_excluded": exclude_seen, "beams": 40,
        "split": "leave-one-out", "fingerprint": split.fingerprint,
    }  # fmt: skip
    assert results["topn"].protocol.to_dict() == {
        "part": part, "num_users": 21, "candidates": "candidates-13", "beams": 40, "candidate_seed": 5,
        "split": "leave-one-out", "fingerprint": split.fingerprint,
    }  # fmt: skip


@pytest.mark.parametrize("count_weight", [0, 0.4])
def test_a_user_who_took_the_whole_catalogue_is_a_miss(count_weight):
    """Nothing is left to be found; asked with the history included, there is."""
    took_all = [0, 1, 2, 3, 4, 5, 0, 1]
    split = corpus_of([[0, 1, 2, 3], took_all, [3, 4, 5, 1], [2, 5, 0, 4]], 6).split()
    indexing, tasks = load_indexing("random").fit(split.train), [load_task("sequential")]
    processor = PODProcessor(build_tokenizer("scratch:tiny", split.train, indexing, tasks), indexing, tasks)
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2, train_base=True).eval()
    settings = GenerationSettings(count_weight=count_weight)
    engine = GenerationEngine(model, processor, settings, counts=NeighbourCounts.fit(split.train))
    result = evaluate_model(engine, split)["sequential"]
    ranks = dict(zip(result.ranks.user_ids, result.ranks.ranks.tolist(), strict=True))
    assert ranks.pop("u1") == 0
    # All three items that each of the others does not have yet are found.
    assert set(ranks.values()) <= {1, 2, 3}
    assert result.metrics["hr@10"] == 0.75
    assert evaluate_baselines(tasks, split)["sequential"]["popularity"].metrics["hr@10"] == 0.75
    assert evaluate_model(engine, split, exclude_seen=False)["sequential"].metrics["hr@10"] == 1
    assert ValidationRanking(split, processor, "sequential")(model)["sequential_hr@10"] == 0.75
    alone = replace(split, test_items=np.where(np.arange(4) == 1, split.test_items, -1))
    assert evaluate_model(engine, alone)["sequential"].metrics["hr@10"] == 0
    with pytest.raises(ValueError, match="nothing is left to recommend to the user at position 1"):
        engine.find_items(list(tasks[0].evaluation_samples(split, "test")), "sequential", k=1)


def test_sentences_are_measured_against_the_users_own(recommender, split):
    result = evaluate_model(recommender.engine, split, tasks=["explanation"])["explanation"]
    samples = recommender.processor.task("explanation").evaluation_samples(split, "test")
    pairs = {(entry.user, entry.item): entry.text for entry in split.explanations("test")}
    users, items = zip(*((sample.user, sample.items["item"][0]) for sample in samples), strict=True)
    written = recommender.explain(
        [split.train.user_ids[user] for user in users], [split.train.item_ids[item] for item in items]
    )
    expected = load_metric("explanation").compute(
        predictions=written,
        references=[pairs[user, item] for user, item in zip(users, items, strict=True)],
        features=[sample.target_feature or "" for sample in samples],
    )
    assert result.statistics == {"div": pytest.approx(expected.pop("div"))}  # smaller is better, so no metric
    assert result.metrics == pytest.approx(expected)
    assert result.protocol.to_dict() == {
        "part": "test", "num_users": len(samples), "beams": 2, "text_convention": "paper",
        "split": "leave-one-out", "fingerprint": split.fingerprint,
    }  # fmt: skip


def test_metrics_and_conventions_are_passed_on(recommender, split):
    how = {"limit": 9, "ks": [3], "metrics": ["mrr", "recall"]}
    results = evaluate_model(recommender.engine, split, text_convention="paper", **how)
    assert list(results["sequential"].metrics) == ["mrr@3", "recall@3"]
    assert list(evaluate_baselines(recommender.processor.tasks, split, **how)["topn"]["random"].metrics) == [
        "mrr@3",
        "recall@3",
    ]
    assert results["explanation"].protocol.details == {"text_convention": "paper"}
    for wrong, message in (({"ks": [0]}, "ks has 0"), ({"metrics": ["map"]}, r"metrics has \['map'\]")):
        with pytest.raises(ValueError, match=message):
            evaluate_model(recommender.engine, split, **wrong)
    with pytest.raises(ValueError, match="convention is 'own'; choose one of"):
        evaluate_model(recommender.engine, split, text_convention="own")


def test_users_with_several_held_out_sentences_count_once(recommender):
    temporal = load_corpus("embedded", num_users=21, num_items=40).split(
        "temporal", validation_fraction=0.1, test_fraction=0.1
    )
    samples = recommender.processor.task("explanation").evaluation_samples(temporal, "test")
    users = {sample.user for sample in samples}
    assert len(users) < len(samples)
    protocol = evaluate_model(recommender.engine, temporal, tasks=["explanation"])["explanation"].protocol
    assert (protocol.num_users, protocol.details["sentences"]) == (len(users), len(samples))


def test_baselines_are_asked_what_the_model_is_asked(recommender, split, monkeypatch):
    """The samples that the engine gets and the users, histories and candidates that the baselines get."""
    asked = {}
    find_items = recommender.engine.find_items
    monkeypatch.setattr(
        recommender.engine,
        "find_items",
        lambda samples, task, **how: asked.setdefault(task, (samples, how)) and find_items(samples, task, **how),
    )
    how = {"seed": 3, "limit": 9}
    model = evaluate_model(recommender.engine, split, **how)

    given = []
    kind = type(load_baseline("popularity"))
    recommend = kind.recommend

    def recorded(self, histories, k=10, **arguments):
        given.append((histories, arguments))
        return recommend(self, histories, k, **arguments)

    monkeypatch.setattr(kind, "recommend", recorded)
    baselines = evaluate_baselines(recommender.processor.tasks, split, **how)
    assert list(baselines) == list(asked) == ["sequential", "topn"]
    assert all(list(results) == available_baselines() for results in baselines.values())
    for (task, (samples, searched)), (histories, arguments) in zip(asked.items(), given, strict=True):
        assert len(samples) == 9
        assert [sample.user for sample in samples] == list(arguments["users"])
        assert [split.history(sample.user, "test").tolist() for sample in samples] == [
            history.tolist() for history in histories
        ]
        assert searched["exclude"] == arguments["exclude_seen"] == (task == "sequential")
        if task == "topn":
            for sample, candidates in zip(samples, arguments["candidates"], strict=True):
                assert list(sample.candidates) == candidates.tolist()
                assert sample.target_item in candidates
        else:
            assert arguments["candidates"] is None
        assert all(row.protocol.comparable_to(model[task].protocol) for row in baselines[task].values())


def test_how_negatives_are_drawn_is_part_of_the_protocol(split):
    uniform, popular = (
        evaluate_baselines([load_task("topn", num_negatives=12, negatives=negatives)], split)["topn"]["popularity"]
        for negatives in ("uniform", "popularity")
    )
    assert uniform.protocol.candidates == "candidates-13"
    assert popular.protocol.candidates == "candidates-13-popularity"
    assert not uniform.protocol.comparable_to(popular.protocol)
    # Popular items stand out less among popular ones.
    assert popular.metrics["ndcg@10"] < uniform.metrics["ndcg@10"]


def test_limit_and_seed(recommender, split, monkeypatch):
    users = {}
    find_items = recommender.engine.find_items
    monkeypatch.setattr(
        recommender.engine,
        "find_items",
        lambda samples, task, **how: (
            users.update({task: [s.user for s in samples]}) or find_items(samples, task, **how)
        ),
    )

    def evaluate(**how):
        result = evaluate_model(recommender.engine, split, tasks=["topn"], **how)["topn"]
        return users["topn"], result

    everyone, whole = evaluate()
    assert everyone == split.evaluated_users("test").tolist()
    some, limited = evaluate(limit=6, seed=1)
    assert len(some) == 6
    assert some == sorted(some)
    assert set(some) < set(everyone)
    assert limited.protocol.num_users == 6
    assert evaluate(limit=6, seed=1) == (some, limited)
    assert evaluate(limit=6, seed=2)[0] != some
    assert evaluate(limit=21) == (everyone, whole) == evaluate(limit=500)


def test_a_part_that_asks_nothing(recommender, split):
    short = replace(split, test_items=np.full(21, -1), held_out_explanations={"validation": [], "test": []})
    for tasks in (None, ["topn"], ["explanation"]):
        with pytest.raises(ValueError, match="nobody has a test item: the split 'leave-one-out' .*evaluate another"):
            evaluate_model(recommender.engine, short, tasks=tasks)
    silent = replace(split, held_out_explanations={"validation": [], "test": []})
    assert list(evaluate_model(recommender.engine, silent, limit=2)) == ["sequential", "topn"]
    with pytest.raises(
        ValueError, match=r"the test part has no questions of the tasks \['explanation'\]; evaluate ano"
    ):
        evaluate_model(recommender.engine, silent, tasks=["explanation"])


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_leaves_nobody(recommender, split, limit):
    with pytest.raises(ValueError, match=f"limit must be at least 1, or left out to evaluate all users; got {limit}"):
        evaluate_model(recommender.engine, split, limit=limit)
    with pytest.raises(ValueError, match=f"limit must be at least 1, or left out to evaluate all users; got {limit}"):
        evaluate_baselines(recommender.processor.tasks, split, limit=limit)


def test_unknown_task(recommender, split):
    with pytest.raises(ValueError, match="unknown task 'rating'; this model has"):
        evaluate_model(recommender.engine, split, tasks=["rating"])


def evaluate_saved(folder: Path) -> None:
    """Evaluate the model of a folder; each process writes down what it got, and the first one the report."""
    state = process_state()
    recommender = Recommender.from_pretrained(folder / "model")
    split = make_split()
    results = {
        "all": evaluate_model(recommender.engine, split),
        # Divisible neither by two processes nor by three; and fewer than these, so that some have nothing to do.
        "five": evaluate_model(recommender.engine, split, limit=5),
        "two": evaluate_model(recommender.engine, split, limit=2),
        "one": evaluate_model(recommender.engine, split, limit=1),
    }
    numbers = {name: {task: row.to_dict() for task, row in rows.items()} for name, rows in results.items()}
    write_text(folder / f"seen-{state.num_processes}-{state.process_index}.json", json.dumps(numbers))
    if state.is_main_process:
        report = Report(corpus={"name": "small"}, part="test", tasks=results["all"], baselines={}, versions={}, seed=0)
        report.save(folder / f"report-{state.num_processes}.json")
        report.save_ranks(folder / f"ranks-{state.num_processes}.parquet")


def test_however_many_processes_get_the_results_of_one(recommender, split, tmp_path):
    recommender.save_pretrained(tmp_path / "model")
    for number in (2, 3):
        run_in_processes("tests.metrics.test_model_evaluation", [str(tmp_path)], number)
    evaluate_saved(tmp_path)
    one = json.loads((tmp_path / "seen-1-0.json").read_text(encoding="utf-8"))
    for number in (2, 3):
        for rank in range(number):
            assert json.loads((tmp_path / f"seen-{number}-{rank}.json").read_text(encoding="utf-8")) == one
        for file in ("report-{}.json", "ranks-{}.parquet"):
            assert (tmp_path / file.format(number)).read_bytes() == (tmp_path / file.format(1)).read_bytes()
    for name, size in (("all", 21), ("five", 5), ("two", 2), ("one", 1)):
        assert one[name]["sequential"]["protocol"]["num_users"] == size
    assert np.count_nonzero(list(one["all"]["topn"]["metrics"].values())) > 3
    users = load_ranks(tmp_path / "ranks-3.parquet")["sequential", "model"].user_ids
    assert users == [split.train.user_ids[user] for user in split.evaluated_users("test")]


if __name__ == "__main__":
    evaluate_saved(Path(sys.argv[1]))
