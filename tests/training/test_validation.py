"""What a validation measures, and by what the best model is chosen."""

from __future__ import annotations

import pytest

from peft_pod.generation import GenerationEngine, GenerationSettings
from peft_pod.metrics import ValidationRanking, evaluate_model
from peft_pod.processing import EvaluationSamples, TrainingSamples
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model
from peft_pod.training.validation import check_best_metric, ranking_metric

METRIC = "eval_sequential_ndcg@10"


class Scripted:
    """Ranks as it is told to."""

    names = ("sequential_ndcg@10",)
    size = 3

    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, model, limit=None):
        return {"sequential_ndcg@10": next(self.values)}


def make_trainer(split, processor, folder, ranking, **arguments):
    model = build_model(
        "scratch:tiny", processor, dropout=0.0, num_virtual_tokens=2, max_whole_words=16, train_base=True
    )
    settings = {
        "num_train_epochs": 3, "per_device_train_batch_size": 2, "learning_rate": 5e-3, "disable_tqdm": True,
        "use_cpu": True, "seed": 0, "metric_for_best_model": METRIC,
    }  # fmt: skip
    return PODTrainer(
        model,
        PODTrainingArguments(output_dir=str(folder), **{**settings, **arguments}),
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor),
        eval_dataset=EvaluationSamples.of_part(split, "validation", processor),
        rank_validation=ranking,
    )


@pytest.fixture(scope="module")
def ranking(split, processor):
    return ValidationRanking(split, processor, "sequential", settings=GenerationSettings(item_beams=4))


def test_each_validation_ranks_as_an_evaluation_of_that_part_does(split, processor, tmp_path, ranking):
    trainer = make_trainer(split, processor, tmp_path, ranking)
    trainer.train()
    validated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(validated) == 3
    kept = max(validated, key=lambda entry: entry[METRIC])
    assert trainer.state.best_global_step == kept["step"]
    engine = GenerationEngine(trainer.model.eval(), processor, GenerationSettings(item_beams=4))
    found = evaluate_model(engine, split, "validation", tasks=["sequential"], bootstrap=None)["sequential"].metrics
    for name in ("hr@10", "ndcg@10"):
        assert kept[f"eval_sequential_{name}"] == pytest.approx(found[name])


def test_the_best_by_ranking_is_kept_whatever_the_losses_say(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path, Scripted([0.1, 0.4, 0.2]))
    trainer.train()
    validated = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    losses = [entry["eval_loss"] for entry in validated]
    assert losses.index(min(losses)) == 2  # the last one, so the losses would have kept another
    assert trainer.state.best_global_step == validated[1]["step"]
    assert trainer.state.best_metric == 0.4
    assert trainer.evaluate({"sequential": trainer.eval_dataset["sequential"]})["eval_loss"] == pytest.approx(
        validated[1]["eval_sequential_loss"], rel=1e-5
    )


def test_training_stops_early_by_the_ranking(split, processor, tmp_path):
    trainer = make_trainer(
        split, processor, tmp_path, Scripted([0.3, 0.2, 0.1, 0.9]), early_stopping_patience=2, num_train_epochs=4
    )
    trainer.train()
    assert [entry[METRIC] for entry in trainer.state.log_history if METRIC in entry] == [0.3, 0.2, 0.1]


def test_samples_that_are_given_are_not_ranked_for(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path, Scripted([]))
    assert METRIC not in trainer.evaluate(trainer.eval_dataset)


def test_ranking_leaves_the_mode_of_the_model_as_it_was(split, processor, ranking):
    model = build_model("scratch:tiny", processor, dropout=0.5, num_virtual_tokens=2, max_whole_words=16)
    model.train()
    assert ranking(model) == ranking(model)
    assert all(module.training for module in model.modules())


def test_fewer_users_are_ranked_for_where_it_is_asked(split, processor):
    assert ValidationRanking(split, processor, "sequential").size == len(
        EvaluationSamples.of_part(split, "validation", processor)["sequential"]
    )
    ranking = ValidationRanking(split, processor, "sequential", limit=2, metrics=["hr"], ks=[1, 4])
    assert (ranking.size, ranking.names) == (2, ["sequential_hr@1", "sequential_hr@4"])
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2, max_whole_words=16)
    assert {2 * value for value in ranking(model).values()} <= {0.0, 1.0, 2.0}
    assert set(ranking(model, limit=1).values()) <= {0.0, 1.0}


def test_what_cannot_be_ranked_is_refused(split, processor):
    with pytest.raises(ValueError, match="the task 'explanation' writes text and ranks no items"):
        ValidationRanking(split, processor, "explanation")
    with pytest.raises(ValueError, match="limit must be at least 1, or left out .*got 0"):
        ValidationRanking(split, processor, "sequential", limit=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sequential_hr@5", ("sequential", "hr", 5)),
        ("eval_next_item_ndcg@10", ("next_item", "ndcg", 10)),
        ("eval_loss", None),
        ("hr@10", None),
        ("eval_topn_loss", None),
    ],
)
def test_names_of_ranking_metrics(name, expected):
    assert ranking_metric(name) == expected


def test_a_ranking_needs_someone_to_rank():
    check_best_metric("sequential_ndcg@10", ["sequential"], Scripted([]))
    with pytest.raises(ValueError, match="got 'sequential_ndcg@10'; to choose by how items are ranked,"):
        check_best_metric("sequential_ndcg@10", ["sequential"], None)
    with pytest.raises(ValueError, match=r"one of \['eval_loss', .*'eval_sequential_ndcg@10'\], got 'topn_hr@1'$"):
        check_best_metric("topn_hr@1", ["sequential"], Scripted([]))
