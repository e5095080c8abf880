"""`peft-pod recommend`: items for users of a saved run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast, get_args

from peft_pod.generation import Recommendation, Recommender
from peft_pod.generation.questions import Questions, Unknown, UnknownItems
from peft_pod.tasks import ExplanationTask
from peft_pod.training import process_state

from .arguments import parse_arguments
from .batch_recommend import BatchSettings, recommend_batch
from .batch_rows import UnknownRowUsers
from .run_folder import RunFolder

SHOWN_HISTORY = 5
_OF_BATCHES = ("rows_per_part", "titles", "overwrite")


@dataclass
class RecommendArguments:
    """Arguments of `peft-pod recommend`."""

    run: str = field(default="", metadata={"help": "Folder of the run, as given to `train --output-dir`."})
    user: list[str] = field(default_factory=list, metadata={"help": "User IDs."})
    num_users: int | None = field(default=None, metadata={"help": "Instead of --user: the first so many users."})
    history: list[str] = field(
        default_factory=list, metadata={"help": "Item IDs to go on from, oldest first, in place of the saved history."}
    )
    k: int = field(default=10, metadata={"help": "How many items."})
    allowed_items: str | None = field(
        default=None, metadata={"help": "File of the item IDs that may be recommended at all, one a line."}
    )
    keep_seen: bool = field(default=False, metadata={"help": "Recommend items again that the user already has."})
    explain: bool = field(default=False, metadata={"help": "Write why the first item is for the user."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object for each user."})
    input: str | None = field(
        default=None,
        metadata={
            "help": "Instead of --user, for many users: a file (.parquet, .jsonl, .csv) with a column `user` and "
            "optionally `history`, lists of item IDs. Started again, it goes on where it ended; see docs/serving.md."
        },
    )
    output: str | None = field(
        default=None, metadata={"help": "With --input: the Parquet file to write, a row for each row of the input."}
    )
    rows_per_part: int = field(default=4096, metadata={"help": "With --input: rows answered and saved at once."})
    titles: bool = field(default=False, metadata={"help": "With --input: write the items' titles too."})
    unknown_users: str = field(
        default="error",
        metadata={
            "help": "Whether a user whom the model does not know is an error, with --input found before anything runs; "
            "is answered by the given history alone; or, with --input, is skipped, which gives an empty list.",
            "choices": list(get_args(UnknownRowUsers)),
        },
    )
    unknown_items: str = field(
        default="error",
        metadata={
            "help": "Whether an item of a given history that the model does not know is an error, or is left out and "
            "said.",
            "choices": list(get_args(UnknownItems)),
        },
    )
    overwrite: bool = field(
        default=False, metadata={"help": "With --input: replace an output, or parts made from something else."}
    )


def run(arguments: Sequence[str]) -> None:
    """Run the verb."""
    (options,) = parse_arguments([RecommendArguments], arguments, "peft-pod recommend")
    if options.input is not None or options.output is not None:
        recommend_batch(_batch_settings(options))
        return
    _check_no_batch(options)
    recommender = Recommender.from_pretrained(RunFolder.existing(options.run).model, device=process_state().device)
    if options.explain and ExplanationTask.name not in recommender.processor.task_names:
        raise ValueError(f"--explain: run {options.run} was not trained for the task {ExplanationTask.name!r}")
    users = _users(options, recommender)
    if options.explain:
        _check_explained(users, recommender)
    history = [options.history] * len(users) if options.history else None
    lists = recommender.recommend(
        users,
        history,
        k=options.k,
        exclude_seen=not options.keep_seen,
        allowed_items=_allowed_items(options),
        unknown_users=options.unknown_users,
        unknown_items=options.unknown_items,
    )
    reasons: list[str | None] = [None] * len(users)
    if options.explain:
        reasons = list(recommender.explain(users, [items[0].item_id for items in lists]))
    for user, items, reason in zip(users, lists, reasons, strict=True):
        if options.json:
            print(json.dumps(_as_json(user, items, reason), ensure_ascii=False))
        else:
            print(_as_text(user, _recent_titles(recommender, user, options.history), items, reason))


def _check_no_batch(options: RecommendArguments) -> None:
    defaults = {option.name: option.default for option in fields(options)}
    misplaced = [f"--{name}" for name in _OF_BATCHES if getattr(options, name) != defaults[name]]
    if misplaced:
        raise ValueError(f"{', '.join(misplaced)}: only for --input and --output; give both, or leave it out")
    if options.unknown_users == "skip":
        raise ValueError("--unknown_users skip is for rows of --input: leave the user out, or give history")


def _check_explained(users: Sequence[str], recommender: Recommender) -> None:
    """Explanations go by a user's name, also where recommendations go by a history alone."""
    questions = Questions(recommender.catalogue, recommender.processor)
    for user in users:
        try:
            questions.user_position(user, ExplanationTask.name, Unknown())
        except ValueError as error:
            raise ValueError(f"--explain: {error}") from error


def _batch_settings(options: RecommendArguments) -> BatchSettings:
    if options.input is None or options.output is None:
        raise ValueError("--input and --output belong together: give both, or neither")
    given = {name: getattr(options, name) for name in ("user", "num_users", "history", "explain", "json")}
    misplaced = [f"--{name}" for name, value in given.items() if value not in ([], None, False)]
    if misplaced:
        raise ValueError(f"--input says for whom, and --output where to: leave out {', '.join(misplaced)}")
    return BatchSettings(
        RunFolder.existing(options.run).model,
        Path(options.input),
        Path(options.output),
        k=options.k,
        exclude_seen=not options.keep_seen,
        rows_per_part=options.rows_per_part,
        titles=options.titles,
        allowed_items=_allowed_items(options),
        unknown_users=cast(UnknownRowUsers, options.unknown_users),
        unknown_items=cast(UnknownItems, options.unknown_items),
        overwrite=options.overwrite,
    )


def _users(options: RecommendArguments, recommender: Recommender) -> list[str]:
    if bool(options.user) == (options.num_users is not None):
        raise ValueError("give either --user or --num_users, or a file of users by --input")
    if options.num_users is None:
        return list(options.user)
    if options.num_users < 1:
        raise ValueError(f"--num_users must be at least 1, got {options.num_users}")
    return list(recommender.catalogue.user_ids[: options.num_users])


def _allowed_items(options: RecommendArguments) -> list[str] | None:
    if options.allowed_items is None:
        return None
    path = options.allowed_items
    ids = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    ids = [line for line in ids if line]
    if not ids:
        raise ValueError(f"--allowed_items: {path} names no items; write one item ID a line")
    return ids


def _recent_titles(recommender: Recommender, user: str, history: Sequence[str]) -> list[str]:
    catalogue = recommender.catalogue
    if history:
        positions = [catalogue.item_position(item_id) for item_id in history if catalogue.has_item(item_id)]
    else:
        positions = catalogue.history(catalogue.user_position(user)).tolist()
    return [catalogue.titles[position] for position in positions[-SHOWN_HISTORY:]]


def _as_json(user: str, items: Sequence[Recommendation], reason: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {"user": user, "items": [_item_as_json(item) for item in items]}
    return result if reason is None else {**result, "explanation": reason}


def _item_as_json(item: Recommendation) -> dict[str, Any]:
    # Only ranked candidates have a probability.
    return {name: value for name, value in asdict(item).items() if value is not None}


def _as_text(user: str, recent: Sequence[str], items: Sequence[Recommendation], reason: str | None) -> str:
    lines = [f"User {user}, most recently: {'; '.join(recent)}"]
    lines += [f"  {rank:>2}. {item.title}  [{item.item_id}]  {item.score:.2f}" for rank, item in enumerate(items, 1)]
    if reason is not None:
        lines.append(f"  Why {items[0].title}? {reason}")
    return "\n".join(lines) + "\n"
