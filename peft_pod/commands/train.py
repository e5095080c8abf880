"""`peft-pod train`: a corpus in, a trained and evaluated model out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

from datasets import disable_progress_bars
from peft import PeftModel
from transformers import TrainerState, set_seed

from peft_pod.audit import Audit
from peft_pod.corpus import Corpus, Part, Split
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.files import remove_leftovers, write_text
from peft_pod.generation import GenerationSettings, Recommender
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.metrics.model_evaluation import why_nothing_is_asked
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
from peft_pod.training.progress import shows_bars
from peft_pod.training.reporting import check_report_to, describe_run
from peft_pod.training.setup import IdTokens
from peft_pod.training.time_limited import PlannedLength
from peft_pod.tuner import PODConfig

from .added_tasks import FirstStage
from .arguments import CorpusArguments, EvaluationPart, ModelArguments, check_seed, parse_arguments
from .data import audit_of, fit_indexing, read_corpus, split_corpus
from .evaluate import evaluate_and_report
from .recipes import RecipeArguments
from .resuming import LENGTHENED, SECTIONS
from .run_folder import RunFolder, report_variant
from .run_record import environment, rerun_config, run_metrics, write_state
from .validation import choose_metric, validation_limit, validation_ranking

_NO_VALIDATION = "--eval_strategy no --load_best_model_at_end false"


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    # It builds a run by this module.
    from .plan import PlanArguments, check_plan, dry_run

    kinds = (CorpusArguments, ModelArguments, PODTrainingArguments, RecipeArguments, PlanArguments)
    *parsed, recipe, plan = parse_arguments(kinds, arguments, "peft-pod train")
    check_plan(plan)
    if not shows_bars(parsed[-1].disable_tqdm):
        disable_progress_bars()
    if plan.dry_run:
        dry_run(*parsed, recipe=recipe.recipe, as_json=plan.json)
    else:
        train(*parsed, recipe=recipe.recipe)


def train(
    corpus_arguments: CorpusArguments,
    model_arguments: ModelArguments,
    training_arguments: PODTrainingArguments,
    *,
    recipe: str | None = None,
) -> RunFolder:
    """Train a model, save it, evaluate it beside the baselines, and print the summary.

    Args:
        corpus_arguments: which corpus, and how it becomes text.
        model_arguments: which base, and how it is trained.
        training_arguments: of the Trainer; `output_dir` is the folder of the run.
        recipe: that the arguments started from, to be recorded.

    Returns:
        The folder of the run.

    Raises:
        ValueError: an argument cannot be used; the message names it.
        FileNotFoundError: there is no such data, base model, or run or checkpoint to resume.
        FileExistsError: there is a run already, or something else. An older run is replaced only once all arguments
            have proved usable.
    """
    built = build(corpus_arguments, model_arguments, training_arguments)
    folder, trainer = built.folder, built.trainer
    state = process_state()
    had_ended = built.had_ended
    planned = trainer.plan_length(built.left_by)
    # Only now, when all arguments have proved usable in all processes, is anything written, or an older run replaced.
    state.wait_for_everyone()
    if state.is_main_process:
        if built.resumed:
            remove_leftovers(folder.path)
        else:
            folder.clear()
        write_text(folder.arguments, json.dumps(built.values, indent=2, default=str))
        fingerprint = built.corpus.fingerprint
        again = rerun_config(
            built.rerun_values(planned),
            recipe=recipe,
            fingerprint=fingerprint,
            earlier_lengths=built.values.get(LENGTHENED, ()),
        )
        write_text(folder.config, again)
        write_text(folder.environment, json.dumps(environment(), indent=2))
        if folder.saved_corpus() is None:
            built.corpus.save_to_disk(folder.corpus)
    state.wait_for_everyone()
    describe_run(trainer, built.described(), built.corpus.fingerprint, folder.path)
    seconds = None
    if had_ended:
        trainer.load_weights(folder.model)
        trainer.state = TrainerState.load_from_json(str(folder.trainer_state))
    else:
        seconds = trainer.train(resume_from_checkpoint=built.checkpoint).metrics.get("train_runtime")
    seen = trainer.seen()
    recommender = built.recommender(show_progress=state.is_main_process and shows_bars(trainer.args.disable_tqdm))
    if state.is_main_process and not had_ended:
        write_state(trainer.state, folder.trainer_state)
        write_text(folder.log, json.dumps(trainer.state.log_history, indent=1))
        # A run that is shorter than `logging_steps` and takes no validation losses has nothing to draw.
        if any("loss" in entry or "eval_loss" in entry for entry in trainer.state.log_history):
            plot_losses(trainer.state.log_history, folder.loss_plot)
    if state.is_main_process:
        # Last, because a run that keeps no checkpoints is known by it to have ended its training. Of one that had, only
        # the settings of its searches may have changed.
        with folder.saving_model() as temporary:
            recommender.save_pretrained(temporary, notes=[built.audit.note()])
    part = built.evaluated_part()
    report = None
    if part is not None:
        report = evaluate_and_report(
            folder,
            recommender,
            built.corpus,
            built.split,
            built.audit,
            part=part,
            seed=training_arguments.seed,
            limit=corpus_arguments.evaluation_limit,
            # The names without a variant are those of the test part.
            variant=report_variant(part, None, True),
        )
    if state.is_main_process:
        parameters = built.model.get_nb_trainable_parameters()
        metrics = run_metrics(
            trainer.state,
            report,
            built.audit,
            built.corpus,
            seconds=seconds,
            seen=seen,
            parameters=parameters,
            kept_best=bool(trainer.args.load_best_model_at_end),
            planned=planned,
        )
        write_text(folder.metrics, json.dumps(metrics, indent=2, ensure_ascii=False))
    state.wait_for_everyone()
    return folder


@dataclass(frozen=True)
class Built:
    """What a run is made of, before its first step.

    Attributes:
        folder: of the run.
        values: the arguments by section, as they are kept in the folder.
        checkpoint: to go on from; `None` for a new run.
        corpus: as it was read and prepared.
        split: of the corpus.
        audit: of corpus, split and item IDs.
        processor: has tokenizer, item IDs and tasks.
        settings: of the beam searches.
        model: not yet trained.
        trainer: has the model and the samples.
        resumed: whether the run was begun before.
        added_tasks: those that are added to the model of another run; `None` where there is none.
    """

    folder: RunFolder
    values: dict[str, Any]
    checkpoint: str | None
    corpus: Corpus
    split: Split
    audit: Audit
    processor: PODProcessor
    settings: GenerationSettings
    model: PeftModel
    trainer: PODTrainer
    resumed: bool
    added_tasks: tuple[str, ...] | None

    @property
    def had_ended(self) -> bool:
        """Whether training is done: a run that keeps no checkpoints has a model only then."""
        return self.resumed and self.checkpoint is None

    @property
    def left_by(self) -> str | None:
        """The folder that says how far the run was trained before; `None` for a new one.

        Raises:
            FileNotFoundError: a run that had ended has lost its Trainer's state.
        """
        return self.folder.ended_state() if self.had_ended else self.checkpoint

    def described(self) -> dict[str, dict[str, Any]]:
        """The arguments by section, those of the Trainer left out."""
        return {section: self.values[section] for section in SECTIONS}

    def rerun_values(self, planned: PlannedLength | None = None) -> dict[str, Any]:
        """The arguments by section as they are to be given to make the run again.

        Args:
            planned: the length of a run with a time limit, which stands in the place of the minutes.
        """
        values = dict(self.values)
        if planned is not None:
            values["training"] = {**values["training"], **planned.arguments()}
        if self.added_tasks is not None:
            # Of the others, which the other run has, it would be said that they are there already.
            values["corpus"] = {**values["corpus"], "tasks": list(self.added_tasks)}
        return values

    def evaluated_part(self) -> Part | None:
        """The part that is evaluated once training has ended."""
        part = self.values["corpus"]["evaluation_part"]
        return None if part == "none" else cast(Part, part)

    def recommender(self, *, show_progress: bool) -> Recommender:
        """The model as it is now, to answer with."""
        catalogue = Catalogue.from_split(self.split)
        model = self.trainer.whole_model().eval()
        counts = NeighbourCounts.fit(self.split.train) if self.settings.count_weight else None
        return Recommender(model, self.processor, catalogue, self.settings, counts=counts, show_progress=show_progress)


def build(
    corpus_arguments: CorpusArguments,
    model_arguments: ModelArguments,
    training_arguments: PODTrainingArguments,
    *,
    checkpoints: Path | None = None,
) -> Built:
    """Check the arguments and build everything that training needs; nothing of the run's folder is written or replaced.

    Args:
        corpus_arguments: as for `train`.
        model_arguments: likewise.
        training_arguments: likewise; its `output_dir` is turned to where the Trainer keeps its checkpoints.
        checkpoints: the folder for these, if not that of the run, in which then nothing at all is changed.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: as for `train`.
    """
    first = FirstStage.of(corpus_arguments, model_arguments)
    if first is not None:
        corpus_arguments, model_arguments = first.arguments(corpus_arguments, model_arguments)
    _check_arguments(corpus_arguments, model_arguments, training_arguments)
    folder = RunFolder(Path(str(training_arguments.output_dir)))
    resume = _resumed(training_arguments.resume_from_checkpoint)
    values = _recorded(corpus_arguments, model_arguments, training_arguments)
    checkpoint = None
    longer: dict[str, tuple[float, float]] = {}
    if resume:
        folder.check_same(values)
        longer = folder.lengthened(values)
        values = folder.resumed_values(values)
        checkpoint = folder.checkpoint(resume, mend=checkpoints is None)
    else:
        folder.check_new(overwrite=corpus_arguments.overwrite)
        for name, path in (
            ("data_dir", corpus_arguments.data_dir),
            ("base_model", model_arguments.base_model),
            ("add_tasks_to", model_arguments.add_tasks_to),
        ):
            folder.check_outside(name, path)
    training_arguments.output_dir = str(checkpoints or folder.checkpoints)
    seed = training_arguments.seed
    set_seed(seed)

    corpus = read_corpus(corpus_arguments) if first is None else Corpus.load_from_disk(first.run.corpus)
    if resume:
        folder.check_same_corpus(corpus)
    split = split_corpus(corpus, corpus_arguments)
    wanted = corpus_arguments.tasks if first is None else first.new_tasks
    tasks = _load_tasks(corpus_arguments, wanted, supported_tasks(split.train), corpus.name)
    settings = GenerationSettings(
        item_beams=model_arguments.item_beams,
        text_beams=model_arguments.text_beams,
        count_weight=model_arguments.count_weight,
    )
    if first is None:
        model, processor = _new_model(corpus_arguments, model_arguments, split, tasks, seed)
    else:
        model, processor = first.grow(tasks, _most_ids(corpus_arguments))
    choose_metric(training_arguments, tasks)
    _check_evaluated(split, processor, corpus_arguments, training_arguments)
    trainer = PODTrainer(
        model,
        training_arguments,
        processor=processor,
        train_dataset=TrainingSamples(
            split.train, processor, seed=seed, history_dropout=corpus_arguments.history_dropout
        ),
        eval_dataset=_validation(split, processor, corpus_arguments, training_arguments),
        rank_validation=validation_ranking(split, processor, corpus_arguments, training_arguments, settings.item_beams),
    )
    _check_goes_on(folder, longer, checkpoint, trainer)
    audit = audit_of(corpus, split, processor.indexing, seed)
    return Built(
        folder=folder,
        values=values,
        checkpoint=checkpoint,
        corpus=corpus,
        split=split,
        audit=audit,
        processor=processor,
        settings=settings,
        model=model,
        trainer=trainer,
        resumed=bool(resume),
        added_tasks=None if first is None else first.new_tasks,
    )


def _check_goes_on(
    folder: RunFolder, longer: Mapping[str, tuple[float, float]], checkpoint: str | None, trainer: PODTrainer
) -> None:
    """Refuse a greater length for a run that would not be trained any further."""
    for name, (before, after) in longer.items():
        asked = f"--{name} is {after:g}, but the run in {folder.path}, which was begun with {before:g},"
        remedy = f"start a new run, or resume with --{name} {before:g} to evaluate this one"
        if checkpoint is None:
            raise ValueError(f"{asked} has ended and kept no checkpoint to go on from: {remedy}")
        if trainer.had_ended(Path(checkpoint)):
            raise ValueError(
                f"{asked} has stopped early, since {trainer.args.early_stopping_patience} validations in a row "
                f"(--early_stopping_patience) were not better, and would not go on: {remedy}"
            )


def _new_model(
    corpus_arguments: CorpusArguments, model_arguments: ModelArguments, split: Split, tasks: Sequence[Task], seed: int
) -> tuple[PeftModel, PODProcessor]:
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
    return model, processor


def _check_arguments(
    corpus_arguments: CorpusArguments, model_arguments: ModelArguments, training_arguments: PODTrainingArguments
) -> None:
    check_seed(training_arguments.seed)
    for name in ("evaluation_limit", "validation_limit"):
        limit = getattr(corpus_arguments, name)
        if limit is not None and limit < 1:
            raise ValueError(f"--{name} must be at least 1, or left out to evaluate all users; got {limit}")
    parts = get_args(EvaluationPart)
    if corpus_arguments.evaluation_part not in parts:
        raise ValueError(f"--evaluation_part must be one of {parts}, got {corpus_arguments.evaluation_part!r}")
    if model_arguments.lora_r < 0:
        raise ValueError(f"--lora_r must be 0 (no LoRA) or a positive whole number, got {model_arguments.lora_r}")
    if model_arguments.lora_r and model_arguments.train_base:
        raise ValueError(
            "--lora_r asks for LoRA: add --no_train_base, since LoRA and full fine-tuning exclude each other"
        )
    if training_arguments.push_to_hub:
        raise ValueError("--push_to_hub would push a checkpoint; push the folder model/ of the run once it is trained")
    check_report_to(training_arguments.report_to)
    check_base_model(model_arguments.base_model)


def _validation(
    split: Split,
    processor: PODProcessor,
    corpus_arguments: CorpusArguments,
    training_arguments: PODTrainingArguments,
) -> dict[str, EvaluationSamples]:
    samples = EvaluationSamples.of_part(
        split, "validation", processor, seed=training_arguments.seed, limit=validation_limit(corpus_arguments)
    )
    if not samples and training_arguments.eval_strategy != "no":
        why = why_nothing_is_asked(processor.tasks, split, "validation", training_arguments.seed)
        raise ValueError(f"{why}; train without validation by {_NO_VALIDATION}")
    return samples


def _check_evaluated(
    split: Split, processor: PODProcessor, corpus_arguments: CorpusArguments, training_arguments: PODTrainingArguments
) -> None:
    """Refuse an evaluation of nothing, which would be found out only after training."""
    if corpus_arguments.evaluation_part == "none":
        return
    part, seed = cast(Part, corpus_arguments.evaluation_part), training_arguments.seed
    why = why_nothing_is_asked(processor.tasks, split, part, seed)
    if not why:
        return
    remedy = "--evaluation_part none"
    if training_arguments.eval_strategy != "no" and why_nothing_is_asked(processor.tasks, split, "validation", seed):
        remedy = f"{remedy} {_NO_VALIDATION}"
    raise ValueError(f"--evaluation_part is {part!r}, and {why}; train without an evaluation by {remedy}")


def _most_ids(arguments: CorpusArguments) -> int:
    """Rows of the whole-word table: the usual number, or more where inputs may hold more: user, history, candidates."""
    listed = arguments.num_negatives + 1 if arguments.candidates_in == "prompt" else 0
    topn = 1 + listed + arguments.topn_history_length
    return max(PODConfig.max_whole_words, 1 + arguments.history_length, topn)


def _load_tasks(arguments: CorpusArguments, wanted: Sequence[str], supported: list[str], corpus: str) -> list[Task]:
    options: dict[str, dict[str, Any]] = {
        SequentialTask.name: {"history_length": arguments.history_length, "segments": arguments.segments},
        TopNTask.name: {
            "num_negatives": arguments.num_negatives,
            "candidates_in": arguments.candidates_in,
            "history_length": arguments.topn_history_length,
        },
    }
    tasks = []
    for name in wanted or supported:
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
