"""Where a run keeps what."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path


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

    @property
    def report(self) -> Path:
        """Metrics of model and baselines."""
        return self.path / "report.json"

    @property
    def log(self) -> Path:
        """Losses by step."""
        return self.path / "log.json"

    @property
    def loss_plot(self) -> Path:
        """Losses by step, as a picture."""
        return self.path / "losses.png"

    @property
    def ranking_plot(self) -> Path:
        """HR@k of model and baselines, as a picture."""
        return self.path / "ranking.png"

    @classmethod
    def new(cls, path: str, *, overwrite: bool, resume: bool) -> RunFolder:
        """The folder of a run that is to be trained.

        Raises:
            FileExistsError: it holds a run already, and neither `overwrite` nor `resume` is set.
        """
        folder = cls(Path(path))
        if resume or not folder.path.exists() or not any(folder.path.iterdir()):
            return folder
        if not folder.arguments.is_file():
            raise FileExistsError(f"--output-dir {path} is not empty and holds no run; choose another folder")
        if not overwrite:
            raise FileExistsError(
                f"--output-dir {path} already holds a run: choose another folder, replace it with --overwrite, or go "
                "on with --resume_from_checkpoint"
            )
        shutil.rmtree(folder.path)
        return folder

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
