from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Seq2SeqTrainer, TrainerCallback

from peft_pod.processing import EvaluationSamples, PODCollator, PODProcessor, TrainingSamples
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, load_base_model
from peft_pod.training.setup import longest_input

from ..tuner.models import make_base

MODES = {"frozen": {}, "lora": {"r": 2}, "full": {"train_base": True}}
TASKS = ("sequential", "topn", "explanation")


def make_trainer(split, processor, folder, mode="full", callbacks=(), with_eval=True, **arguments):
    model = build_model("scratch:tiny", processor, dropout=0.0, num_virtual_tokens=2, max_whole_words=16, **MODES[mode])
    settings = {
        "output_dir": str(folder),
        "num_train_epochs": 3,
        "per_device_train_batch_size": 2,
        "learning_rate": 5e-3,
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 0,
    }
    if not with_eval:
        settings.update(eval_strategy="no", load_best_model_at_end=False)
    return PODTrainer(
        model,
        PODTrainingArguments(**{**settings, **arguments}),
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor),
        eval_dataset=EvaluationSamples.of_part(split, "validation", processor) if with_eval else None,
        callbacks=callbacks,
    )


class Recorder(TrainerCallback):
    """Keeps the task of every step and the logged lines."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append(dict(logs))


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_steps_alternate_and_each_tasks_loss_is_logged(split, processor, tmp_path):
    recorder = Recorder()
    trainer = make_trainer(split, processor, tmp_path, callbacks=[recorder], num_train_epochs=1)
    trainer.train()
    steps = [line for line in recorder.logs if "loss" in line]
    logged = [[name for name in line if name.startswith("loss_")] for line in steps]
    assert logged[:6] == [["loss_sequential"], ["loss_topn"], ["loss_explanation"]] * 2
    for line in steps:
        # With one step a line, the task's loss is the line's loss; the Trainer rounds its own.
        assert next(value for name, value in line.items() if name.startswith("loss_")) == pytest.approx(
            line["loss"], abs=1e-3
        )


@pytest.mark.parametrize("mode", list(MODES))
def test_train_tasks_trains_those_tasks_on_their_own_batches(split, processor, tmp_path, mode):
    """Batches of other tasks have no gradient, but the optimiser's momentum would move what is trained at them."""
    recorder = Recorder()
    trainer = make_trainer(split, processor, tmp_path, mode, callbacks=[recorder], num_train_epochs=2)
    trainer.model.set_train_tasks(["topn"])
    before = weights(trainer.model)
    trainer.train()
    changed = {name for name, value in weights(trainer.model).items() if not torch.equal(value, before[name])}
    assert changed == {"base_model.prompts.pod_prompts.default.task_topn"}
    logged = {name for line in recorder.logs if "loss" in line for name in line if name.startswith("loss_")}
    assert logged == {"loss_topn"}
    evaluated = next(line for line in recorder.logs if "eval_loss" in line)
    assert {f"eval_{name}_loss" for name in TASKS} <= evaluated.keys()


def test_columns_of_ours_reach_the_model(split, processor, tmp_path):
    """Trap: the Trainer drops columns that the base's forward does not name, here even when told to look for them."""
    trainer = make_trainer(split, processor, tmp_path, remove_unused_columns=True)
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch) == {"input_ids", "attention_mask", "whole_word_ids", "task_id", "labels"}
    batch = next(iter(trainer.get_eval_dataloader(trainer.eval_dataset["topn"])))
    assert set(batch) == {"input_ids", "attention_mask", "whole_word_ids", "task_id", "labels"}


def test_validation_loss_is_the_mean_over_tasks(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path)
    metrics = trainer.evaluate()
    collate = PODCollator(processor.tokenizer.pad_token_id)
    expected = {}
    for name, dataset in trainer.eval_dataset.items():
        batch = collate([dataset[index] for index in range(len(dataset))])
        with torch.no_grad():
            expected[name] = trainer.model.eval()(**batch).loss.item()
    for name, loss in expected.items():
        assert metrics[f"eval_{name}_loss"] == pytest.approx(loss, rel=1e-4)
    assert metrics["eval_loss"] == pytest.approx(sum(expected.values()) / 3, rel=1e-4)


def test_validation_loss_does_not_depend_on_batches(split, processor, tmp_path):
    """Answers are of different lengths: the mean of the batches' means would be another number."""
    evaluated = [
        make_trainer(split, processor, tmp_path, per_device_eval_batch_size=size).evaluate() for size in (1, 64)
    ]
    for name in ("eval_sequential_loss", "eval_topn_loss", "eval_explanation_loss", "eval_loss"):
        assert evaluated[0][name] == pytest.approx(evaluated[1][name], rel=1e-5)


def test_accumulated_batches_are_averaged(split, processor, tmp_path):
    """Trap: the Trainer takes T5 for a model that divides its loss by all accumulated tokens, and does not itself."""
    recorder = Recorder()
    make_trainer(
        split, processor, tmp_path, callbacks=[recorder], max_steps=2, gradient_accumulation_steps=3, with_eval=False,
        save_strategy="no",
    ).train()  # fmt: skip
    steps = [line for line in recorder.logs if "loss" in line]
    assert len(steps) == 2
    for line in steps:
        of_tasks = [line[f"loss_{name}"] for name in TASKS]  # three batches, one of each task
        assert line["loss"] == pytest.approx(sum(of_tasks) / 3, abs=1e-3)


def test_the_best_model_is_kept(split, processor, tmp_path):
    """A model that is ruined after its first epoch: what is kept at the end is the best epoch's, not the last's."""

    class Ruin(TrainerCallback):
        def on_epoch_begin(self, args, state, control, model=None, **kwargs):
            if state.epoch >= 1:
                with torch.no_grad():
                    model.get_base_model().shared.weight.mul_(30)

    trainer = make_trainer(split, processor, tmp_path, callbacks=[Ruin()])
    trainer.train()
    losses = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    assert min(losses) < losses[-1]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-4)


def test_early_stopping_counts_consecutive_epochs(split, processor, tmp_path):
    scripted = iter([5.0, 4.0, 4.5, 3.0, 3.5, 3.2, 9.0, 9.0, 9.0, 9.0])

    class Scripted(PODTrainer):
        def evaluate(self, *args, **kwargs):
            metrics = {"eval_loss": next(scripted)}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    trainer = make_trainer(split, processor, tmp_path, num_train_epochs=10, early_stopping_patience=2)
    trainer.__class__ = Scripted
    trainer.train()
    # 4.5 is one epoch without a better loss, 3.0 starts the count anew, 3.5 and 3.2 are two in a row.
    assert trainer.state.epoch == 6
    assert trainer.state.best_metric == 3.0


@pytest.mark.parametrize("interrupted_after", [2, 6])
def test_early_stopping_counts_on_after_resuming(split, processor, tmp_path, interrupted_after):
    """Trap: by default the Trainer forgets the count, and would train for longer than a run without interruption."""
    losses = [5.0, 4.0, 4.5, 3.0, 3.5, 3.2, 9.0, 1.0, 1.0, 1.0]

    class Scripted(PODTrainer):
        def evaluate(self, *args, **kwargs):
            metrics = {"eval_loss": losses[round(self.state.epoch) - 1]}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    class Interrupt(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch == interrupted_after:
                raise KeyboardInterrupt

    def make(*callbacks):
        trainer = make_trainer(
            split, processor, tmp_path, callbacks=callbacks, num_train_epochs=10, early_stopping_patience=2,
            lr_scheduler_type="constant",
        )  # fmt: skip
        trainer.__class__ = Scripted
        return trainer

    first = make(Interrupt())
    if interrupted_after < 6:
        with pytest.raises(KeyboardInterrupt):
            first.train()
    else:
        first.train()
    resumed = make()
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.epoch == 6
    assert resumed.state.best_metric == 3.0
    if interrupted_after == 6:
        expected = weights(first.model)
        assert all(torch.equal(parameter, expected[name]) for name, parameter in weights(resumed.model).items())


@pytest.mark.parametrize("mode", list(MODES))
def test_resuming_gives_the_weights_of_an_unbroken_run(split, processor, tmp_path, mode):
    """Trap: under full fine-tuning the stock Trainer saves adapter keys only and resumes from other base weights."""
    steps = len(make_trainer(split, processor, tmp_path / "length", mode).get_train_dataloader())
    common = {"with_eval": False, "save_strategy": "steps", "save_steps": steps + 2, "save_total_limit": None}
    unbroken = make_trainer(split, processor, tmp_path / "unbroken", mode, **common)
    unbroken.train()
    checkpoint = tmp_path / "unbroken" / f"checkpoint-{steps + 2}"  # in the middle of the second epoch
    assert checkpoint.is_dir()

    resumed = make_trainer(split, processor, tmp_path / "resumed", mode, **common)
    if mode == "full":
        with torch.no_grad():  # whatever the base held before, the checkpoint must bring it back
            for parameter in resumed.model.get_base_model().parameters():
                parameter.add_(0.3)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    expected = weights(unbroken.model)
    for name, parameter in weights(resumed.model).items():
        torch.testing.assert_close(
            parameter, expected[name], atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_stock_trainer_works_with_the_processor(split, processor, tmp_path):
    """POD is a PEFT method like any other: the Trainer of transformers trains it on a plain dataset."""
    from datasets import Dataset

    samples = EvaluationSamples.of_part(split, "validation", processor)["sequential"]
    dataset = Dataset.from_list([samples[index] for index in range(len(samples))])
    model = build_model("scratch:tiny", processor, dropout=0.0, train_base=True)
    arguments = PODTrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=30, learning_rate=1e-2, eval_strategy="no", save_strategy="no",
        load_best_model_at_end=False, remove_unused_columns=False, disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    collate = PODCollator(processor.tokenizer.pad_token_id)
    result = Seq2SeqTrainer(model, arguments, train_dataset=dataset, data_collator=collate).train()
    assert result.training_loss < math.log(len(processor.tokenizer))


def test_tasks_of_model_and_processor_must_agree(split, processor, tmp_path):
    from peft_pod import PODConfig

    base = load_base_model("scratch:tiny", processor.tokenizer)
    other = get_peft_model(base, PODConfig(tasks=["topn", "sequential", "explanation"]))
    arguments = PODTrainingArguments(output_dir=str(tmp_path))
    with pytest.raises(ValueError, match="must be the same in the same order"):
        PODTrainer(other, arguments, processor=processor)
    lora = get_peft_model(make_base("t5"), LoraConfig(task_type="SEQ_2_SEQ_LM"))
    with pytest.raises(ValueError, match="has no POD adapter"):
        PODTrainer(lora, arguments, processor=processor)


def test_what_is_best_must_be_measured(split, processor, tmp_path):
    with pytest.raises(ValueError, match=r"metric_for_best_model must be one of \['eval_loss', 'eval_seq.*got 'bleu'"):
        make_trainer(split, processor, tmp_path, metric_for_best_model="bleu")
    make_trainer(split, processor, tmp_path, metric_for_best_model="topn_loss")
    with pytest.raises(ValueError, match="early_stopping_patience needs a metric_for_best_model"):
        PODTrainingArguments(output_dir=str(tmp_path), metric_for_best_model=None, load_best_model_at_end=False)


def test_templates_longer_than_the_model_takes_are_found_before_training(split, processor, tmp_path):
    short = PODProcessor(processor.tokenizer, processor.indexing, processor.tasks, max_input_length=12)
    with pytest.raises(ValueError, match="the input has .* tokens and the model takes 12"):
        make_trainer(split, short, tmp_path, with_eval=False)


def test_training_without_a_dataset_is_an_error(split, processor, tmp_path):
    model = build_model("scratch:tiny", processor)
    arguments = PODTrainingArguments(output_dir=str(tmp_path), eval_strategy="no", load_best_model_at_end=False)
    trainer = PODTrainer(model, arguments, processor=processor)
    with pytest.raises(ValueError, match="needs a train_dataset"):
        trainer.train()


def test_early_stopping_patience_is_checked(tmp_path):
    with pytest.raises(ValueError, match="early_stopping_patience must be at least 1, .*got 0"):
        PODTrainingArguments(output_dir=str(tmp_path), early_stopping_patience=0)


@pytest.mark.parametrize("name", ["per_device_train_batch_size", "per_device_eval_batch_size", "num_train_epochs"])
def test_numbers_that_count_are_checked(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} must be above 0, got 0"):
        PODTrainingArguments(output_dir=str(tmp_path), **{name: 0})


def test_scratch_sizes_and_unknown_ones(processor):
    model = load_base_model("scratch:tiny", processor.tokenizer, dropout=0.25)
    assert model.config.vocab_size == len(processor.tokenizer)
    assert model.config.dropout_rate == 0.25
    same = load_base_model("scratch:tiny", processor.tokenizer, dropout=0.25)
    assert torch.equal(model.shared.weight, same.shared.weight)
    with pytest.raises(ValueError, match=r"unknown size 'huge' in base model 'scratch:huge'; sizes are \['tiny'"):
        load_base_model("scratch:huge", processor.tokenizer)


def test_decoder_only_base_is_refused(processor, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a 'gpt2' model, not an encoder-decoder"):
        load_base_model(str(tmp_path), processor.tokenizer)


def test_base_from_a_folder_is_given_rows_for_new_tokens(processor, tmp_path):
    base = make_base("t5")  # 60 tokens, fewer than the processor's tokenizer has
    base.save_pretrained(tmp_path)
    loaded = load_base_model(str(tmp_path), processor.tokenizer)
    assert loaded.get_input_embeddings().num_embeddings == len(processor.tokenizer) > 60
    assert torch.equal(loaded.get_input_embeddings().weight[:60], base.get_input_embeddings().weight)


def test_input_limit_follows_from_the_base(split, processor, tmp_path):
    assert longest_input(make_base("t5")) is None
    assert longest_input(make_base("bart")) == 64
    make_base("bart").save_pretrained(tmp_path)
    fresh = PODProcessor(processor.tokenizer, processor.indexing, processor.tasks)
    build_model(str(tmp_path), fresh, num_virtual_tokens=10, train_base=True)
    assert fresh.max_input_length == 54
    fresh = PODProcessor(processor.tokenizer, processor.indexing, processor.tasks, max_target_length=100)
    build_model(str(tmp_path), fresh, num_virtual_tokens=62, train_base=True)
    assert (fresh.max_input_length, fresh.max_target_length) == (2, 64)
    fresh = PODProcessor(processor.tokenizer, processor.indexing, processor.tasks)
    with pytest.raises(ValueError, match="num_virtual_tokens is 63, but base model .* has 64 positions .*use fewer"):
        build_model(str(tmp_path), fresh, num_virtual_tokens=63, train_base=True)


def test_trained_adapter_loads_from_the_checkpoint(split, processor, tmp_path):
    trainer = make_trainer(split, processor, tmp_path, num_train_epochs=1)
    trainer.train()
    checkpoint = trainer.state.best_model_checkpoint
    base = load_base_model("scratch:tiny", processor.tokenizer, seed=5)
    loaded = PeftModel.from_pretrained(base, checkpoint)
    expected = weights(trainer.model)
    assert all(torch.equal(parameter, expected[name]) for name, parameter in weights(loaded).items())
