"""Arguments of the console script, from flags or a YAML file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, cast, get_args, get_origin, get_type_hints

import yaml
from transformers import HfArgumentParser

from peft_pod.indexing import Indexing, available_indexings
from peft_pod.indexing.tokens import word_tokens
from peft_pod.tasks import available_tasks
from peft_pod.tasks.sequential import Segments
from peft_pod.tasks.topn import CandidatesIn
from peft_pod.training import is_scratch
from peft_pod.training.setup import ItemStart
from peft_pod.tuner.config import PromptInit

from .recipes import DEFAULT_RECIPE, NO_RECIPE, RecipeArguments, read_recipe

RECIPE = "recipe"


EvaluationPart = Literal["test", "validation", "none"]


@dataclass
class DataArguments:
    """Which corpus, how it is prepared and split, and how its items are named."""

    corpus: str = field(default="embedded", metadata={"help": "Name of the corpus; see docs/corpus.md."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the corpus' files."})
    corpus_options: list[str] = field(
        default_factory=list, metadata={"help": "Options of the corpus' reader, as name=value."}
    )
    prepare: list[str] = field(
        default_factory=list,
        metadata={"help": "Rules the corpus goes through, as name=value, such as k_core_users=5; see docs/corpus.md."},
    )
    explanations_from_reviews: bool = field(
        default=False, metadata={"help": "Choose a sentence of each review that mentions a feature, to be explained."}
    )
    split: str = field(
        default="leave-one-out",
        metadata={
            "help": "leave-one-out, leave-one-out-refit (validation items are trained on too) or temporal; see "
            "docs/corpus.md."
        },
    )
    split_options: list[str] = field(
        default_factory=list, metadata={"help": "Settings of the split, as name=value, such as test_fraction=0.1."}
    )
    indexing: str = field(default="sequential", metadata={"help": f"Item IDs: {', '.join(available_indexings())}."})
    indexing_options: list[str] = field(
        default_factory=list,
        metadata={"help": "Options of the item IDs, as name=value, such as users=none; see docs/item-ids.md."},
    )


@dataclass
class CorpusArguments(DataArguments):
    """Which corpus, and how it becomes text."""

    tasks: list[str] = field(
        default_factory=list,
        metadata={"help": f"Tasks to train, of {', '.join(available_tasks())}; by default all the corpus has."},
    )
    history_length: int = field(default=20, metadata={"help": "The most items of a history in the input."})
    segments: str = field(
        default="random",
        metadata={
            "help": "What the sequential task trains on: one random segment a user and epoch (the paper), or all "
            "prefixes of every history.",
            "choices": list(get_args(Segments)),
        },
    )
    history_dropout: float = field(
        default=0.0,
        metadata={"help": "The share of the items of a history that a training sample leaves out at random."},
    )
    num_negatives: int = field(default=99, metadata={"help": "Wrong candidates of the top-N task."})
    candidates_in: str = field(
        default="prompt",
        metadata={
            "help": "Where the top-N task has its candidates: in the input (the paper), or in the trie of items alone, "
            "which constrains the answer.",
            "choices": list(get_args(CandidatesIn)),
        },
    )
    topn_history_length: int = field(
        default=0, metadata={"help": "The most items of a history in the input of the top-N task; none by default."}
    )
    bare_probability: float | None = field(
        default=None, metadata={"help": "How often training uses the bare template; by default as any other."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a run that is already in the output folder."})
    evaluation_limit: int | None = field(
        default=None, metadata={"help": "Evaluate at most so many users a task, drawn from the seed; all by default."}
    )
    validation_limit: int | None = field(
        default=None,
        metadata={
            "help": "While training, validate on at most so many users a task, drawn from the seed; by default on as "
            "many as are evaluated."
        },
    )
    evaluation_part: str = field(
        default="test",
        metadata={
            "help": "Which part is evaluated once training has ended. With validation, or none, no question of the "
            "test part is asked, so that choices can be made; `peft-pod evaluate` asks them later.",
            "choices": list(get_args(EvaluationPart)),
        },
    )


@dataclass
class ModelArguments:
    """Which base model, and how it is trained."""

    base_model: str = field(
        default="scratch:mini", metadata={"help": "Hub id, folder, or scratch:<size> for random weights."}
    )
    vocabulary_size: int = field(default=4000, metadata={"help": "Of the tokenizer trained for a base from scratch."})
    id_tokens: str = field(
        default="whole",
        metadata={
            "help": "How that tokenizer writes IDs that are text: one token each, or pieces of digits.",
            "choices": ["whole", "pieces"],
        },
    )
    item_start: str | None = field(
        default=None,
        metadata={
            "help": "Where the embeddings of items start: random, or collaborative, from vectors of who took what in "
            "training, which needs IDs of one token each or of new tokens. By default collaborative where the indexing "
            "makes new tokens, and for a base from scratch with IDs of one token; else random.",
            "choices": list(get_args(ItemStart)),
        },
    )
    dropout: float = field(default=0.1, metadata={"help": "Of a base from scratch."})
    num_virtual_tokens: int = field(default=10, metadata={"help": "Prompts per task; 0 for none."})
    prompt_init: str = field(
        default="uniform",
        metadata={
            "help": "How prompts start: uniform (the paper), as tokens sampled from the vocabulary, as the text of the "
            "tasks' own templates, or as the prompts of a trained adapter (--prompt_init_adapter).",
            "choices": list(get_args(PromptInit)),
        },
    )
    prompt_init_adapter: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of a POD adapter that holds these tasks, such as the model/ of another run."
        },
    )
    add_tasks_to: str | None = field(
        default=None,
        metadata={
            "help": "Folder of another run: its model gets the tasks that --tasks names, and nothing but their prompts "
            "is trained. Corpus, split, item IDs and model are those of that run."
        },
    )
    new_task_start: str = field(
        default="uniform",
        metadata={
            "help": "How the prompts of such tasks start: uniform, vocabulary, or as those of a task that the run has."
        },
    )
    whole_word_embedding: bool = field(default=True, metadata={"help": "Whether IDs get whole-word embeddings."})
    train_base: bool = field(default=True, metadata={"help": "Train all of the base, as in the paper."})
    lora_r: int = field(default=0, metadata={"help": "Rank of LoRA, instead of training all of the base."})
    item_beams: int = field(default=20, metadata={"help": "Beams of the search for items."})
    count_weight: float = field(
        default=0.0,
        metadata={
            "help": "The share that counting which items stand near each other has in what is recommended; 0 for the "
            "model alone. Training does not depend on it, and `peft-pod evaluate` tries others."
        },
    )
    text_beams: int = field(default=7, metadata={"help": "Beams for sentences."})

    def resolved_item_start(self, indexing: Indexing) -> ItemStart:
        """Where the embeddings of items start, the default settled."""
        if self.item_start is not None:
            return cast(ItemStart, self.item_start)
        whole = is_scratch(self.base_model) and self.id_tokens == "whole"
        return "collaborative" if whole or all(map(word_tokens, indexing.item_words)) else "random"


class _RaisesErrors:
    # argparse would print the usage first, which is more than a hundred lines here, and end the process.
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


class _Finder(_RaisesErrors, argparse.ArgumentParser):
    pass


class _Parser(_RaisesErrors, HfArgumentParser):
    pass


def parse_arguments(kinds: Sequence[type[Any]], arguments: Sequence[str], program: str) -> tuple[Any, ...]:
    """Parse flags into dataclasses; `--config FILE` names a YAML file whose values flags override.

    With `RecipeArguments` among the dataclasses, `--recipe NAME`, or `recipe` in the file, names values that the file
    and flags override; by default `best`, and none where another run says what is trained (`add_tasks_to`).

    Args:
        kinds: the dataclasses.
        arguments: the flags, without the program's name.
        program: how the usage line calls the program.

    Raises:
        SystemExit: help was asked for.
        ValueError: a flag is unknown or has a bad value; there is no such recipe; or the YAML file is missing or
            malformed, or names what no dataclass has.
    """
    finder = _Finder(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    takes_recipe = RecipeArguments in kinds
    if takes_recipe:
        finder.add_argument("--recipe")
        finder.add_argument("--add_tasks_to", "--add-tasks-to")
    found, rest = finder.parse_known_args(arguments)
    parser = _Parser(list(kinds), prog=program, formatter_class=argparse.HelpFormatter)
    parser.add_argument("--config", help="YAML file with values for the flags; flags override it.")
    config = _read_config(found.config) if found.config is not None else {}
    other_run = found.add_tasks_to if takes_recipe else None
    rest = [*rest, *([] if other_run is None else ["--add_tasks_to", other_run])]
    other_run = other_run or config.get("add_tasks_to")
    usual = DEFAULT_RECIPE if other_run is None else NO_RECIPE
    recipe = found.recipe or config.get(RECIPE) or usual if takes_recipe else None
    # As flags in front of the others, so that argparse checks types and choices, and the others override them.
    values = {**(read_recipe(str(recipe)) if recipe else {}), **config, **({RECIPE: str(recipe)} if recipe else {})}
    flags, unset = _config_flags(values, f"--config {found.config}", kinds)
    parser.set_defaults(**unset)
    *parsed, unknown = parser.parse_args_into_dataclasses([*flags, *rest], return_remaining_strings=True)
    if unknown:
        raise ValueError(f"unknown argument {unknown[0]!r}; `{program} --help` lists those there are")
    return tuple(parsed[: len(kinds)])


def _config_flags(
    values: Mapping[str, Any], source: str, kinds: Sequence[type[Any]]
) -> tuple[list[str], dict[str, None]]:
    """The values of a YAML file as flags, and those which it sets to null, for which there is no flag."""
    hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind).items()}
    known = {item.name: hints[item.name] for kind in kinds for item in fields(kind) if item.init}
    flags: list[str] = []
    unset: dict[str, None] = {}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{source} sets {name!r}, which is no argument; see --help")
        takes_list = is_list(known[name])
        if value is None:
            if type(None) not in get_args(known[name]):
                raise ValueError(f"{source} sets {name} to nothing; give a value, or leave the line out")
            unset[name] = None
        elif isinstance(value, list):
            if not takes_list or not value:
                problem = "an empty list; leave the line out" if takes_list else f"a list, {value!r}; give one value"
                raise ValueError(f"{source} sets {name} to {problem}")
            flags += [f"--{name}", *map(str, value)]
        elif takes_list:
            raise ValueError(f"{source} sets {name} to {value!r}; give a list, such as [{value}]")
        else:
            flags.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
    return flags, unset


def is_list(hint: Any) -> bool:
    """Whether a flag of this type takes several words, each an element of a list.

    Example:
        >>> is_list(list[str] | None), is_list(str | list[str])
        (True, False)
    """
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return get_origin(hint) is list or (len(kinds) == 1 and get_origin(kinds[0]) is list)


def _read_config(path: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"--config {path} does not exist") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"--config {path} is not UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"--config {path} is not YAML: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"--config {path} must hold names and values, such as `corpus: embedded`")
    return values


def check_seed(seed: int | None) -> None:
    """Refuse a seed from which nothing can be drawn.

    Raises:
        ValueError: it is negative.

    Example:
        >>> check_seed(42)
    """
    if seed is not None and seed < 0:
        raise ValueError(f"--seed must be a whole number from 0, got {seed}")


def parse_options(options: Sequence[str], name: str) -> dict[str, Any]:
    """Turn `name=value` strings into a dictionary; values are read as YAML, so numbers become numbers.

    Raises:
        ValueError: an option has no `=`, or its value is not YAML.

    Example:
        >>> parse_options(["num_users=50"], "--corpus_options")
        {'num_users': 50}
    """
    parsed = {}
    for option in options:
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise ValueError(f"{name} takes name=value, got {option!r}")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{name} {option!r}: the value is not YAML: {error}") from error
    return parsed
