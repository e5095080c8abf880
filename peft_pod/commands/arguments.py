"""Arguments of the console script, from flags or a YAML file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import yaml
from transformers import HfArgumentParser

from peft_pod.indexing import available_indexings
from peft_pod.tasks import available_tasks
from peft_pod.tasks.sequential import Segments
from peft_pod.training import is_scratch


@dataclass
class CorpusArguments:
    """Which corpus, and how it becomes text."""

    corpus: str = field(default="embedded", metadata={"help": "Name of the corpus; see docs/corpus.md."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder with the corpus' files."})
    corpus_options: list[str] = field(
        default_factory=list, metadata={"help": "Options of the corpus' reader, as name=value."}
    )
    indexing: str = field(default="sequential", metadata={"help": f"Item IDs: {', '.join(available_indexings())}."})
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
    num_negatives: int = field(default=99, metadata={"help": "Wrong candidates of the top-N task."})
    bare_probability: float | None = field(
        default=None, metadata={"help": "How often training uses the bare template; by default as any other."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace a run that is already in the output folder."})
    evaluation_limit: int | None = field(
        default=None, metadata={"help": "Evaluate at most so many users a task, drawn from the seed; all by default."}
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
            "help": "How that tokenizer writes IDs: one token each, or pieces of digits.",
            "choices": ["whole", "pieces"],
        },
    )
    id_start: str | None = field(
        default=None,
        metadata={
            "help": "Where the embeddings of IDs start: collaborative (vectors of who took what in training; IDs must "
            "be one token each) or random. By default collaborative for a base from scratch with IDs of one token, "
            "else random.",
            "choices": ["collaborative", "random"],
        },
    )
    dropout: float = field(default=0.1, metadata={"help": "Of a base from scratch."})
    num_virtual_tokens: int = field(default=10, metadata={"help": "Prompts per task."})
    whole_word_embedding: bool = field(default=True, metadata={"help": "Whether IDs get whole-word embeddings."})
    train_base: bool = field(default=True, metadata={"help": "Train all of the base, as in the paper."})
    lora_r: int = field(default=0, metadata={"help": "Rank of LoRA, instead of training all of the base."})
    item_beams: int = field(default=20, metadata={"help": "Beams of the search for items."})
    text_beams: int = field(default=7, metadata={"help": "Beams for sentences."})

    @property
    def starts_collaborative(self) -> bool:
        """Whether the embeddings of IDs start from collaborative vectors."""
        if self.id_start is None:
            return is_scratch(self.base_model) and self.id_tokens == "whole"
        return self.id_start == "collaborative"


def parse_arguments(kinds: Sequence[type[Any]], arguments: Sequence[str], program: str) -> tuple[Any, ...]:
    """Parse flags into dataclasses; `--config FILE` names a YAML file whose values flags override.

    Args:
        kinds: the dataclasses.
        arguments: the flags, without the program's name.
        program: how the usage line calls the program.

    Raises:
        SystemExit: a flag is unknown or has a bad value, as argparse does.
        ValueError: the YAML file is missing or malformed, or names what no dataclass has.
    """
    finder = argparse.ArgumentParser(add_help=False)
    finder.add_argument("--config")
    found, rest = finder.parse_known_args(arguments)
    parser = HfArgumentParser(list(kinds), prog=program, formatter_class=argparse.HelpFormatter)
    parser.add_argument("--config", help="YAML file with values for the flags; flags override it.")
    if found.config is not None:
        parser.set_defaults(**_read_config(found.config, kinds))
    return tuple(parser.parse_args_into_dataclasses(list(rest))[: len(kinds)])


def _read_config(path: str, kinds: Sequence[type[Any]]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"--config {path} does not exist") from error
    except yaml.YAMLError as error:
        raise ValueError(f"--config {path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"--config {path} must hold names and values, such as `corpus: embedded`")
    known = {item.name for kind in kinds for item in fields(kind) if item.init}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"--config {path} sets {unknown[0]!r}, which is no argument; see --help")
    return values


def parse_options(options: Sequence[str], name: str) -> dict[str, Any]:
    """Turn `name=value` strings into a dictionary; values are read as YAML, so numbers become numbers.

    Raises:
        ValueError: an option has no `=`.

    Example:
        >>> parse_options(["num_users=50"], "--corpus_options")
        {'num_users': 50}
    """
    parsed = {}
    for option in options:
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise ValueError(f"{name} takes name=value, got {option!r}")
        parsed[key] = yaml.safe_load(value)
    return parsed
