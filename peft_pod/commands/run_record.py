"""What a run leaves about itself beside its model: how to rerun it, where it ran, and its numbers in one flat file."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import torch
import yaml
from transformers import TrainerState
from transformers.trainer_pt_utils import AcceleratorConfig

from peft_pod.audit import Audit
from peft_pod.corpus import Corpus
from peft_pod.files import replacing
from peft_pod.metrics import Report, software_versions
from peft_pod.training import PODTrainingArguments, process_state
from peft_pod.training.processes import runs_on_cpu
from peft_pod.training.progress import validation_losses, validation_rankings
from peft_pod.training.throughput import Seen
from peft_pod.training.time_limited import PlannedLength
from peft_pod.version import __version__

from .arguments import is_list
from .recipes import NO_RECIPE

PLACE_ARGUMENTS = frozenset({"output_dir", "overwrite", "resume_from_checkpoint"})
"""They say where a run goes and what becomes of what is there, not what it is."""
_SECRET = "_token"


def rerun_config(
    values: Mapping[str, Mapping[str, Any]],
    *,
    recipe: str | None,
    fingerprint: str,
    earlier_lengths: Sequence[Mapping[str, Any]] = (),
) -> str:
    """A YAML file for `--config` that makes the run again.

    It holds every argument of corpus and model, and those of training that are not at their defaults. A recipe is
    written out, so the file names none. Where the run goes is left to `--output_dir`.

    Args:
        values: the arguments of the run by section.
        recipe: its name, for a comment.
        fingerprint: of the corpus, likewise.
        earlier_lengths: that the run had before it was lengthened, likewise: the file makes a run whose schedule is
            that of the whole length.

    Example:
        >>> values = {"corpus": {"corpus": "embedded", "tasks": []}, "model": {}, "training": {"output_dir": "runs/x"}}
        >>> print(rerun_config(values, recipe="best", fingerprint="0123").partition("\\n")[2], end="")
        # recipe: best
        # fingerprint of the corpus: 0123
        recipe: none
        corpus: embedded
    """
    comments = [f"# peft-pod {__version__}: peft-pod train --config THIS --output_dir ANOTHER makes the run again"]
    comments += [f"# recipe: {recipe}"] if recipe not in (None, NO_RECIPE) else []
    comments += [f"# fingerprint of the corpus: {fingerprint}"]
    comments += [
        f"# lengthened from {name} {length:g} when it was resumed; made again, the schedule is of the whole length"
        for lengths in earlier_lengths
        for name, length in lengths.items()
    ]
    changed = changed_training(values["training"])
    # A list that is empty is that argument's default, which a YAML file cannot say.
    kept = {
        name: value
        for section in (values["corpus"], values["model"], changed)
        for name, value in section.items()
        if name not in PLACE_ARGUMENTS and value != []
    }
    kept = {"recipe": NO_RECIPE, **kept}
    return "\n".join([*comments, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)])


def changed_training(values: Mapping[str, Any]) -> dict[str, Any]:
    """The training arguments that are not at their defaults, as `--config` takes them; tokens are left out.

    Args:
        values: all of them, as `PODTrainingArguments.to_dict` gives them.

    Example:
        >>> changed_training({"max_steps": 7, "learning_rate": 5e-4, "debug": ["underflow_overflow"]})
        {'max_steps': 7, 'debug': 'underflow_overflow'}
    """
    # Not by making arguments with nothing set: that resets what Accelerate knows of the processes.
    hints = get_type_hints(PODTrainingArguments)
    changed = {}
    for one in fields(PODTrainingArguments):
        if not one.init or one.name not in values or one.name.endswith(_SECRET):
            continue
        value = values[one.name]
        if isinstance(value, list) and not is_list(hints[one.name]):
            value = " ".join(map(str, value))
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        default = default.value if isinstance(default, Enum) else default
        if value != default and not _same_by_itself(one.name, value, default, values):
            changed[one.name] = value
    return changed


def _same_by_itself(name: str, value: Any, default: Any, values: Mapping[str, Any]) -> bool:
    """Whether the arguments themselves make the value of the default, here and wherever else it should be made."""
    if name == "use_cpu":
        return runs_on_cpu()
    if name == "dataloader_pin_memory":
        return bool(values.get("use_cpu"))
    if name == "accelerator_config":
        unchanged = AcceleratorConfig().to_dict()
        return isinstance(value, dict) and all(unchanged.get(key) == held for key, held in value.items())
    if name == "greater_is_better":
        return bool(value) == (not str(values.get("metric_for_best_model")).endswith("loss"))
    if name == "do_eval":
        return values.get("eval_strategy") != "no"
    return not value and not default and not isinstance(default, bool | int | float)


def environment() -> dict[str, Any]:
    """What the run ran on: Python, packages, processor, accelerator, processes; nothing that names the machine.

    Example:
        >>> environment()["packages"]["peft-pod"] == __version__
        True
    """
    state = process_state()
    accelerator = None
    if state.device.type != "cpu":
        properties = torch.cuda.get_device_properties(state.device) if state.device.type == "cuda" else None
        accelerator = {
            "type": state.device.type,
            "name": properties.name if properties else None,
            "memory_bytes": properties.total_memory if properties else None,
            "cuda": torch.version.cuda,
        }
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _processor(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": accelerator,
        "processes": state.num_processes,
        "distributed": state.distributed_type.value,
        "packages": software_versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def run_metrics(
    state: TrainerState,
    report: Report | None,
    audit: Audit,
    corpus: Corpus,
    *,
    seconds: float | None,
    seen: Seen,
    parameters: tuple[int, int],
    kept_best: bool,
    planned: PlannedLength | None = None,
) -> dict[str, float | int | str | bool | None]:
    """The numbers of a run in one flat dictionary, as `metrics.json` has them.

    Args:
        state: of the Trainer, after training.
        report: of the evaluation; `None` where there was none.
        audit: of the corpus and its item IDs.
        corpus: that the run was trained on.
        seconds: that training took since it was last started, validation and checkpoints included; `None` where it had
            ended before.
        seen: what it saw since then.
        parameters: how many are trained, and how many there are.
        kept_best: whether the model is the best that was saved (`load_best_model_at_end`), or else the last.
        planned: the length of a run with a time limit, when it began.

    Returns:
        `validation/...`: losses of the model that was kept, and how it ranked items when it was validated, unless that
        part was evaluated in the end, on more users perhaps. `test/<task>/<metric>` and
        `test/<task>/<baseline>/<metric>`, or of the part that was evaluated. `training/...`, `parameters/...`,
        `corpus/...`, `audit/...`.
    """
    found: dict[str, float | int | str | bool | None] = {}
    kept = _kept_validation(state, kept_best)
    for name, loss in validation_losses(kept).items():
        found["validation/loss" if name == "mean" else f"validation/{name}/loss"] = loss
    for name, value in validation_rankings(kept).items():
        found[f"validation/{name.replace(' ', '/')}"] = value
    if report is not None:
        found |= _evaluated(report)
    found["training/steps"] = state.global_step
    found["training/max_minutes"] = None if planned is None else planned.minutes
    found["training/planned_steps"] = None if planned is None else planned.steps
    found["training/epochs"] = state.epoch
    found["training/seconds"] = seconds
    found["training/samples"] = seen.samples if seconds else None
    tokens = seen.input_tokens + seen.answer_tokens
    for name, count in (("samples", seen.samples), ("tokens", tokens)):
        found[f"training/{name}_per_second"] = count / seconds if seconds else None
    found["parameters/trained"], found["parameters/total"] = parameters
    found["corpus/name"], found["corpus/fingerprint"] = corpus.name, corpus.fingerprint
    found["audit/leaks"], found["audit/verdict"] = audit.leaks if audit.applies else None, audit.note()
    return found


def _evaluated(report: Report) -> dict[str, float]:
    found: dict[str, float] = {}
    for task, result in report.tasks.items():
        systems = {"": result, **{f"{name}/": other for name, other in report.baselines.get(task, {}).items()}}
        for system, measured in systems.items():
            found |= {f"{report.part}/{task}/{system}{name}": value for name, value in measured.metrics.items()}
    return found


def _kept_validation(state: TrainerState, kept_best: bool) -> dict[str, Any]:
    """The log's entry of the validation of the model that was kept; of the last where none was chosen."""
    entries = [entry for entry in state.log_history if "eval_loss" in entry]
    if kept_best and state.best_model_checkpoint:
        # Not `best_global_step`, which may be that of a validation without a checkpoint.
        step = int(Path(state.best_model_checkpoint).name.rpartition("-")[2])
        entries = [entry for entry in entries if entry["step"] == step] or entries
    return (entries or [{}])[-1]


def write_state(state: TrainerState, path: Path) -> None:
    """Write the Trainer's state, whole or not at all."""
    with replacing(path) as temporary:
        state.save_to_json(str(temporary))
