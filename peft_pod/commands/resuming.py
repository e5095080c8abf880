"""What may differ when a run is resumed, and what is recorded of it then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from peft_pod.training import PODTrainingArguments
from peft_pod.training.validation import MEAN_LOSS, ranking_metric

from .run_record import changed_training
from .validation import AUTO

SECTIONS = ("corpus", "model")
"""Of the arguments, beside those of training."""

FREE_ARGUMENTS = frozenset({"overwrite", "evaluation_part", "text_beams", "count_weight"})
"""Of these sections: what is done with the trained model, on which training does not depend."""

FREE_TRAINING = frozenset(
    {
        # where the run is
        "output_dir", "resume_from_checkpoint",
        # what it says of itself
        "disable_tqdm", "include_num_input_tokens_seen", "log_level", "log_level_replica", "log_on_each_node",
        "logging_first_step", "logging_nan_inf_filter", "logging_steps", "logging_strategy", "project", "report_to",
        "run_name", "skip_memory_metrics", "trackio_bucket_id", "trackio_space_id", "trackio_static_space_id",
        # which checkpoints stay, and where they go; the best one always stays
        "enable_jit_checkpoint", "hub_always_push", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy",
        "hub_token", "push_to_hub", "save_on_each_node", "save_only_model", "save_total_limit",
        # how the machine does the same work
        "dataloader_multiprocessing_context", "dataloader_num_workers", "dataloader_persistent_workers",
        "dataloader_pin_memory", "dataloader_prefetch_factor", "ddp_backend", "ddp_bucket_cap_mb",
        "ddp_find_unused_parameters", "ddp_timeout", "eval_accumulation_steps", "keep_memory", "local_rank",
        "per_device_eval_batch_size", "torch_empty_cache_steps", "use_cpu",
    }
)  # fmt: skip
"""Of training: what the weights do not depend on, but for rounding where the machine works in another way. Whatever is
not named here must be as it was, arguments that are yet to come included."""

LENGTHENED = "lengthened"
"""Section of the record that has the earlier lengths of a run, the first one first; only where it was lengthened."""

Values = Mapping[str, Any]
"""Arguments by section, as they are kept in `arguments.json`."""


def check_resumable(begun: Values, now: Values, place: Path) -> None:
    """Refuse arguments with which a run would become another one.

    Args:
        begun: the arguments that the run was begun with.
        now: those that it is to be resumed with.
        place: folder of the run, for the message.

    Raises:
        ValueError: one of them differs, the model that is kept depends on it, and it is not a greater length; the
            message names it and both values.
    """
    free, longer = free_arguments(begun), lengthened(begun, now)
    for name, before, after in _pairs(begun, now):
        if before != after and name not in free and name not in longer:
            raise ValueError(
                f"--{name} is {after!r}, but the run in {place} was begun with {before!r}: resume with the same, or "
                "start a new run"
            )


def free_arguments(begun: Values) -> frozenset[str]:
    """Names of the arguments that may differ when a run is resumed.

    Some depend on others: how many users are evaluated decides the model that is kept where validation takes as many,
    and the beams of the search where validation ranks items.

    Args:
        begun: the arguments that the run was begun with.

    Example:
        >>> training = {"eval_strategy": "no", "load_best_model_at_end": False}
        >>> free = free_arguments({"corpus": {"validation_limit": None}, "model": {}, "training": training})
        >>> sorted(free - FREE_ARGUMENTS - FREE_TRAINING)
        ['evaluation_limit', 'item_beams', 'save_steps', 'save_strategy']
    """
    training = begun["training"]
    validates = training.get("eval_strategy", PODTrainingArguments.eval_strategy) != "no"
    best = training.get("metric_for_best_model") or MEAN_LOSS
    ranks = best == AUTO or ranking_metric(best) is not None
    free = set(FREE_ARGUMENTS | FREE_TRAINING)
    if not validates or begun["corpus"]["validation_limit"] is not None:
        free.add("evaluation_limit")
    if not (validates and ranks):
        free.add("item_beams")
    if not training.get("load_best_model_at_end", PODTrainingArguments.load_best_model_at_end):
        free |= {"save_steps", "save_strategy"}
    return frozenset(free)


def lengthened(begun: Values, now: Values) -> dict[str, tuple[float, float]]:
    """The length of a run that is to be trained for longer than it was begun with, before and after; or nothing.

    A run that ends in time (`max_minutes`) has its length from its checkpoint, and cannot be lengthened.

    Args:
        begun: the arguments that the run was begun with.
        now: those that it is to be resumed with.

    Example:
        >>> begun = {"training": {"max_steps": 6, "num_train_epochs": 3.0}}
        >>> lengthened(begun, {"training": {"max_steps": 9, "num_train_epochs": 3.0}})
        {'max_steps': (6, 9)}
        >>> lengthened(begun, {"training": {"max_steps": 5, "num_train_epochs": 4.0}})
        {}
    """
    if begun["training"].get("max_minutes") is not None:
        return {}
    name = "max_steps" if begun["training"]["max_steps"] > 0 else "num_train_epochs"
    before, after = begun["training"][name], now["training"][name]
    return {name: (before, after)} if after > before else {}


def resumed_values(begun: Values, now: Values) -> dict[str, Any]:
    """The arguments to be recorded of a run that is resumed.

    Those of training are the ones that it was begun with, but for a greater length. In the other sections nothing
    differs but how the model is evaluated and answers, which is as it was last asked for.

    Args:
        begun: the arguments that the run was begun with.
        now: those that it is to be resumed with, which `check_resumable` has let pass.

    Example:
        >>> begun = {"corpus": {}, "model": {}, "training": {"max_steps": 6, "logging_steps": 5}}
        >>> resumed_values(begun, {"corpus": {}, "model": {}, "training": {"max_steps": 9, "logging_steps": 1}})
        {'corpus': {}, 'model': {}, 'training': {'max_steps': 9, 'logging_steps': 5}, 'lengthened': [{'max_steps': 6}]}
    """
    longer = lengthened(begun, now)
    training = {**now["training"], **begun["training"], **{name: after for name, (_, after) in longer.items()}}
    earlier = [*begun.get(LENGTHENED, ()), *({name: before} for name, (before, _) in longer.items())]
    values = {**{section: dict(now[section]) for section in SECTIONS}, "training": training}
    return {**values, LENGTHENED: earlier} if earlier else values


def _pairs(begun: Values, now: Values) -> Iterator[tuple[str, Any, Any]]:
    """The name of each argument, and its value before and now."""
    changed = changed_training(now["training"])
    for section in (*SECTIONS, "training"):
        for name, value in now[section].items():
            if name in begun[section]:
                yield name, begun[section][name], value
            elif name in changed:
                # A run that was begun before there was such an argument had its default.
                yield name, getattr(PODTrainingArguments, name, None), value
