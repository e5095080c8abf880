"""From samples to what the model takes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from peft_pod.files import write_text
from peft_pod.indexing import Indexing, indexing_from_dict
from peft_pod.indexing.tokens import word_tokens
from peft_pod.tasks import Field, Sample, Task, load_task
from peft_pod.tasks.base import UNNAMED_USER, USER_FIELD

from .words import WordTokenizer

PROCESSOR_FILE = "pod_processor.json"
SHORTENED_FIELD = "history"


class PODProcessor:
    """Turns samples into `input_ids`, `attention_mask`, `whole_word_ids`, `task_id` and `labels`.

    All tokens of the n-th ID of an input have the whole-word ID n (1, 2, ...), other tokens 0 (POD paper, section
    3.2). The answer is followed by the end-of-sequence token. An input longer than `max_input_length` loses the oldest
    items of its history; where it has none to lose, that is an error.

    Args:
        tokenizer: a fast tokenizer.
        indexing: the fitted item IDs.
        tasks: the tasks in the order of their task IDs.
        max_input_length: the most tokens of an input, prompts not counted; `None` for no limit.
        max_target_length: the most tokens of a written answer (paper: 20 words); longer ones are cut.

    Where the indexing names no users, inputs do not hold them, and users that the model never saw are served by their
    history. Where it does, a sample whose user is `UNNAMED_USER` is asked without the user's word; the other IDs keep
    the whole-word IDs that they have beside a user, which are those that they were trained with.

    Raises:
        ValueError: no tasks are given, one twice, a limit is too small, the tokenizer cannot tell the IDs apart or
            lacks tokens of theirs, or a task asks about users whom the indexing does not name.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        indexing: Indexing,
        tasks: Sequence[Task],
        *,
        max_input_length: int | None = None,
        max_target_length: int = 64,
    ) -> None:
        names = [task.name for task in tasks]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"tasks must name at least one task, and none twice; got {names}")
        for name, limit in (("max_input_length", max_input_length), ("max_target_length", max_target_length)):
            if limit is not None and limit < 2:
                raise ValueError(f"{name} must be at least 2, got {limit}")
        self.tokenizer = tokenizer
        self.indexing = indexing
        self.tasks = tuple(tasks)
        self.max_input_length = max_input_length
        self.max_target_length = max_target_length
        self._words = WordTokenizer(tokenizer)
        self._words.learn([*indexing.item_words, *indexing.user_words])
        self._words.learn(indexing.user_words, first=True)
        self._check_ids()
        self._check_users()

    def _check_ids(self) -> None:
        unknown = self.tokenizer.unk_token_id
        named: dict[tuple[int, ...], str] = {}
        for word in (*self.indexing.item_words, *self.indexing.user_words):
            tokens = self._words.encode(word)
            shown = word_tokens(word)
            if shown and len(tokens) != len(shown):
                raise ValueError(
                    f"the tokenizer lacks the tokens of the ID {word!r} and would write it in {len(tokens)} pieces: "
                    "make it by build_tokenizer, or give it the tokens by add_new_tokens(tokenizer, indexing.tokens())"
                )
            if unknown is not None and unknown in tokens:
                raise ValueError(f"the tokenizer cannot write the ID {word!r}: part of it is unknown to it")
            if named.setdefault(tokens, word) != word:
                raise ValueError(f"the tokenizer writes the IDs {named[tokens]!r} and {word!r} with the same tokens")

    def _check_users(self) -> None:
        if self.indexing.user_words:
            return
        for task in self.tasks:
            if task.target == "item" and not self.knows_more_than_users(task.name):
                raise ValueError(
                    f"the task {task.name!r} knows nothing of users but their names, and indexing "
                    f"{self.indexing.name!r} was told to name none: leave the task out, name users, or have its input "
                    "hold their history (the top-N task's history_length, --topn_history_length)"
                )

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in the order of their task IDs."""
        return [task.name for task in self.tasks]

    def task_id(self, name: str) -> int:
        """The task ID of a task's name.

        Raises:
            ValueError: this model was not made for the task.
        """
        if name not in self.task_names:
            raise ValueError(f"unknown task {name!r}; this model has {self.task_names}")
        return self.task_names.index(name)

    def task(self, name: str) -> Task:
        """The task of a name; errors as for `task_id`."""
        return self.tasks[self.task_id(name)]

    def knows_more_than_users(self, name: str) -> bool:
        """Whether the question of a task says more of a user than the name, so that it can be asked without the name.

        Args:
            name: of the task.

        Raises:
            ValueError: this model was not made for the task.
        """
        fields = self.task(name).bare.fields
        return USER_FIELD not in fields or SHORTENED_FIELD in fields

    def with_tasks(self, tasks: Sequence[Task]) -> PODProcessor:
        """A processor with more tasks after those it has, and the same otherwise; errors as for a new one."""
        return PODProcessor(
            self.tokenizer,
            self.indexing,
            [*self.tasks, *tasks],
            max_input_length=self.max_input_length,
            max_target_length=self.max_target_length,
        )

    def item_tokens(self) -> list[tuple[int, ...]]:
        """The tokens that name each item as an answer, by position, without the end-of-sequence token."""
        self._words.learn(self.indexing.item_words, first=True)
        return [self._words.encode(word, first=True) for word in self.indexing.item_words]

    def new_token_ids(self) -> list[int]:
        """The numbers of the new tokens that IDs are made of (`Indexing.tokens`), in order."""
        words = (*self.indexing.item_words, *self.indexing.user_words)
        return sorted({token for word in words if word_tokens(word) for token in self._words.encode(word)})

    def id_token_ids(self) -> list[int]:
        """The numbers of the tokens that stand for nothing but IDs or parts of them, in order.

        They are the new tokens (`new_token_ids`), and the tokens that are a whole ID each, as in a tokenizer that was
        built with `id_tokens="whole"`. An ID of letters and digits alone, such as a title of one word, is text too and
        not among them; nor are the ordinary pieces that other IDs are written in.
        """
        found = set(self.new_token_ids())
        for word in (*self.indexing.item_words, *self.indexing.user_words):
            for first in (False, True):
                tokens = self._words.encode(word, first=first)
                if word_tokens(word) or (len(tokens) == 1 and not word.isalnum()):
                    found.update(tokens)
        return sorted(found)

    def __call__(self, sample: Sample, task: str) -> dict[str, Any]:
        """Encode one sample.

        Args:
            sample: the question, with its answer where there is one.
            task: name of its task.

        Returns:
            Lists of numbers by name, not yet padded: `input_ids`, `attention_mask`, `whole_word_ids`, `task_id`, and
            `labels` where the sample has an answer.

        Raises:
            ValueError: the input does not fit into `max_input_length` even without a history.
        """
        input_ids, whole_word_ids = self._encode_input(sample)
        encoded: dict[str, Any] = {
            "input_ids": input_ids,
            "attention_mask": [1] * len(input_ids),
            "whole_word_ids": whole_word_ids,
            "task_id": self.task_id(task),
        }
        labels = self._encode_answer(sample)
        if labels is not None:
            encoded["labels"] = labels
        return encoded

    def _encode_input(self, sample: Sample) -> tuple[list[int], list[int]]:
        input_ids, whole_word_ids = self._fill(sample, sample.items)
        limit = self.max_input_length
        if limit is None or len(input_ids) <= limit:
            return input_ids, whole_word_ids
        history = sample.items.get(SHORTENED_FIELD, ())
        for dropped in range(1, len(history)):
            shorter = {**sample.items, SHORTENED_FIELD: history[dropped:]}
            input_ids, whole_word_ids = self._fill(sample, shorter)
            if len(input_ids) <= limit:
                return input_ids, whole_word_ids
        raise ValueError(
            f"the input has {len(input_ids)} tokens and the model takes {limit}: give fewer candidates, or configure a "
            f"larger max_input_length if the base allows it (template {sample.template.text!r})"
        )

    def _fill(self, sample: Sample, items: Mapping[str, Sequence[int]]) -> tuple[list[int], list[int]]:
        input_ids = list(self._words.prefix)
        whole_word_ids = [0] * len(input_ids)
        first, last_word = True, 0
        for part in sample.template.parts:
            if isinstance(part, Field):
                if part.name == USER_FIELD and sample.user == UNNAMED_USER and self.indexing.user_words:
                    last_word += 1  # the place of the user, whose word is left out
                for word in self._id_words(part, sample, items):
                    tokens = self._words.encode(word, first=first)
                    last_word += 1
                    input_ids.extend(tokens)
                    whole_word_ids.extend([last_word] * len(tokens))
                    first = False
            else:
                tokens = self._words.encode(part, first=first)
                input_ids.extend(tokens)
                whole_word_ids.extend([0] * len(tokens))
                first = False
        input_ids.extend(self._words.suffix)
        whole_word_ids.extend([0] * len(self._words.suffix))
        return input_ids, whole_word_ids

    def _id_words(self, field: Field, sample: Sample, items: Mapping[str, Sequence[int]]) -> list[str]:
        if field.name == USER_FIELD:
            named = bool(self.indexing.user_words) and sample.user != UNNAMED_USER
            return [self.indexing.user_word(sample.user)] if named else []
        if field.name not in items:
            raise ValueError(f"template {sample.template.text!r} has a field {field.name!r} that the sample lacks")
        return [self.indexing.item_word(item) for item in items[field.name]]

    def _encode_answer(self, sample: Sample) -> list[int] | None:
        end = self.tokenizer.eos_token_id
        if sample.target_item is not None:
            return [*self._words.encode(self.indexing.item_word(sample.target_item), first=True), end]
        if sample.target_text is None:
            return None
        tokens = self.tokenizer(sample.target_text, add_special_tokens=False)["input_ids"]
        return [*tokens[: self.max_target_length - 1], end]

    def text(self, sample: Sample) -> str:
        """The input as text, for reading."""
        words: list[str] = []
        for part in sample.template.parts:
            words.extend(self._id_words(part, sample, sample.items) if isinstance(part, Field) else [part])
        return " ".join(words)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the tokenizer, the item IDs and the tasks' settings into a folder."""
        folder = Path(folder)
        self.tokenizer.save_pretrained(str(folder))
        settings = {
            "indexing": self.indexing.to_dict(),
            "tasks": [{"name": task.name, "options": task.options()} for task in self.tasks],
            "max_input_length": self.max_input_length,
            "max_target_length": self.max_target_length,
        }
        write_text(folder / PROCESSOR_FILE, json.dumps(settings, ensure_ascii=False))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], tokenizer: PreTrainedTokenizerBase) -> PODProcessor:
        """Read what `save_pretrained` wrote.

        Args:
            folder: the folder.
            tokenizer: loaded from the same folder by `AutoTokenizer`.

        Raises:
            FileNotFoundError: the folder lacks the processor's file.
            ValueError: a task of the folder is not registered here.
        """
        path = Path(folder) / PROCESSOR_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} has no {PROCESSOR_FILE}: it was not saved by peft_pod, or not to the end"
            )
        settings = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            tokenizer,
            indexing_from_dict(settings["indexing"]),
            [load_task(task["name"], **task["options"]) for task in settings["tasks"]],
            max_input_length=settings["max_input_length"],
            max_target_length=settings["max_target_length"],
        )
