"""Sending what is logged to TensorBoard, Trackio, Weights & Biases and others, by `report_to`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.integrations import INTEGRATION_TO_CALLBACK, TensorBoardCallback

_MODULES = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}
TENSORBOARD_FOLDER_VARIABLE = "TENSORBOARD_LOGGING_DIR"


def check_report_to(names: Sequence[str]) -> None:
    """Check that what is logged can be sent to each of these.

    Raises:
        ValueError: there is no such integration, or its package is not installed.

    Example:
        >>> check_report_to([])
    """
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise ValueError(f"--report_to {name} is not known; there are {', '.join(sorted(INTEGRATION_TO_CALLBACK))}")
        if name in _MODULES:
            if not any(find_spec(module) for module in _MODULES[name]):
                raise ValueError(f"--report_to {name} needs a package that is not installed: pip install {name}")
            continue
        try:
            INTEGRATION_TO_CALLBACK[name]()
        except (RuntimeError, ImportError) as error:
            raise ValueError(f"--report_to {name} cannot be used: {error}; pip install {name}") from error


def describe_run(trainer: Trainer, values: Mapping[str, Mapping[str, Any]], fingerprint: str, folder: Path) -> None:
    """Tell the integrations what the run is: they keep it with its curves.

    Args:
        trainer: that is about to train.
        values: the arguments of the run by section. They are put beside those of the Trainer, as `section/name`.
        fingerprint: of the corpus.
        folder: of the run: its name is that of the run unless `run_name` gives another, and TensorBoard's files go
            there unless `TENSORBOARD_LOGGING_DIR` says where.
    """
    described = {f"{section}/{name}": value for section in values for name, value in values[section].items()}
    trainer.args.described = {**described, "corpus/fingerprint": fingerprint}
    trainer.args.run_name = trainer.args.run_name or folder.resolve().name
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and TENSORBOARD_FOLDER_VARIABLE not in os.environ:
            callback.logging_dir = str(folder / "tensorboard")
