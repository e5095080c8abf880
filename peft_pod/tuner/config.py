"""The configuration of POD as a PEFT method."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

from peft import LoraConfig, TaskType
from peft.utils import PeftType
from peft.utils.constants import DUMMY_TARGET_MODULES

from .model_card import say_how_to_load

PromptInit = Literal["uniform", "vocabulary", "text", "adapter"]

# Tasks' prompts are named with it, so that no name clashes with an adapter's, by which PEFT filters, or with a method
# of torch's containers.
TASK_PREFIX = "task_"

# What LoRA's configuration has for any method, or for the base: all else changes nothing without LoRA's rank, so that
# whoever sets it forgot `r`.
_OF_ANY_METHOD = frozenset(
    {
        "task_type",
        "peft_type",
        "auto_mapping",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "r",
        "target_modules",
        "target_parameters",
        "bias",
        "modules_to_save",
        "trainable_token_indices",
        "ensure_weight_tying",
    }
)


@dataclass
class PromptDistillationConfig(LoraConfig):
    """Configuration of POD, prompt distillation for recommendation (Li, Zhang and Chen, CIKM 2023).

    Each task has its own continuous prompt vectors, put in front of the embedded input; with whole-word embeddings,
    the tokens that make up the n-th ID of the input share one more learned vector. The base model is trained in one
    of three ways: not at all (the default), by LoRA in the same adapter (`r > 0`, with any of LoRA's other fields),
    or whole, as in the paper (`train_base=True`; the adapter's checkpoint then carries the base's weights).

    Args:
        tasks: names of the tasks, in the order of their task IDs. Give this or `num_tasks`.
        num_tasks: number of tasks, where they need no names.
        num_virtual_tokens: prompt vectors per task (the paper's runs: 10). With 0 nothing is put in front of the input,
            which shows what prompts are worth; tasks then differ in their templates alone.
        whole_word_embedding: whether IDs get whole-word embeddings. The model then needs `whole_word_ids`.
        max_whole_words: rows of the whole-word table, the most IDs an input may hold.
        prompt_init: how prompts start: `"uniform"` between −`prompt_init_range` and +`prompt_init_range` (the
            paper); `"vocabulary"`, embeddings of tokens sampled from the base's vocabulary; `"text"`, embeddings of a
            text's tokens, repeated or cut to `num_virtual_tokens`; or `"adapter"`, the prompts of a saved adapter.
        prompt_init_range: half the width of the uniform distribution.
        prompt_init_text: for `"text"`: one text a task, in the order of the tasks; needs `tokenizer_name_or_path`.
            `template_texts` gives those of the library's own tasks.
        tokenizer_name_or_path: the base's tokenizer, by which `prompt_init_text` is read.
        prompt_init_token_ids: for `"text"`: token IDs for each task instead of texts. Texts are written here once they
            are read, so that a saved adapter no longer needs the tokenizer.
        prompt_init_adapter: for `"adapter"`: folder or Hub ID of a saved POD adapter with as many prompt vectors.
        prompt_init_tasks: for `"adapter"`: the saved adapter's task, by name or number, that each task starts from; by
            default the one of the same name, or of the same number where the tasks have no names.
        init_seed: seed of the prompts' start, so that the same configuration starts the same everywhere.
        train_tasks: train the prompts of these tasks alone; other tasks' prompts, whole-word embeddings, LoRA and the
            base stay as they are, and so does what the other tasks answer. By default all that the adapter has is
            trained. See `PODModel.set_train_tasks`.
        train_base: train all of the base model too.
        r: LoRA's rank; 0, the default, means no LoRA.

    Raises:
        ValueError: a field has a value that cannot be used; the message names both.

    Example:
        >>> from peft_pod import PODConfig
        >>> config = PODConfig(tasks=["sequential", "topn"], num_virtual_tokens=10)
        >>> config.num_tasks
        2
    """

    tasks: list[str] | None = field(
        default=None, metadata={"help": "Names of the tasks, in the order of their task IDs. Give this or num_tasks."}
    )
    num_tasks: int | None = field(default=None, metadata={"help": "Number of tasks, where they need no names."})
    num_virtual_tokens: int = field(default=10, metadata={"help": "Continuous prompt vectors per task; 0 for none."})
    whole_word_embedding: bool = field(
        default=True, metadata={"help": "Whether the tokens of each ID share a learned whole-word embedding."}
    )
    max_whole_words: int = field(default=512, metadata={"help": "The most IDs that one input may hold."})
    prompt_init: PromptInit = field(
        default="uniform",
        metadata={"help": "How prompts start: 'uniform' (the paper), 'vocabulary', 'text' or 'adapter'."},
    )
    prompt_init_range: float = field(
        default=0.1, metadata={"help": "Half the width of the uniform start (paper: 0.1)."}
    )
    prompt_init_text: list[str] | None = field(
        default=None, metadata={"help": "For prompt_init='text': one text a task, in the order of the tasks."}
    )
    tokenizer_name_or_path: str | None = field(
        default=None, metadata={"help": "The base's tokenizer, by which prompt_init_text is read."}
    )
    prompt_init_token_ids: list[list[int]] | None = field(
        default=None, metadata={"help": "For prompt_init='text': token IDs for each task, in the place of texts."}
    )
    prompt_init_adapter: str | None = field(
        default=None, metadata={"help": "For prompt_init='adapter': folder or Hub ID of a saved POD adapter."}
    )
    prompt_init_tasks: list[str] | list[int] | None = field(
        default=None,
        metadata={"help": "For prompt_init='adapter': which of its tasks each task starts from (default: same name)."},
    )
    init_seed: int = field(default=0, metadata={"help": "Seed of the prompts' start."})
    train_tasks: list[str] | list[int] | None = field(
        default=None, metadata={"help": "Train the prompts of these tasks alone, and nothing else; default: all."}
    )
    train_base: bool = field(
        default=False, metadata={"help": "Train all of the base model too; the checkpoint then carries its weights."}
    )
    r: int = field(default=0, metadata={"help": "Rank of LoRA in the same adapter; 0 means no LoRA."})

    def __post_init__(self) -> None:
        if self.task_type is None:
            self.task_type = TaskType.SEQ_2_SEQ_LM
        if self.task_type != TaskType.SEQ_2_SEQ_LM:
            raise ValueError(
                f"task_type must be {TaskType.SEQ_2_SEQ_LM.value!r} for POD, which needs an encoder-decoder; "
                f"got {self.task_type!r}"
            )
        super().__post_init__()
        self.peft_type = PeftType("POD")
        # PEFT saves a configuration as one for inference: this one describes weights that a checkpoint holds.
        self._has_checkpoint = self.inference_mode
        self.check_tasks()
        self.check_train_tasks()
        self._check_prompts()
        self._check_prompt_init()
        self._check_training_mode()

    def check_tasks(self) -> None:
        """Check `tasks` and `num_tasks`; raises `ValueError`."""
        if self.tasks is None and self.num_tasks is None:
            raise ValueError("PODConfig needs `tasks` (names, in order) or `num_tasks`")
        if self.tasks is not None:
            if not _is_list(self.tasks) or not all(isinstance(task, str) and task for task in self.tasks):
                raise ValueError(f"tasks must be a list of names, got {self.tasks!r}")
            self.tasks = list(self.tasks)
            if len(set(self.tasks)) != len(self.tasks):
                raise ValueError(f"tasks names a task twice: {self.tasks}")
            dotted = [task for task in self.tasks if "." in task]
            if dotted:
                raise ValueError(
                    f"tasks has {dotted[0]!r}, but a task's name must hold no '.': weights are named by it"
                )
            if self.num_tasks not in (None, len(self.tasks)):
                raise ValueError(f"num_tasks is {self.num_tasks}, but tasks names {len(self.tasks)}: {self.tasks}")
            self.num_tasks = len(self.tasks)
        _check_positive("num_tasks", self.num_tasks)

    def check_train_tasks(self) -> None:
        """Check `train_tasks`; raises `ValueError`."""
        if self.train_tasks is not None:
            if not _is_list(self.train_tasks) or not self.train_tasks:
                raise ValueError(f"train_tasks must be a list of at least one task, got {self.train_tasks!r}")
            self.train_tasks = cast(Any, list(self.train_tasks))
            for task in self.train_tasks:
                self.task_key(task)
            if self.bias != "none":
                raise ValueError(f"train_tasks trains prompts alone, but bias={self.bias!r} trains the base's biases")
            if self.num_virtual_tokens == 0:
                raise ValueError(
                    f"train_tasks={self.train_tasks} trains prompts alone, but num_virtual_tokens is 0: there are none"
                )

    def _check_prompts(self) -> None:
        if not _is_whole_number(self.num_virtual_tokens) or self.num_virtual_tokens < 0:
            raise ValueError(
                f"num_virtual_tokens must be 0 (no prompts) or a positive whole number, got {self.num_virtual_tokens!r}"
            )
        _check_positive("max_whole_words", self.max_whole_words)
        if self.prompt_init not in get_args(PromptInit):
            raise ValueError(f"prompt_init must be one of {list(get_args(PromptInit))}, got {self.prompt_init!r}")
        if self.num_virtual_tokens == 0 and self.prompt_init != "uniform":
            raise ValueError(
                f"prompt_init is {self.prompt_init!r}, but num_virtual_tokens is 0, so there are no prompts to start: "
                "leave prompt_init out, or set num_virtual_tokens"
            )
        if not _is_number(self.prompt_init_range) or self.prompt_init_range <= 0:
            raise ValueError(f"prompt_init_range must be a number above 0, got {self.prompt_init_range!r}")
        # The range of seeds that PyTorch takes.
        if not _is_whole_number(self.init_seed) or not -(2**63) <= self.init_seed < 2**64:
            raise ValueError(f"init_seed must be a whole number of at most 64 bits, got {self.init_seed!r}")
        if not isinstance(self.whole_word_embedding, bool):
            raise ValueError(f"whole_word_embedding must be True or False, got {self.whole_word_embedding!r}")

    def _check_prompt_init(self) -> None:
        for name in ("tokenizer_name_or_path", "prompt_init_adapter"):
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                setattr(self, name, os.fspath(value))  # a configuration is saved as JSON, which has no paths
            elif value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"{name} must be a folder or a Hub ID, got {value!r}")
        needed = {
            "prompt_init_text": "text",
            "prompt_init_token_ids": "text",
            "prompt_init_adapter": "adapter",
            "prompt_init_tasks": "adapter",
        }
        for name, init in needed.items():
            value = getattr(self, name)
            if value is None:
                continue
            if self.prompt_init != init:
                raise ValueError(f"{name} is set but prompt_init is {self.prompt_init!r}: set prompt_init={init!r}")
            if name == "prompt_init_adapter":
                continue
            if not _is_list(value) or len(value) != self.num_tasks:
                raise ValueError(f"{name} must be a list of {self.num_tasks} entries, one a task, got {value!r}")
            check, kind = _PROMPT_INIT_ENTRIES[name]
            wrong = [entry for entry in value if not check(entry)]
            if wrong:
                raise ValueError(f"each entry of {name} must be {kind}, got {wrong[0]!r}")
        if self.prompt_init == "text" and self.prompt_init_token_ids is None:
            if self.prompt_init_text is None:
                raise ValueError("prompt_init='text' needs prompt_init_text, or prompt_init_token_ids")
            if self.tokenizer_name_or_path is None:
                raise ValueError("prompt_init_text needs tokenizer_name_or_path, the base's tokenizer")
        if self.prompt_init == "adapter" and self.prompt_init_adapter is None:
            raise ValueError("prompt_init='adapter' needs prompt_init_adapter, the folder of a saved adapter")

    def _check_training_mode(self) -> None:
        if not isinstance(self.train_base, bool):
            raise ValueError(f"train_base must be True or False, got {self.train_base!r}")
        if not _is_whole_number(self.r) or self.r < 0:
            raise ValueError(f"r must be 0 (no LoRA) or a positive whole number, got {self.r!r}")
        named = [name for name in ("target_modules", "target_parameters") if getattr(self, name) not in (None, set())]
        if self.target_modules == DUMMY_TARGET_MODULES:
            named.remove("target_modules")
        plain = LoraConfig()
        loras = [lora.name for lora in fields(LoraConfig) if lora.name not in _OF_ANY_METHOD]
        named += [name for name in loras if getattr(self, name) != getattr(plain, name)]
        if self.bias == "lora_only":
            named.append("bias='lora_only'")
        if self.r == 0 and named:
            raise ValueError(f"{named[0]} is set but r is 0, which means no LoRA: set r, or leave {named[0]} out")
        if self.train_base and self.r > 0:
            raise ValueError(f"train_base=True and LoRA (r={self.r}) exclude each other: choose one")
        if self.train_base and self.modules_to_save:
            raise ValueError(
                "train_base=True already trains and saves every module: "
                f"leave modules_to_save={self.modules_to_save} out"
            )
        adapter = (self.num_virtual_tokens, self.whole_word_embedding, self.r, self.train_base)
        parts = (self.modules_to_save, self.trainable_token_indices, self.bias == "all")
        if not any(adapter) and not any(parts):
            raise ValueError(
                "nothing would be trained: num_virtual_tokens is 0, whole_word_embedding is False, r is 0 and "
                "train_base is False. Set one of them, or name modules_to_save or trainable_token_indices"
            )

    @property
    def uses_lora(self) -> bool:
        """Whether the base is trained by LoRA in the same adapter."""
        return self.r > 0

    def task_index(self, name: str) -> int:
        """The task ID of a task's name.

        Raises:
            ValueError: the tasks have no names, or none has this one.
        """
        if self.tasks is None:
            raise ValueError(
                f"task {name!r} is asked for by name, but the adapter's {self.num_tasks} tasks have no names"
            )
        if name not in self.tasks:
            raise ValueError(f"unknown task {name!r}; this adapter has {self.tasks}")
        return self.tasks.index(name)

    @property
    def task_keys(self) -> list[str]:
        """What the tasks' prompts are called in a state dict, in the order of the tasks: `task_topn`, or `task_0`."""
        names = range(cast(int, self.num_tasks)) if self.tasks is None else self.tasks
        return [f"{TASK_PREFIX}{name}" for name in names]

    def task_key(self, task: str | int) -> str:
        """What the prompts of a task, given by name or number, are called in a state dict.

        Raises:
            ValueError: there is no such task.
        """
        number = self.task_index(task) if isinstance(task, str) else task
        if not _is_whole_number(number):
            raise ValueError(f"a task must be given by its name or number, got {task!r}")
        if not 0 <= number < cast(int, self.num_tasks):
            raise ValueError(f"task {number} is out of range: this adapter has {self.num_tasks} tasks")
        return self.task_keys[number]

    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Save the configuration, and say in the model card beside it, where there is one, how to load the adapter."""
        super().save_pretrained(save_directory, **kwargs)
        say_how_to_load(save_directory)


PODConfig = PromptDistillationConfig


def _check_positive(name: str, value: Any) -> None:
    if not _is_whole_number(value) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_whole_number(value) or (isinstance(value, float) and math.isfinite(value))


def _is_list(value: Any) -> bool:
    # Not a set, whose order is another one in each process, and not a generator, which can be read once.
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


_PROMPT_INIT_ENTRIES = {
    "prompt_init_text": (lambda entry: isinstance(entry, str), "a text"),
    "prompt_init_token_ids": (
        lambda entry: _is_list(entry) and all(_is_whole_number(token) for token in entry),
        "a list of token IDs",
    ),
    "prompt_init_tasks": (
        lambda entry: isinstance(entry, str) or _is_whole_number(entry),
        "a task's name or number",
    ),
}
