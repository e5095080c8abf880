"""The public way to use a trained model: recommendations in the corpus' own IDs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from peft_pod.corpus.catalogue import Catalogue
from peft_pod.processing import PODProcessor
from peft_pod.tasks import ExplanationTask, Sample, SequentialTask, TopNTask
from peft_pod.training.base_model import fit_embeddings

from .card import describe_recommender
from .engine import GenerationEngine, RankedItems
from .settings import GenerationSettings

BASE_FOLDER = "base"
_FILES = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json")

UNNAMED_USER = -1
"""In the place of a position: a user whom neither the inputs nor the catalogue name."""


@dataclass(frozen=True)
class Recommendation:
    """One recommended item.

    Attributes:
        item_id: the corpus' own ID.
        title: the item's title.
        score: log-probability that the model gives the item's ID.
    """

    item_id: str
    title: str
    score: float


class Recommender:
    """Recommends, ranks and explains with a trained POD model.

    Every method takes one user or a list of users; for a list it returns a list. Users and items are named by the
    corpus' own IDs, which are strings.

    Args:
        model: a PEFT model with a POD adapter.
        processor: the processor it was trained with.
        catalogue: users and items.
        settings: beams and batches.
        show_progress: whether to show a progress bar over batches.

    Example:
        ```python
        recommender = Recommender.from_pretrained("runs/demo/model")
        recommender.recommend(user="u0007", k=5)
        recommender.rank(user="u0007", candidates=["i0001", "i0002"])
        recommender.explain(user="u0007", item="i0001")
        ```
    """

    def __init__(
        self,
        model: PeftModel,
        processor: PODProcessor,
        catalogue: Catalogue,
        settings: GenerationSettings | None = None,
        *,
        show_progress: bool = False,
    ) -> None:
        self.model = model
        self.processor = processor
        self.catalogue = catalogue
        self.settings = settings or GenerationSettings()
        self.engine = GenerationEngine(model, processor, self.settings, show_progress=show_progress)

    # Using

    @overload
    def recommend(
        self, user: str, history: Sequence[str] | None = None, k: int = 10, *, exclude_seen: bool = True
    ) -> list[Recommendation]: ...

    @overload
    def recommend(
        self, user: list[str], history: list[list[str]] | None = None, k: int = 10, *, exclude_seen: bool = True
    ) -> list[list[Recommendation]]: ...

    def recommend(
        self,
        user: str | list[str],
        history: Sequence[str] | list[list[str]] | None = None,
        k: int = 10,
        *,
        exclude_seen: bool = True,
    ) -> list[Recommendation] | list[list[Recommendation]]:
        """Recommend the k items that the user will most likely take next.

        Args:
            user: a user ID, or a list of them.
            history: IDs of the items the user took, oldest first; for a list of users a list of such lists. Where it
                is left out, what was saved with the model. Of a long history the most recent items are used (20,
                unless the task was made otherwise); all of it is excluded.
            k: how many items; fewer come back only where fewer are left.
            exclude_seen: whether to leave out the items of the history.

        Raises:
            ValueError: a user or an item is unknown, a history is empty, or nothing is left to recommend.
        """
        users, single = _listed(user)
        histories = self._histories(users, history, single)
        task = self._task(SequentialTask)
        samples = [task.query(self._user_position(name), items) for name, items in zip(users, histories, strict=True)]
        found = self.engine.find_items(samples, task.name, k=_positive(k), exclude=exclude_seen)
        results = self._recommendations(found)
        return results[0] if single else results

    @overload
    def rank(
        self, user: str, candidates: Sequence[str], history: Sequence[str] | None = None, k: int | None = None
    ) -> list[Recommendation]: ...

    @overload
    def rank(
        self,
        user: list[str],
        candidates: list[list[str]],
        history: list[list[str]] | None = None,
        k: int | None = None,
    ) -> list[list[Recommendation]]: ...

    def rank(
        self,
        user: str | list[str],
        candidates: Sequence[str] | list[list[str]],
        history: Sequence[str] | list[list[str]] | None = None,
        k: int | None = None,
    ) -> list[Recommendation] | list[list[Recommendation]]:
        """Rank candidates for the user, all of them, by as many beams as there are candidates, which makes it exact.

        Args:
            user: a user ID, or a list of them.
            candidates: item IDs; for a list of users a list of such lists.
            history: IDs of the items the user took, oldest first; for a list of users a list of such lists. Where
                given, candidates are ranked as what comes after it, by the sequential task or, where the model has
                none, the top-N task. Where it is left out, by the top-N task, which may read the saved history.
            k: how many of the best to return; all of them where it is left out.

        Raises:
            ValueError: a user or an item is unknown, or there are no candidates.
        """
        users, single = _listed(user)
        lists = self._item_lists(candidates, len(users), single, "candidates")
        positions = [self._user_position(name) for name in users]
        if history is None or SequentialTask.name not in self.processor.task_names:
            topn = self._task(TopNTask)
            name = topn.name
            if history is not None and not topn.history_length:
                raise ValueError(
                    "history is given, but no task of this model ranks candidates after one: leave it out, or train "
                    "the task 'sequential', or 'topn' with a history_length"
                )
            known = self._histories(users, history, single) if topn.history_length else [[] for _ in users]
            samples = [
                topn.query(position, items, history=taken)
                for position, items, taken in zip(positions, lists, known, strict=True)
            ]
        else:
            sequential = self._task(SequentialTask)
            name = sequential.name
            histories = self._histories(users, history, single)
            samples = [
                _among(sequential.query(position, taken), items)
                for position, taken, items in zip(positions, histories, lists, strict=True)
            ]
        longest = max(map(len, lists))
        found = self.engine.find_items(
            samples, name, k=longest if k is None else min(_positive(k), longest), num_beams=longest, exclude=False
        )
        results = self._recommendations(found)
        return results[0] if single else results

    @overload
    def explain(self, user: str, item: str) -> str: ...

    @overload
    def explain(self, user: list[str], item: list[str]) -> list[str]: ...

    def explain(self, user: str | list[str], item: str | list[str]) -> str | list[str]:
        """Write why the item is for the user.

        Args:
            user: a user ID, or a list of them.
            item: an item ID; for a list of users a list of items, one each.

        Raises:
            ValueError: a user or an item is unknown, or the model was not trained to explain.
        """
        users, single = _listed(user)
        items, _ = _listed(item)
        _same_length(users, items, "item")
        task = self._task(ExplanationTask)
        samples = [
            task.query(self._user_position(name), self.catalogue.item_position(item_id))
            for name, item_id in zip(users, items, strict=True)
        ]
        texts = self.engine.write_text(samples, task.name)
        return texts[0] if single else texts

    # Saving and loading

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, histories: bool = True, notes: Sequence[str] = ()
    ) -> None:
        """Save all that `from_pretrained` needs: adapter, tokenizer, catalogue, settings, and what makes the base.

        A base from the Hub or a folder is named, not copied. A base made from scratch is saved in `base/`: its
        configuration where the adapter holds its weights (`train_base=True`), its weights too where it does not.

        Args:
            folder: where to; it can be pushed to the Hub as it is.
            histories: whether to save what each user took, so that `recommend(user)` needs no history. Leave it out
                of a folder that is made public.
            notes: sentences for the model card that must be read with the model's numbers, such as an audit's verdict.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        base: Any = self.model.get_base_model()
        config = self.model.peft_config["default"]
        if not config.base_model_name_or_path:
            base.config.save_pretrained(str(folder / BASE_FOLDER))
            if not config.train_base:
                self._save_frozen_base(folder / BASE_FOLDER)
        self.processor.save_pretrained(folder)
        self.catalogue.save(folder, histories=histories)
        self.settings.save(folder)
        # The rows of new tokens are trained ones of the adapter; PEFT would save all rows beside them, twice over.
        self.model.save_pretrained(str(folder), save_embedding_layers=False)
        catalogue = self.catalogue
        describe_recommender(folder, self.processor, len(catalogue.user_ids), len(catalogue.item_ids), notes)

    def _save_frozen_base(self, folder: Path) -> None:
        # LoRA layers wrap modules of the base; it is saved under the names it has without them.
        base: Any = self.model.get_base_model()
        state = {
            name.replace(".base_layer.", "."): tensor
            for name, tensor in base.state_dict().items()
            if ".lora_" not in name
        }
        type(base).save_pretrained(base, str(folder), state_dict=state)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        base_model: PreTrainedModel | None = None,
        show_progress: bool = False,
        **hub_arguments: Any,
    ) -> Recommender:
        """Load a model that `save_pretrained` saved.

        Args:
            folder: the folder, or the id of a model repository on the Hub.
            device: where to run; by default where PyTorch puts models.
            base_model: the base, where it should not be loaded anew.
            show_progress: whether to show a progress bar over batches.
            **hub_arguments: for the Hub, such as `revision` and `token`.

        Raises:
            FileNotFoundError: the folder lacks a file, or its base model cannot be loaded; the message names it.
            ValueError: a file is damaged, or the base is not the one that the adapter was trained on.
        """
        local = Path(folder) if os.path.isdir(folder) else Path(_download(str(folder), **hub_arguments))
        for name in _FILES:
            if not (local / name).is_file():
                raise FileNotFoundError(f"{folder} has no {name}: it is not a folder that Recommender saved")
        catalogue = Catalogue.load(local)
        settings = GenerationSettings.load(local)
        try:
            processor = PODProcessor.from_pretrained(local, AutoTokenizer.from_pretrained(str(local)))
            base = _load_base(local) if base_model is None else base_model
            fit_embeddings(base, processor.tokenizer)  # as for training, whose checkpoint holds the rows' values
            model = PeftModel.from_pretrained(base, str(local), torch_device="cpu")
        except (json.JSONDecodeError, SafetensorError) as error:
            raise ValueError(f"a file of {folder} is damaged or cut off: {error}") from error
        if device is not None:
            model.to(device)
        return cls(model.eval(), processor, catalogue, settings, show_progress=show_progress)

    # Helpers

    def _task(self, kind: type[Any]) -> Any:
        return self.processor.task(kind.name)

    def _user_position(self, user: str) -> int:
        # Where inputs do not name users, one that the model was not trained on is as good as any other.
        if not self.processor.indexing.user_words and not self.catalogue.has_user(user):
            return UNNAMED_USER
        return self.catalogue.user_position(user)

    def _histories(self, users: list[str], history: Any, single: bool) -> list[list[int]]:
        if history is None:
            return [self.catalogue.history(self.catalogue.user_position(user)).tolist() for user in users]
        return self._item_lists(history, len(users), single, "history")

    def _item_lists(self, items: Any, num_users: int, single: bool, name: str) -> list[list[int]]:
        if isinstance(items, str):
            raise ValueError(f"{name} must be a list of item IDs, got the string {items!r}")
        lists = [items] if single else list(items)
        if len(lists) != num_users:
            raise ValueError(f"{name} has {len(lists)} lists for {num_users} users: give one list a user")
        for user_items in lists:
            if isinstance(user_items, str):
                raise ValueError(f"for a list of users, {name} must be a list of lists of item IDs")
        return [[self.catalogue.item_position(item_id) for item_id in user_items] for user_items in lists]

    def _recommendations(self, found: RankedItems) -> list[list[Recommendation]]:
        return [
            [
                Recommendation(self.catalogue.item_ids[item], self.catalogue.titles[item], float(score))
                for item, score in zip(items, scores, strict=True)
                if item >= 0
            ]
            for items, scores in zip(found.items.tolist(), found.scores.tolist(), strict=True)
        ]


def _among(sample: Sample, candidates: list[int]) -> Sample:
    if len(set(candidates)) != len(candidates) or not candidates:
        raise ValueError("candidates must name at least one item, and none twice")
    return replace(sample, candidates=candidates)


def _listed(value: str | list[str]) -> tuple[list[str], bool]:
    if isinstance(value, list):
        if not value:
            raise ValueError("the list of users is empty")
        return value, False
    return [value], True


def _same_length(users: list[str], values: list[Any], name: str) -> None:
    if len(users) != len(values):
        raise ValueError(f"{name} has {len(values)} entries for {len(users)} users: give one a user")


def _positive(k: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a positive whole number, got {k!r}")
    return k


def _download(repository: str, **hub_arguments: Any) -> str:
    try:
        return str(snapshot_download(repository, **hub_arguments))
    except Exception as error:
        raise FileNotFoundError(
            f"{repository!r} is neither a folder nor a model repository that can be downloaded: {error}"
        ) from error


def _load_base(folder: Path) -> PreTrainedModel:
    saved = folder / BASE_FOLDER
    config = PeftConfig.from_pretrained(str(folder))
    named = config.base_model_name_or_path
    if named:
        try:
            return AutoModelForSeq2SeqLM.from_pretrained(named)
        except (OSError, HFValidationError) as error:
            raise FileNotFoundError(
                f"the base model {named!r}, which {folder} was trained on, cannot be loaded; put it back, or pass "
                f"base_model=: {error}"
            ) from error
    if not (saved / "config.json").is_file():
        raise FileNotFoundError(f"{folder} names no base model and has no {BASE_FOLDER}/config.json; pass base_model=")
    if config.train_base:
        return _unnamed(AutoModelForSeq2SeqLM.from_config(AutoConfig.from_pretrained(str(saved))))
    if not any((saved / name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)):
        raise FileNotFoundError(f"{folder} has no {BASE_FOLDER}/{SAFE_WEIGHTS_NAME}: it was not saved to the end")
    return _unnamed(AutoModelForSeq2SeqLM.from_pretrained(str(saved)))


def _unnamed(base: PreTrainedModel) -> PreTrainedModel:
    # Saved again, an adapter would else name this folder as its base, which may be gone then and need not hold weights.
    base.name_or_path = base.config._name_or_path = ""
    return base
