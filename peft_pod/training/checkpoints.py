"""Checkpoints that are there whole or not at all, and hold nothing that runs code when it is loaded.

The Trainer writes into `checkpoint-<step>` file by file, and deletes old ones likewise, so a kill leaves folders that
have the name of a checkpoint but not its files. Here each is written in a hidden folder beside, and renamed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Seq2SeqTrainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from peft_pod.files import sync, sync_entries

from .states import load_state, random_state, save_state, set_random_state

OPTIMIZER_FILE = "optimizer.safetensors"
SCHEDULER_FILE = "scheduler.safetensors"
SCALER_FILE = "scaler.safetensors"
DUE_FILE = "evaluation_due.json"
"""In a checkpoint whose validation losses are still to be taken, since it was written when they were interrupted."""

UNFINISHED = ".unfinished"
"""Folder beside the checkpoints of what is being written, replaced or removed."""
_SAVING, _REPLACED, _REMOVED = "saving", "replaced", "removed"
_NAME = re.compile(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)")


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints in a folder that were written to the end, by step.

    Args:
        folder: `output_dir` of the training arguments; it need not be there.
    """
    found = {}
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        match = _NAME.fullmatch(path.name)
        # The Trainer writes its state last, so one of its own that was cut off has none.
        if match and (path / TRAINER_STATE_NAME).is_file():
            found[int(match[1])] = path
    return [found[step] for step in sorted(found)]


def last_checkpoint(folder: str | os.PathLike[str], *, mend: bool = True) -> Path | None:
    """The last checkpoint in a folder that was written to the end, or `None`.

    Args:
        folder: `output_dir` of the training arguments; it need not be there.
        mend: whether what a kill left is put right before; not where a run may be at work in the folder.
    """
    if mend:
        put_right(folder)
    found = checkpoints(folder)
    return found[-1] if found else None


def put_right(folder: str | os.PathLike[str]) -> None:
    """Remove what a killed run left half written or half removed, and put back what it was about to replace.

    Args:
        folder: `output_dir` of the training arguments, in which no other run must be at work.
    """
    unfinished = Path(folder) / UNFINISHED
    for replaced in (unfinished / _REPLACED).glob("*"):
        target = Path(folder) / replaced.name
        if not target.exists():
            # Another process of the same run may do this at the same time.
            with suppress(FileNotFoundError):
                replaced.rename(target)
    shutil.rmtree(unfinished, ignore_errors=True)


def evaluation_due(checkpoint: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint was written when the taking of its validation losses was interrupted."""
    return (Path(checkpoint) / DUE_FILE).is_file()


class CheckpointWriteError(OSError):
    """A checkpoint could not be written; the one before is still there."""


class AtomicCheckpoints(Seq2SeqTrainer):
    """A Trainer whose checkpoints are there whole or not at all, and are written without pickle.

    - Each is written in a hidden folder, flushed to the disk and renamed. In several processes all write, and one
      renames when all have ended.
    - Only then is an older one removed, first renamed. Neither the one just written nor the best one is ever removed.
    - Optimizer, scheduler and random generators are saved as safetensors with JSON; the training arguments, which the
      Trainer pickles, are left out. Under FSDP and DeepSpeed the states of optimizer and sharded model are theirs.
    - What is missing at resuming is an error; the Trainer would go on with a new optimizer.
    """

    num_saved = 0
    """Checkpoints that this trainer has written."""

    writes_checkpoints = True
    """Whether it writes any. Not while steps are timed: what is trained then is not to be gone on from."""

    _staging: Path | None = None
    _due = False
    _random_state_from: Path | None = None

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        if not self.writes_checkpoints:
            return
        folder = Path(super()._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        staging = folder / UNFINISHED / _SAVING
        if self.args.should_save:
            put_right(folder)
        self.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            super()._save_checkpoint(model, trial)
            self._name_best(folder, name)
            if self.args.should_save:
                self._complete(staging / name)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                _publish(staging / name, folder / name)
        except Exception as error:
            if not _could_not_write(error):
                raise
            raise CheckpointWriteError(
                f"the checkpoint of step {self.state.global_step} could not be written to {folder} ({error}): free "
                "some space there, or keep fewer checkpoints (--save_total_limit), and go on "
                f"from {_last_name(folder)} with --resume_from_checkpoint true"
            ) from error
        finally:
            self._staging = None
            if self.args.should_save:
                put_right(folder)
        self.accelerator.wait_for_everyone()
        self.num_saved += 1
        if self.args.should_save:
            self._rotate(folder, folder / name)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder / name))

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _name_best(self, folder: Path, written: str) -> None:
        # The Trainer looks for it where it writes.
        best = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"
        if self.state.best_global_step and (best.name == written or best.is_dir()):
            self.state.best_model_checkpoint = str(best)

    def _complete(self, written: Path) -> None:
        if self._due:
            (written / DUE_FILE).write_text(json.dumps({"step": self.state.global_step}), encoding="utf-8")
        self.state.save_to_json(str(written / TRAINER_STATE_NAME))
        sync(written)

    def _rotate(self, folder: Path, newest: Path) -> None:
        limit = self.args.save_total_limit
        if limit is None or limit <= 0:
            return
        # The Trainer goes by the time of last change, which copying a run, or removing half of a folder, changes.
        kept = {newest.name, Path(self.state.best_model_checkpoint or newest).name}
        found = checkpoints(folder)
        others = [path for path in found if path.name not in kept]
        for path in others[: max(0, len(found) - limit)]:
            _remove(path)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        # With a limit of one, the Trainer would remove the last checkpoint if another is the best: the one that tells
        # a run whose evaluation was interrupted that its training has ended.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # The Trainer would push from where it is still being written.
        if self._staging is None:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        (Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def _is_sharded(self) -> bool:
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self._is_sharded():
            super()._save_optimizer_and_scheduler(output_dir)
        elif self.args.should_save:
            save_state(Path(output_dir) / OPTIMIZER_FILE, self.optimizer.state_dict())
            save_state(Path(output_dir) / SCHEDULER_FILE, self.lr_scheduler.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._is_sharded():
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        for file, part in ((OPTIMIZER_FILE, self.optimizer), (SCHEDULER_FILE, self.lr_scheduler)):
            part.load_state_dict(load_state(_required(checkpoint, file)))

    def _save_scaler(self, output_dir: str) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and self.args.should_save:
            save_state(Path(output_dir) / SCALER_FILE, scaler.state_dict())

    def _load_scaler(self, checkpoint: str | None) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and checkpoint is not None and (Path(checkpoint) / SCALER_FILE).is_file():
            scaler.load_state_dict(load_state(Path(checkpoint) / SCALER_FILE))

    def _random_state_file(self) -> str:
        return f"random_state_{self.args.process_index}.safetensors"

    def _save_rng_state(self, output_dir: str) -> None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_state(Path(output_dir) / self._random_state_file(), random_state(self.args.device))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        path = (self._random_state_from or Path(checkpoint)) / self._random_state_file()
        if path.is_file():
            set_random_state(load_state(path), self.args.device)
            return
        warnings.warn(
            f"{checkpoint} was written by fewer processes than there are now and has no {path.name}: this process "
            "draws other random numbers than in a run that was not interrupted",
            stacklevel=2,
        )


def _publish(written: Path, target: Path) -> None:
    replaced = target.parent / UNFINISHED / _REPLACED / target.name
    if target.exists():
        # Not at once, but a kill in between is put right by `put_right`.
        replaced.parent.mkdir(parents=True, exist_ok=True)
        target.rename(replaced)
    written.rename(target)
    sync_entries(target.parent)
    shutil.rmtree(replaced.parent, ignore_errors=True)


def _remove(checkpoint: Path) -> None:
    removed = checkpoint.parent / UNFINISHED / _REMOVED / checkpoint.name
    removed.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.rename(removed)
    shutil.rmtree(removed.parent, ignore_errors=True)


def _required(checkpoint: str, file: str) -> Path:
    path = Path(checkpoint) / file
    if not path.is_file():
        raise FileNotFoundError(
            f"{checkpoint} has no {file}, so training cannot go on from it: it was written by --save_only_model or "
            "another version; start a new run, or name another checkpoint"
        )
    return path


def _could_not_write(error: Exception) -> bool:
    # The writers of tensors and of tokenizers raise errors of their own, and name the system's in their text.
    text = str(error)
    return isinstance(error, OSError | SafetensorError) or "os error" in text or "PytorchStreamWriter" in text


def _last_name(folder: Path) -> str:
    found = checkpoints(folder)
    return found[-1].name if found else "no checkpoint, since there is none yet,"
