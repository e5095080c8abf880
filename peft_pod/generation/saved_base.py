"""The base of a saved model: named where it can be found again, else kept in the model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from peft import PeftConfig, PeftModel
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedModel
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

BASE_FOLDER = "base"
# All that `AutoModelForSeq2SeqLM` may read from a folder.
_BASE_FILES = ("config.json", "generation_config.json", "adapter_config.json", "*.safetensors", "*.bin", "*.index.json")


def save_base(model: PeftModel, adapter: str, folder: Path) -> None:
    """Save what a model's adapter does not say of its base.

    A base from the Hub or a folder is named by the adapter. One made from scratch is saved: its configuration where the
    adapter holds its weights, its weights too where it does not.

    Args:
        model: a PEFT model.
        adapter: name of the adapter that is saved.
        folder: of the saved model.
    """
    base: Any = model.get_base_model()
    config: Any = model.peft_config[adapter]
    if config.base_model_name_or_path:
        return
    base.config.save_pretrained(str(folder / BASE_FOLDER))
    if not config.train_base:
        _save_frozen_base(base, folder / BASE_FOLDER)


def _save_frozen_base(base: Any, folder: Path) -> None:
    # LoRA layers wrap modules of the base; it is saved under the names it has without them.
    state = {
        name.replace(".base_layer.", "."): tensor for name, tensor in base.state_dict().items() if ".lora_" not in name
    }
    type(base).save_pretrained(base, str(folder), state_dict=state)


def load_base(folder: Path) -> PreTrainedModel:
    """Load the base of a saved model.

    Args:
        folder: of the saved model.

    Raises:
        FileNotFoundError: it cannot be loaded; the message says what is missing.
    """
    saved = folder / BASE_FOLDER
    config: Any = PeftConfig.from_pretrained(str(folder))
    named = config.base_model_name_or_path
    if named:
        try:
            return AutoModelForSeq2SeqLM.from_pretrained(named)
        except (OSError, HFValidationError) as error:
            raise _missing(named, folder, error) from error
    if not (saved / "config.json").is_file():
        raise FileNotFoundError(f"{folder} names no base model and has no {BASE_FOLDER}/config.json; pass base_model=")
    if config.train_base:
        return _unnamed(AutoModelForSeq2SeqLM.from_config(AutoConfig.from_pretrained(str(saved))))
    if not any((saved / name).is_file() for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME)):
        raise FileNotFoundError(f"{folder} has no {BASE_FOLDER}/{SAFE_WEIGHTS_NAME}: it was not saved to the end")
    return _unnamed(AutoModelForSeq2SeqLM.from_pretrained(str(saved)))


def named_base(folder: Path) -> str | None:
    """The base that a saved model names, a folder or an ID of the Hub; `None` where it has its own.

    Args:
        folder: of the saved model.

    Raises:
        FileNotFoundError: the folder holds no model.
    """
    if not (folder / "adapter_config.json").is_file():
        raise FileNotFoundError(f"{folder} has no adapter_config.json: it is not a folder that Recommender saved")
    return PeftConfig.from_pretrained(str(folder)).base_model_name_or_path or None


def base_files(base: Path) -> list[Path]:
    """The files of a base's folder that say what it computes: weights and configurations.

    Args:
        base: its folder.
    """
    return sorted({path for pattern in _BASE_FILES for path in base.glob(pattern) if path.is_file()})


def base_revision(base: str, folder: Path) -> str:
    """The commit of a base from the Hub that would be loaded now.

    Args:
        base: its ID.
        folder: of the saved model that names it.

    Raises:
        FileNotFoundError: it is neither on the Hub nor in the local cache.
    """
    try:
        file = cached_file(base, CONFIG_NAME)
    except (OSError, HFValidationError) as error:
        raise _missing(base, folder, error) from error
    return Path(str(file)).parent.name  # the cache keeps a folder for each commit


def _missing(base: str, folder: Path, error: Exception) -> FileNotFoundError:
    return FileNotFoundError(
        f"the base model {base!r}, which {folder} was trained on, cannot be loaded; put it back, or pass "
        f"base_model=: {error}"
    )


def _unnamed(base: PreTrainedModel) -> PreTrainedModel:
    # Saved again, an adapter would else name this folder as its base, which may be gone then and need not hold weights.
    base.name_or_path = base.config._name_or_path = ""
    return base
