"""What a `Recommender` is made of, written into a folder and read from one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel

from peft_pod.corpus.catalogue import Catalogue
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.processing import PODProcessor
from peft_pod.training.base_model import fit_embeddings

from .card import describe_recommender
from .saved_base import load_base, save_base
from .settings import GenerationSettings

COUNTS_FILE = "pod_counts.safetensors"
_FILES = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class RecommenderParts:
    """What `Recommender.save_pretrained` saves and `from_pretrained` loads; see there.

    Attributes:
        model: a PEFT model.
        adapter: name of the adapter in it.
        processor: the processor it was trained with.
        catalogue: users and items.
        settings: beams and batches.
        counts: of the training part; saved where the settings give them a weight.
    """

    model: PeftModel
    adapter: str
    processor: PODProcessor
    catalogue: Catalogue
    settings: GenerationSettings
    counts: NeighbourCounts | None = None

    def save(self, folder: str | os.PathLike[str], *, histories: bool, notes: Sequence[str]) -> None:
        """Write the parts into a folder.

        Args:
            folder: made where there is none.
            histories: whether to save what each user took.
            notes: sentences for the model card.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_base(self.model, self.adapter, folder)
        self.processor.save_pretrained(folder)
        self.catalogue.save(folder, histories=histories)
        self.settings.save(folder)
        self._save_counts(folder / COUNTS_FILE)
        self._save_adapter(folder)
        catalogue = self.catalogue
        describe_recommender(folder, self.processor, len(catalogue.user_ids), len(catalogue.item_ids), notes)

    def _save_counts(self, path: Path) -> None:
        # Pairs that one user alone took together can be seen in them: they are kept only where they are needed.
        if self.settings.count_weight and self.counts is not None:
            self.counts.save(path)
        else:
            path.unlink(missing_ok=True)

    def _save_adapter(self, folder: Path) -> None:
        # The rows of new tokens are trained ones of the adapter; PEFT would save all rows beside them, twice over.
        chosen: dict[str, Any] = {"selected_adapters": [self.adapter], "save_embedding_layers": False}
        if self.adapter == "default":
            self.model.save_pretrained(str(folder), **chosen)
            return
        # PEFT saves an adapter of another name into a folder of that name, where it would not be found.
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            self.model.save_pretrained(temporary, **chosen)
            for file in (Path(temporary) / self.adapter).iterdir():
                os.replace(file, folder / file.name)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        base_model: PreTrainedModel | PeftModel | None,
        adapter: str,
        **hub_arguments: Any,
    ) -> RecommenderParts:
        """Read what `save` wrote; arguments and errors as for `Recommender.from_pretrained`."""
        local = Path(folder) if os.path.isdir(folder) else Path(_download(str(folder), **hub_arguments))
        for name in _FILES:
            if not (local / name).is_file():
                raise FileNotFoundError(f"{folder} has no {name}: it is not a folder that Recommender saved")
        catalogue = Catalogue.load(local)
        settings = GenerationSettings.load(local)
        counts = NeighbourCounts.load(local / COUNTS_FILE) if settings.count_weight else None
        try:
            processor = PODProcessor.from_pretrained(local, AutoTokenizer.from_pretrained(str(local)))
            if isinstance(base_model, PeftModel):
                model = _load_beside(base_model, local, adapter, processor)
            else:
                base = load_base(local) if base_model is None else base_model
                fit_embeddings(base, processor.tokenizer)  # as for training, whose checkpoint holds the rows' values
                model = PeftModel.from_pretrained(base, str(local), adapter_name=adapter, torch_device="cpu")
        except (json.JSONDecodeError, SafetensorError) as error:
            raise ValueError(f"a file of {folder} is damaged or cut off: {error}") from error
        return cls(model, adapter, processor, catalogue, settings, counts)


def _download(repository: str, **hub_arguments: Any) -> str:
    try:
        return str(snapshot_download(repository, **hub_arguments))
    except Exception as error:
        raise FileNotFoundError(
            f"{repository!r} is neither a folder nor a model repository that can be downloaded: {error}"
        ) from error


def _load_beside(model: PeftModel, folder: Path, adapter: str, processor: PODProcessor) -> PeftModel:
    if adapter in model.peft_config:
        raise ValueError(
            f"the model has an adapter {adapter!r} already (of {list(model.peft_config)}): pass a new name as adapter="
        )
    base: Any = model.get_base_model()
    rows = base.get_input_embeddings().num_embeddings
    if len(processor.tokenizer) > rows:
        raise ValueError(
            f"the tokenizer of {folder} has {len(processor.tokenizer)} tokens and the shared base {rows} embeddings, "
            "which are not changed beside other adapters: load it on a base of its own"
        )
    model.load_adapter(str(folder), adapter_name=adapter, torch_device="cpu")
    return model
