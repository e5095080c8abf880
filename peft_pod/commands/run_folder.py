"""Where a run keeps what."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME

from peft_pod.corpus import Corpus, Part
from peft_pod.files import new_folder, sync
from peft_pod.generation.settings import SETTINGS_FILE
from peft_pod.metrics.explanation import DEFAULT_CONVENTION
from peft_pod.metrics.ranking import DEFAULT_KS, DEFAULT_METRICS
from peft_pod.training import last_checkpoint
from peft_pod.training.checkpoints import UNFINISHED

from .arguments import CorpusArguments, ModelArguments
from .resuming import SECTIONS, check_resumable, lengthened, resumed_values

_EVALUATION = re.compile(r"(report(-.+)?\.json|ranks(-.+)?\.parquet|ranking(-.+)?\.png)")
_PICTURES = re.compile(r"pictures(-.+)?")


@dataclass(frozen=True)
class RunFolder:
    """The files of a run.

    `model/` is what `Recommender.from_pretrained` loads and what can go to the Hub; `corpus/` stays at home.

    `arguments.json` is what the run was begun with, every argument of it; `peft_pod.commands.resuming` says what of it
    resuming may change. Resuming and evaluating read this file and no other, but for `trainer_state.json`, by which a
    run that keeps no checkpoints knows how it ended. `config.yaml` is made from the arguments, for people and for
    `--config`; `log.json` and `metrics.json` are excerpts of the Trainer's state and of `report.json`. Nothing reads
    those three back, so they may be edited or removed.
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
    def config(self) -> Path:
        """The same as a YAML file that makes the run again."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """What the run ran on."""
        return self.path / "environment.json"

    @property
    def trainer_state(self) -> Path:
        """State of the Trainer at the end."""
        return self.path / TRAINER_STATE_NAME

    @property
    def metrics(self) -> Path:
        """Numbers of the run in one flat file."""
        return self.path / "metrics.json"

    def report(self, variant: str = "") -> Path:
        """Metrics of model and baselines; see `report_variant`."""
        return self.path / f"report{variant}.json"

    def ranks(self, variant: str = "") -> Path:
        """Where model and baselines ranked each user's item; see `report_variant`."""
        return self.path / f"ranks{variant}.parquet"

    @property
    def log(self) -> Path:
        """Losses by step."""
        return self.path / "log.json"

    @property
    def loss_plot(self) -> Path:
        """Losses by step, as a picture."""
        return self.path / "losses.png"

    def ranking_plot(self, variant: str = "") -> Path:
        """HR@k of model and baselines, as a picture; see `report_variant`."""
        return self.path / f"ranking{variant}.png"

    def pictures(self, variant: str = "") -> Path:
        """Folder of pictures of what the model does; see `report_variant`."""
        return self.path / f"pictures{variant}"

    def check_new(self, *, overwrite: bool) -> None:
        """Check that a new run may go into the folder.

        Raises:
            FileExistsError: it holds a run already and `overwrite` is not set, or it holds something else.
            NotADirectoryError: it is a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"--output-dir {self.path} is a file; choose another name")
        # Empty folders are what a run leaves that was refused, and the other what one leaves that was killed before it
        # had begun, while a checkpoint was timed.
        if not any(path.is_file() and UNFINISHED not in path.parts for path in self.path.rglob("*")):
            return
        if not self.arguments.is_file():
            raise FileExistsError(f"--output-dir {self.path} is not empty and holds no run; choose another folder")
        if not overwrite:
            raise FileExistsError(
                f"--output-dir {self.path} already holds a run: choose another folder, replace it with --overwrite, "
                "or go on with --resume_from_checkpoint true"
            )

    def check_same(self, values: Mapping[str, Any]) -> None:
        """Check that a run which is to be resumed was begun with the same arguments, see `check_resumable`.

        Args:
            values: the arguments by section, as they are kept in `arguments.json`.

        Raises:
            FileNotFoundError: the folder holds no run.
            ValueError: an argument differs on which the trained model depends; the message names it and both values.
        """
        if not self.arguments.is_file():
            raise FileNotFoundError(f"--output-dir {self.path} holds no run that could be resumed")
        check_resumable(self._read_arguments(), values, self.path)

    def lengthened(self, values: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """How these arguments lengthen the run, see `peft_pod.commands.resuming.lengthened`."""
        return lengthened(self._read_arguments(), values)

    def resumed_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What is to be recorded where the run is resumed with these arguments, see `resuming.resumed_values`."""
        return resumed_values(self._read_arguments(), values)

    def check_same_corpus(self, corpus: Corpus) -> None:
        """Check that the corpus of a run which is to be resumed has not changed since it was begun.

        Raises:
            ValueError: it has; the message has both fingerprints.
        """
        saved = self.saved_corpus()
        if saved is not None and saved.fingerprint != corpus.fingerprint:
            raise ValueError(
                f"the corpus {corpus.name!r} has the fingerprint {corpus.fingerprint}, but the run in {self.path} was "
                f"begun with {saved.fingerprint}: its files have changed since; put them back, or start a new run"
            )

    def check_outside(self, name: str, path: str | None) -> None:
        """Check that a new run, which replaces the folder, does not remove what it is made of.

        Args:
            name: of the argument.
            path: its value; anything that is no path of a file or folder is fine.

        Raises:
            ValueError: it lies in the folder.
        """
        if path is None or not Path(path).exists():
            return
        place = Path(path).resolve()
        if self.path.resolve() in (place, *place.parents):
            raise ValueError(
                f"--{name} {path} lies in --output_dir {self.path}, which a new run replaces; choose another folder"
            )

    def saved_corpus(self) -> Corpus | None:
        """The corpus as it was read; `None` where it was not saved, or not to the end."""
        try:
            return Corpus.load_from_disk(self.corpus)
        except FileNotFoundError:
            return None

    def checkpoint(self, wanted: str, *, mend: bool = True) -> str | None:
        """The checkpoint to go on from; `None` where a run that kept none has its trained model already.

        Args:
            wanted: its folder, or `"true"` or `"last"` for the last one of this run that was written to the end.
            mend: whether to remove first what a killed run left half written; not while another may be writing.

        Raises:
            FileNotFoundError: there is none, and no model.
        """
        if wanted.lower() not in ("true", "last"):
            if not (Path(wanted) / TRAINER_STATE_NAME).is_file():
                raise FileNotFoundError(f"--resume_from_checkpoint {wanted} is not the folder of a checkpoint")
            return wanted
        found = last_checkpoint(self.checkpoints, mend=mend)
        if found is not None:
            return str(found)
        if self.model.is_dir():
            return None
        raise FileNotFoundError(
            f"--output-dir {self.path} holds no checkpoint to resume from: the run ended before the first was "
            "written; begin it anew with --overwrite"
        )

    def ended_state(self) -> str:
        """The folder that has the Trainer's state of a run that ended and kept no checkpoints: this one.

        Raises:
            FileNotFoundError: it is missing.
        """
        if not self.trainer_state.is_file():
            raise FileNotFoundError(
                f"{self.trainer_state} is missing, which says how long the run was trained: put it back, or evaluate "
                f"the run by `peft-pod evaluate --run {self.path}`"
            )
        return str(self.path)

    @contextmanager
    def saving_model(self) -> Iterator[Path]:
        """Give a temporary folder; what was written there becomes `model` at the end, in place of an older one.

        If the older one answers otherwise, what was measured of it is removed just before.
        """
        older = [file.name for file in self.model.iterdir()] if self.model.is_dir() else []
        with new_folder(self.model, replaceable=older) as temporary:
            yield temporary
            sync(temporary)
            if older and not _answer_alike(self.model, temporary):
                self.remove_evaluations()

    def remove_evaluations(self) -> None:
        """Remove reports, ranks, pictures and `metrics.json`: of a model that is replaced they would mislead."""
        for path in self.path.iterdir():
            if path.is_file() and (path == self.metrics or _EVALUATION.fullmatch(path.name)):
                path.unlink()
            elif path.is_dir() and _PICTURES.fullmatch(path.name):
                shutil.rmtree(path)

    def seed(self) -> int:
        """The seed that the run was begun with."""
        return int(self._read_arguments()["training"]["seed"])

    def corpus_arguments(self) -> dict[str, Any]:
        """The arguments of the corpus that the run was begun with."""
        arguments: dict[str, Any] = self._read_arguments()["corpus"]
        return arguments

    def model_arguments(self) -> dict[str, Any]:
        """The arguments of the model that the run was begun with."""
        arguments: dict[str, Any] = self._read_arguments()["model"]
        return arguments

    def _read_arguments(self) -> dict[str, Any]:
        try:
            arguments = json.loads(self.arguments.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.arguments} is damaged: {error}") from error
        sections = (*SECTIONS, "training")
        if not isinstance(arguments, dict) or not all(isinstance(arguments.get(name), dict) for name in sections):
            raise ValueError(f"{self.arguments} must hold the sections {', '.join(sections)}, as `train` writes them")
        # Earlier versions had fewer arguments, and did what the others do by default.
        defaults = {"corpus": asdict(CorpusArguments()), "model": asdict(ModelArguments())}
        return {**arguments, **{section: {**values, **arguments[section]} for section, values in defaults.items()}}

    def clear(self) -> None:
        """Remove what is in the folder; if that is cut off, the folder still holds what can be told to be a run."""
        if not self.path.exists():
            return
        for path in self.path.iterdir():
            if path != self.arguments:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        self.arguments.unlink(missing_ok=True)

    @classmethod
    def existing(cls, path: str, flag: str = "--run") -> RunFolder:
        """The folder of a run that was trained.

        Args:
            path: the folder.
            flag: the argument that names it.

        Raises:
            ValueError: no folder is given.
            FileNotFoundError: it is not a run, or its training did not end.
        """
        if not path:
            raise ValueError(f"{flag} is missing: the folder given to `peft-pod train --output-dir`")
        folder = cls(Path(path))
        if not folder.arguments.is_file():
            what = "is not the folder of a run" if folder.path.exists() else "does not exist"
            raise FileNotFoundError(f"{flag} {path} {what}: there is no {folder.arguments}")
        if not folder.model.is_dir():
            raise FileNotFoundError(
                f"{flag} {path} has no model yet: its training did not end; go on with `peft-pod train` and "
                "--resume_from_checkpoint true"
            )
        return folder


def _answer_alike(first: Path, second: Path) -> bool:
    """Whether two folders of models have the same weights and settings of their searches; all else is the corpus'."""

    def decisive(folder: Path) -> dict[Path, bytes]:
        files = [*folder.rglob("*.safetensors"), *folder.glob(SETTINGS_FILE)]
        return {file.relative_to(folder): file.read_bytes() for file in files}

    return decisive(first) == decisive(second)


def report_variant(
    part: Part,
    limit: int | None,
    exclude_seen: bool,
    text_convention: str = DEFAULT_CONVENTION,
    seed: int | None = None,
    tasks: Sequence[str] = (),
    count_weight: float | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> str:
    """What is added to the name of a report that asks something else than the whole test part does, or says less.

    Args:
        part: that is evaluated.
        limit: at most so many users a task, or `None`.
        exclude_seen: whether histories are left out of rankings.
        text_convention: how BLEU and ROUGE count.
        seed: of candidates and of `limit`, where it is not that of the run.
        tasks: that are evaluated alone.
        count_weight: share of counting, where it is not that of the run.
        ks: cut-offs of the rankings.
        metrics: of the rankings.

    Example:
        >>> report_variant("test", None, True), report_variant("validation", 500, False)
        ('', '-validation-500-history-included')
        >>> report_variant("test", None, True, ks=[10, 20], metrics=["mrr"])
        '-ks-10-20-metrics-mrr'
    """
    words = ["validation"] if part == "validation" else []
    words += [] if limit is None else [str(limit)]
    words += [] if exclude_seen else ["history-included"]
    words += [] if text_convention == DEFAULT_CONVENTION else [f"{text_convention}-texts"]
    words += [] if seed is None else [f"seed-{seed}"]
    words += [] if count_weight is None else [f"counts-{count_weight:g}"]
    words += [] if tuple(ks) == DEFAULT_KS else ["ks", *map(str, ks)]
    words += [] if tuple(metrics) == DEFAULT_METRICS else ["metrics", *metrics]
    return "".join(f"-{word}" for word in (*words, *tasks))


def named_report(path: str, variant: str, flag: str = "--run") -> tuple[RunFolder, str]:
    """The run and the variant of the report that are meant.

    A run evaluated in several ways has several reports. Flags find some; the file itself names any of them.

    Args:
        path: folder of a run, or one of its reports.
        variant: of the report that is meant in the folder, see `report_variant`.
        flag: the argument that names it.

    Raises:
        ValueError: nothing is named, a file that is no report, or a report and flags beside it that ask for another.
        FileNotFoundError: there is no such run.

    Example:
        >>> from peft_pod.files import write_text
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "model").mkdir()
        >>> for name in ("arguments.json", "report-counts-0.4.json"):
        ...     write_text(folder / name, "{}")
        >>> named_report(str(folder / "report-counts-0.4.json"), "")[1]
        '-counts-0.4'
    """
    file = Path(path)
    if not file.is_file():
        return RunFolder.existing(path, flag), variant
    name = re.fullmatch(r"report(-.+)?\.json", file.name)
    if name is None:
        raise ValueError(f"{flag} {path} is no report: name the folder of a run, or a report*.json in it")
    if variant:
        raise ValueError(
            f"{flag} {path} names the report already: leave out --part, --limit, --keep_seen and --seed, or name the "
            f"folder {file.parent}"
        )
    return RunFolder.existing(str(file.parent), flag), name[1] or ""
