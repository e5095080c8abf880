from __future__ import annotations

import json
import math

import pytest
import torch

from peft_pod.corpus import load_corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.processing.sampler import SampleKey
from peft_pod.tasks import load_task
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer
from peft_pod.training.distillation import divergence

from . import in_processes
from .launching import run_in_processes

TASKS = ("sequential", "topn", "explanation")


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=21, num_items=40).split()


def make_processor(split, **options):
    indexing = load_indexing("sequential").fit(split.train)
    tasks = [load_task(name, **options, **({"num_negatives": 3} if name == "topn" else {})) for name in TASKS]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400)
    return PODProcessor(tokenizer, indexing, tasks)


@pytest.fixture(scope="module")
def processor(split):
    return make_processor(split)


def make_trainer(split, processor, folder, **arguments):
    settings = {
        "output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 4, "learning_rate": 5e-3,
        "logging_steps": 1, "disable_tqdm": True, "use_cpu": True, "eval_strategy": "no", "save_strategy": "no",
        "load_best_model_at_end": False,
    }  # fmt: skip
    return PODTrainer(
        build_model("scratch:tiny", processor, dropout=0.0, num_virtual_tokens=2, train_base=True),
        PODTrainingArguments(**{**settings, **arguments}),
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor),
    )


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def logged(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def softmax(logits, temperature):
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [value / sum(exponentials) for value in exponentials]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_formula_is_that_by_hand(temperature):
    teacher = [[[1.0, -0.5, 2.0], [0.3, 0.1, 0.0]], [[4.0, 0.0, -4.0], [9.0, 9.0, 0.0]]]
    student = [[[0.0, 0.5, 1.0], [0.3, 0.1, 0.0]], [[0.0, 0.0, 0.0], [-9.0, 5.0, 0.0]]]
    labels = torch.tensor([[1, 2], [0, -100]])
    by_token = []
    for row, place in ((0, 0), (0, 1), (1, 0)):
        p, q = (softmax(logits[row][place], temperature) for logits in (teacher, student))
        by_token.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    assert by_token[1] == 0
    expected = temperature**2 * sum(by_token) / 3
    assert divergence(torch.tensor(teacher), torch.tensor(student), labels, temperature).item() == pytest.approx(
        expected, rel=1e-6
    )
    in_bf16 = divergence(torch.tensor(teacher).bfloat16(), torch.tensor(student).bfloat16(), labels, temperature)
    assert in_bf16.dtype == torch.float32
    assert in_bf16.item() == pytest.approx(expected, rel=1e-2)


def test_the_teacher_gets_no_gradient_and_the_student_that_of_the_formula():
    """The derivative with respect to the student's logits is T (q − p) / tokens."""
    torch.manual_seed(0)
    teacher, student = (torch.randn(2, 3, 7, requires_grad=True) for _ in range(2))
    labels = torch.tensor([[1, 2, 3], [4, -100, -100]])
    divergence(teacher, student, labels, 2.0).backward()
    assert teacher.grad is None
    expected = 2.0 * ((student / 2).softmax(-1) - (teacher / 2).softmax(-1)) / 4
    torch.testing.assert_close(student.grad, torch.where((labels >= 0)[..., None], expected, 0.0).detach())


def test_the_loss_of_a_batch_and_where_its_gradients_go(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path, distillation_weight=0.7, distillation_temperature=1.5)
    model = trainer.model.train()
    batches = iter(trainer.get_train_dataloader())
    for task_id in range(3):
        batch = next(batches)
        assert batch["task_id"].unique().tolist() == [task_id]
        asked = {name: batch[name] for name in ("input_ids", "attention_mask", "whole_word_ids", "task_id", "labels")}
        bare = {**asked, **{name: batch[f"bare_{name}"] for name in ("input_ids", "attention_mask", "whole_word_ids")}}
        model.zero_grad()
        with torch.no_grad():
            teacher = (model(**asked).logits / 1.5).softmax(-1)
        loss = model(**asked).loss
        student = (model(**bare).logits / 1.5).log_softmax(-1)
        counted = batch["labels"] >= 0
        apart = 1.5**2 * (teacher * (teacher.log() - student)).sum(-1)[counted].mean()
        (loss + 0.7 * apart).backward()
        expected = {name: parameter.grad for name, parameter in model.named_parameters()}

        model.zero_grad()
        found = trainer.compute_loss(model, dict(batch))
        assert found.item() == pytest.approx((loss + 0.7 * apart).item(), rel=1e-5)
        assert apart.item() > 1e-4
        found.backward()
        for name, parameter in model.named_parameters():
            if expected[name] is None:
                assert parameter.grad is None
            else:
                torch.testing.assert_close(parameter.grad, expected[name], atol=1e-6, rtol=1e-3)


def test_a_bare_question_is_that_of_inference(split, processor):
    samples = TrainingSamples(split.train, processor)
    both = samples.with_bare_questions()
    for task in range(3):
        for index in range(8):
            key = SampleKey(task, index, 3)
            sample, alone, encoded = samples.sample(key), samples[key], both[key]
            assert {name: encoded[name] for name in alone} == alone
            words = [processor.indexing.user_word(sample.user)]
            for items in sample.items.values():
                words += [processor.indexing.item_word(item) for item in items]
            assert encoded["bare_input_ids"] == processor.tokenizer(" ".join(words))["input_ids"]
            assert encoded["bare_whole_word_ids"] == [*range(1, len(words) + 1), 0]  # an ID is one token here


def test_without_weight_nothing_changes_and_nothing_is_spent(split, processor, tmp_path):
    trained = []
    for arguments in ({}, {"distillation_weight": 0.0, "distillation_temperature": 3.0}):
        trainer = make_trainer(split, processor, tmp_path, **arguments)
        batch = next(iter(trainer.get_train_dataloader()))
        assert set(batch) == {"input_ids", "attention_mask", "whole_word_ids", "task_id", "labels"}
        model = trainer.model.train()
        assert torch.equal(trainer.compute_loss(model, dict(batch)), model(**batch).loss)
        calls = []
        hook = model.get_base_model().register_forward_hook(lambda *_, calls=calls: calls.append(1))
        trainer.train()
        hook.remove()
        assert len(calls) == 6
        assert not any(name.startswith("distillation") for entry in logged(trainer) for name in entry)
        trained.append(weights(trainer.model))
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_where_the_template_is_the_bare_one_nothing_is_apart(split, tmp_path):
    processor = make_processor(split, bare_probability=1.0)
    trainer = make_trainer(split, processor, tmp_path, distillation_weight=5.0)
    trainer.train()
    for entry in logged(trainer):
        (apart,) = (value for name, value in entry.items() if name.startswith("distillation_"))
        assert apart == pytest.approx(0, abs=1e-6)


def test_accumulated_batches_are_their_mean_and_the_log_has_each_task(split, processor, tmp_path):
    still = {"learning_rate": 1e-12, "distillation_weight": 0.5}
    single = make_trainer(split, processor, tmp_path, **still)
    single.train()
    double = make_trainer(split, processor, tmp_path, gradient_accumulation_steps=2, max_steps=3, **still)
    double.train()
    singles, doubles = logged(single), logged(double)
    assert [sorted(name for name in entry if name.startswith("distillation_")) for entry in doubles] == [
        ["distillation_sequential", "distillation_topn"],
        ["distillation_explanation", "distillation_sequential"],
        ["distillation_explanation", "distillation_topn"],
    ]
    for step, entry in enumerate(doubles):
        pair = singles[2 * step : 2 * step + 2]
        assert entry["loss"] == pytest.approx(sum(one["loss"] for one in pair) / 2, abs=1e-4)
        for one in pair:
            for name, value in one.items():
                if name.startswith(("loss_", "distillation_")):
                    assert entry[name] == pytest.approx(value, rel=1e-4)


def test_in_bf16_it_is_nearly_the_same(split, processor, tmp_path):
    losses = []
    for bf16 in (False, True):
        trainer = make_trainer(split, processor, tmp_path, distillation_weight=1.0, bf16=bf16, learning_rate=1e-12)
        trainer.train()
        losses.append([entry["loss"] for entry in logged(trainer)])
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert losses[1] != losses[0]


def test_it_draws_the_two_answers_together(split, processor, tmp_path):
    apart = []
    for weight in (1e-9, 3.0):
        trainer = make_trainer(split, processor, tmp_path, distillation_weight=weight, max_steps=45)
        trainer.train()
        last = [value for entry in logged(trainer)[-9:] for name, value in entry.items() if name[:5] == "disti"]
        apart.append(sum(last) / len(last))
    assert apart[1] < 0.7 * apart[0]


@pytest.mark.slow  # starts two processes; run with `pytest -m slow tests/training/test_distillation.py`
def test_two_processes_distil_as_one_with_the_doubled_batch(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    run_in_processes("tests.training.in_processes", [str(tmp_path / "two"), "4", "0.5"])
    in_processes.train(tmp_path / "one", 8, 0.5)
    seen = [json.loads((tmp_path / name / "seen-0.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    for one, two in zip(*seen, strict=True):
        assert (one["processes"], two["processes"]) == (1, 2)
        for expected, found in zip(one["losses"], two["losses"], strict=True):
            measured = [
                {name: value for name, value in entry.items() if "runtime" not in name} for entry in (expected, found)
            ]
            # Adam's first steps make much of a gradient that is nothing but rounding, which differs by processor.
            assert measured[1] == pytest.approx(measured[0], abs=2e-4, rel=1e-3)
        assert any("distillation_explanation" in entry for entry in one["losses"])
        for expected, found in zip(one["weights"], two["weights"], strict=True):
            assert found == pytest.approx(expected, abs=1e-4)


def test_validation_asks_bare_questions_alone(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path, distillation_weight=2.0)
    samples = EvaluationSamples.of_part(split, "validation", processor)
    plain = make_trainer(split, processor, tmp_path)
    for name, value in plain.evaluate(samples).items():
        if name.endswith("loss"):
            assert trainer.evaluate(samples)[name] == value


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"distillation_weight": -0.1}, r"distillation_weight must be 0 .* got -0\.1"),
        ({"distillation_weight": math.nan}, r"distillation_weight must be 0 .* got nan"),
        ({"distillation_temperature": 0.0}, r"distillation_temperature must be above 0, got 0\.0"),
        ({"distillation_temperature": math.inf}, "distillation_temperature must be above 0, got inf"),
    ],
)
def test_arguments_are_checked(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        PODTrainingArguments(output_dir=str(tmp_path), **wrong)
