"""Where a run keeps what."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_pod.corpus import Part

RESUMED_SECTIONS = ("corpus", "model")
FREE_ARGUMENTS = frozenset({"overwrite", "evaluation_limit", "item_beams", "text_beams"})
"""What may differ when a run is resumed, because training does not depend on it."""


@dataclass(frozen=True)
class RunFolder:
    """The files of a run.

    `model/` is what `Recommender.from_pretrained` loads and what can go to the Hub; `corpus/` stays at home.
    """

    path: Path

    @property
    def model(self) -> Path:
        """Folder of the trained model."""
        return self.path / "model"

    @property
    def corpus(self) -> Path:
        """Folder of the corpus as it was read."""
        return self.path / "corpus"

    @property
    def checkpoints(self) -> Path:
        """Folder of the Trainer's checkpoints."""
        return self.path / "checkpoints"

    @property
    def arguments(self) -> Path:
        """The arguments of the run."""
        return self.path / "arguments.json"

    def report(self, part: Part = "test") -> Path:
        """Metrics of model and baselines on a part."""
        return self.path / f"report{_ending(part)}.json"

    @property
    def log(self) -> Path:
        """Losses by step."""
        return self.path / "log.json"

    @property
    def loss_plot(self) -> Path:
        """Losses by step, as a picture."""
        return self.path / "losses.png"

    def ranking_plot(self, part: Part = "test") -> Path:
        """HR@k of model and baselines on a part, as a picture."""
        return self.path / f"ranking{_ending(part)}.png"

    def check_new(self, *, overwrite: bool) -> None:
        """Check that a new run may go into the folder.

        Raises:
            FileExistsError: it holds a run already and `overwrite` is not set, or it holds something else.
        """
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not self.arguments.is_file():
            raise FileExistsError(f"--output-dir {self.path} is not empty and holds no run; choose another folder")
        if not overwrite:
            raise FileExistsError(
                f"--output-dir {self.path} already holds a run: choose another folder, replace it with --overwrite, "
                "or go on with --resume_from_checkpoint true"
            )

    def check_same(self, values: Mapping[str, Any]) -> None:
        """Check that a run which is to be resumed was begun with the same corpus and model.

        Args:
            values: the arguments by section, as they are kept in `arguments.json`.

        Raises:
            FileNotFoundError: the folder holds no run.
            ValueError: an argument of the corpus or the model differs; the message names it and both values.
        """
        if not self.arguments.is_file():
            raise FileNotFoundError(f"--output-dir {self.path} holds no run that could be resumed")
        begun = json.loads(self.arguments.read_text(encoding="utf-8"))
        for section in RESUMED_SECTIONS:
            for name, value in values[section].items():
                if name not in FREE_ARGUMENTS and begun[section].get(name) != value:
                    raise ValueError(
                        f"--{name} is {value!r}, but the run in {self.path} was begun with "
                        f"{begun[section].get(name)!r}: resume with the same, or start a new run"
                    )

    def clear(self) -> None:
        """Remove what is in the folder."""
        if self.path.exists():
            shutil.rmtree(self.path)

    @classmethod
    def existing(cls, path: str) -> RunFolder:
        """The folder of a run that was trained.

        Raises:
            ValueError: no folder is given.
            FileNotFoundError: it is not a run, or its training did not end.
        """
        if not path:
            raise ValueError("--run is missing: the folder given to `peft-pod train --output-dir`")
        folder = cls(Path(path))
        if not folder.arguments.is_file():
            raise FileNotFoundError(f"--run {path} is not the folder of a run: it has no {folder.arguments.name}")
        if not folder.model.is_dir():
            raise FileNotFoundError(f"--run {path} has no model yet: training did not end; go on with `peft-pod train`")
        return folder


def _ending(part: Part) -> str:
    return "" if part == "test" else f"-{part}"
