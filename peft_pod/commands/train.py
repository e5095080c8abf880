"""`peft-pod train`: a corpus in, a trained and evaluated model out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from accelerate import PartialState
from transformers import set_seed

from peft_pod.corpus import Corpus, load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.files import write_text
from peft_pod.generation import GenerationSettings, Recommender
from peft_pod.indexing import load_indexing
from peft_pod.processing import EvaluationSamples, PODProcessor, TrainingSamples
from peft_pod.tasks import SequentialTask, Task, TopNTask, load_task, supported_tasks
from peft_pod.training import PODTrainer, PODTrainingArguments, build_model, build_tokenizer
from peft_pod.training.plots import plot_losses
from peft_pod.training.setup import IdTokens

from .arguments import CorpusArguments, ModelArguments, parse_arguments, parse_options
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
    """
    if model_arguments.lora_r and model_arguments.train_base:
        raise ValueError(
            "--lora_r asks for LoRA: add --no_train_base, since LoRA and full fine-tuning exclude each other"
        )
    state = PartialState()
    folder = RunFolder(Path(str(training_arguments.output_dir)))
    resume = training_arguments.resume_from_checkpoint
    values = _recorded(corpus_arguments, model_arguments, training_arguments)
    if resume:
        folder.check_same(values)
    else:
        folder.check_new(overwrite=corpus_arguments.overwrite)
    training_arguments.output_dir = str(folder.checkpoints)
    seed = training_arguments.seed
    set_seed(seed)

    corpus = _load_corpus(corpus_arguments)
    split = corpus.split()
    tasks = _load_tasks(corpus_arguments, supported_tasks(split.train), corpus.name)
    indexing = load_indexing(corpus_arguments.indexing).fit(split.train, seed=seed)
    tokenizer = build_tokenizer(
        model_arguments.base_model,
        split.train,
        indexing,
        tasks,
        vocabulary_size=model_arguments.vocabulary_size,
        id_tokens=cast(IdTokens, model_arguments.id_tokens),
    )
    processor = PODProcessor(tokenizer, indexing, tasks)
    model = build_model(
        model_arguments.base_model,
        processor,
        train=split.train if model_arguments.starts_collaborative else None,
        seed=seed,
        dropout=model_arguments.dropout,
        num_virtual_tokens=model_arguments.num_virtual_tokens,
        whole_word_embedding=model_arguments.whole_word_embedding,
        train_base=model_arguments.train_base,
        r=model_arguments.lora_r,
    )
    # Only now, when all arguments have proved usable, is anything written, or an older run replaced.
    if state.is_main_process:
        if not resume:
            folder.clear()
        corpus.save_to_disk(folder.corpus)
        write_text(folder.arguments, json.dumps(values, indent=2, default=str))
    state.wait_for_everyone()
    trainer = PODTrainer(
        model,
        training_arguments,
        processor=processor,
        train_dataset=TrainingSamples(split.train, processor, seed=seed),
        eval_dataset=EvaluationSamples.of_part(
            split, "validation", processor, seed=seed, limit=corpus_arguments.evaluation_limit
        ),
    )
    trainer.train(resume_from_checkpoint=_checkpoint(resume))
    settings = GenerationSettings(item_beams=model_arguments.item_beams, text_beams=model_arguments.text_beams)
    recommender = Recommender(
        model.eval(), processor, Catalogue.from_split(split), settings, show_progress=state.is_main_process
    )
    if state.is_main_process:
        recommender.save_pretrained(folder.model)
        write_text(folder.log, json.dumps(trainer.state.log_history, indent=1))
        plot_losses(trainer.state.log_history, folder.loss_plot)
    evaluate_and_report(folder, recommender, corpus, split, seed=seed, limit=corpus_arguments.evaluation_limit)
    state.wait_for_everyone()
    return folder


def _load_corpus(arguments: CorpusArguments) -> Corpus:
    options = parse_options(arguments.corpus_options, "--corpus_options")
    return load_corpus(arguments.corpus, arguments.data_dir, **options)


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


def _checkpoint(resume: str | None) -> str | bool | None:
    # `--resume_from_checkpoint true` means the last one, as in the scripts of transformers.
    return True if resume is not None and resume.lower() in ("true", "last") else resume
