"""`peft-pod train`: a corpus in, a trained and evaluated model out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from transformers import set_seed

from peft_pod.corpus import Split
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.files import write_text
from peft_pod.generation import GenerationSettings, Recommender
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.tasks import SequentialTask, Task, TopNTask, load_task, supported_tasks
from peft_pod.training import (
    PODTrainer,
    PODTrainingArguments,
    build_model,
    build_tokenizer,
    check_base_model,
    process_state,
)
from peft_pod.training.plots import plot_losses
from peft_pod.training.setup import IdTokens
from peft_pod.tuner import PODConfig

from .arguments import CorpusArguments, ModelArguments, check_seed, parse_arguments
from .data import audit_of, fit_indexing, read_corpus, split_corpus
from .evaluate import evaluate_and_report
from .run_folder import RunFolder


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    kinds = (CorpusArguments, ModelArguments, PODTrainingArguments)
    corpus_arguments, model_arguments, training_arguments = parse_arguments(kinds, arguments, "peft-pod train")
    train(corpus_arguments, model_arguments, training_arguments)


def train(
    corpus_arguments: CorpusArguments, model_arguments: ModelArguments, training_arguments: PODTrainingArguments
) -> RunFolder:
    """Train a model, save it, evaluate it beside the baselines, and print the summary.

    Args:
        corpus_arguments: which corpus, and how it becomes text.
        model_arguments: which base, and how it is trained.
        training_arguments: of the Trainer; `output_dir` is the folder of the run.

    Returns:
        The folder of the run.

    Raises:
        ValueError: an argument cannot be used; the message names it.
        FileNotFoundError: there is no such data, base model, or run or checkpoint to resume.
        FileExistsError: there is a run already, or something else. An older run is replaced only once all arguments
            have proved usable.
    """
    _check_arguments(corpus_arguments, model_arguments, training_arguments)
    state = process_state()
    folder = RunFolder(Path(str(training_arguments.output_dir)))
    resume = _resumed(training_arguments.resume_from_checkpoint)
    values = _recorded(corpus_arguments, model_arguments, training_arguments)
    checkpoint = None
    if resume:
        folder.check_same(values)
        checkpoint = folder.checkpoint(resume)
    else:
        folder.check_new(overwrite=corpus_arguments.overwrite)
        for name, path in (("data_dir", corpus_arguments.data_dir), ("base_model", model_arguments.base_model)):
            folder.check_outside(name, path)
    training_arguments.output_dir = str(folder.checkpoints)
    seed = training_arguments.seed
    set_seed(seed)

    corpus = read_corpus(corpus_arguments)
    if resume:
        folder.check_same_corpus(corpus)
    split = split_corpus(corpus, corpus_arguments)
    tasks = _load_tasks(corpus_arguments, supported_tasks(split.train), corpus.name)
    indexing = fit_indexing(split, corpus_arguments, seed)
    tokenizer = build_tokenizer(
        model_arguments.base_model,
        split.train,
        indexing,
        tasks,
        vocabulary_size=model_arguments.vocabulary_size,
        id_tokens=cast(IdTokens, model_arguments.id_tokens),
    )
    processor = PODProcessor(tokenizer, indexing, tasks)
    settings = GenerationSettings(item_beams=model_arguments.item_beams, text_beams=model_arguments.text_beams)
    model = build_model(
        model_arguments.base_model,
        processor,
        train=split.train,
        item_start=model_arguments.resolved_item_start(indexing),
        seed=seed,
        dropout=model_arguments.dropout,
        num_virtual_tokens=model_arguments.num_virtual_tokens,
        prompt_init=model_arguments.prompt_init,
        prompt_init_adapter=model_arguments.prompt_init_adapter,
        whole_word_embedding=model_arguments.whole_word_embedding,
        max_whole_words=_most_ids(corpus_arguments),
        train_base=model_arguments.train_base,
        r=model_arguments.lora_r,
    )
    trainer = PODTrainer(
        model,
        training_arguments,
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor, seed=seed),
        eval_dataset=_validation(split, processor, corpus_arguments, training_arguments),
    )
    audit = audit_of(corpus, split, indexing, seed)
    # Only now, when all arguments have proved usable in all processes, is anything written, or an older run replaced.
    state.wait_for_everyone()
    if state.is_main_process:
        if resume:
            folder.remove_leftovers()
        else:
            folder.clear()
        write_text(folder.arguments, json.dumps(values, indent=2, default=str))
        if folder.saved_corpus() is None:
            corpus.save_to_disk(folder.corpus)
    state.wait_for_everyone()
    if resume and checkpoint is None:
        trainer.load_weights(folder.model)
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
    recommender = Recommender(
        model.eval(), processor, Catalogue.from_split(split), settings, show_progress=state.is_main_process
    )
    if state.is_main_process and not (resume and checkpoint is None):
        write_text(folder.log, json.dumps(trainer.state.log_history, indent=1))
        # A run that is shorter than `logging_steps` and takes no validation losses has nothing to draw.
        if any("loss" in entry or "eval_loss" in entry for entry in trainer.state.log_history):
            plot_losses(trainer.state.log_history, folder.loss_plot)
        # Last, because a run that keeps no checkpoints is known by it to have ended its training.
        with folder.saving_model() as temporary:
            recommender.save_pretrained(temporary, notes=[audit.note()])
    evaluate_and_report(folder, recommender, corpus, split, audit, seed=seed, limit=corpus_arguments.evaluation_limit)
    state.wait_for_everyone()
    return folder


def _check_arguments(
    corpus_arguments: CorpusArguments, model_arguments: ModelArguments, training_arguments: PODTrainingArguments
) -> None:
    check_seed(training_arguments.seed)
    limit = corpus_arguments.evaluation_limit
    if limit is not None and limit < 1:
        raise ValueError(f"--evaluation_limit must be at least 1, or left out to evaluate all users; got {limit}")
    if model_arguments.lora_r < 0:
        raise ValueError(f"--lora_r must be 0 (no LoRA) or a positive whole number, got {model_arguments.lora_r}")
    if model_arguments.lora_r and model_arguments.train_base:
        raise ValueError(
            "--lora_r asks for LoRA: add --no_train_base, since LoRA and full fine-tuning exclude each other"
        )
    if training_arguments.push_to_hub:
        raise ValueError("--push_to_hub would push a checkpoint; push the folder model/ of the run once it is trained")
    check_base_model(model_arguments.base_model)


def _validation(
    split: Split,
    processor: PODProcessor,
    corpus_arguments: CorpusArguments,
    training_arguments: PODTrainingArguments,
) -> dict[str, EvaluationSamples]:
    samples = EvaluationSamples.of_part(
        split, "validation", processor, seed=training_arguments.seed, limit=corpus_arguments.evaluation_limit
    )
    if not samples and training_arguments.eval_strategy != "no":
        raise ValueError(
            "no user has enough items to hold one out for validation; train without validation losses by "
            "--eval_strategy no --load_best_model_at_end false"
        )
    return samples


def _most_ids(arguments: CorpusArguments) -> int:
    """Rows of the whole-word table: the usual number, or more where inputs may hold more: user, history, candidates."""
    return max(PODConfig.max_whole_words, 1 + arguments.history_length, 2 + arguments.num_negatives)


def _load_tasks(arguments: CorpusArguments, supported: list[str], corpus: str) -> list[Task]:
    options: dict[str, dict[str, Any]] = {
        SequentialTask.name: {"history_length": arguments.history_length, "segments": arguments.segments},
        TopNTask.name: {"num_negatives": arguments.num_negatives},
    }
    tasks = []
    for name in arguments.tasks or supported:
        task = load_task(name, bare_probability=arguments.bare_probability, **options.get(name, {}))
        if name not in supported:
            raise ValueError(f"corpus {corpus!r} has no samples for the task {name!r}; it supports {supported}")
        tasks.append(task)
    return tasks


def _recorded(
    corpus_arguments: CorpusArguments, model_arguments: ModelArguments, training_arguments: PODTrainingArguments
) -> dict[str, Any]:
    """The arguments as they are kept in the run's folder."""
    values = {
        "corpus": asdict(corpus_arguments),
        "model": asdict(model_arguments),
        "training": training_arguments.to_dict(),
    }
    recorded: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return recorded


def _resumed(value: str | None) -> str | None:
    """The checkpoint asked for; `None` for none, which a YAML file or a script may also call false."""
    return None if value is None or value.lower() in ("", "false", "none") else value
