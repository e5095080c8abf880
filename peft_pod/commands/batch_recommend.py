"""Recommending to millions of users: from a file to a file, in parts, by as many processes as there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import pyarrow as pa
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from peft_pod.file_lock import exclusive_lock
from peft_pod.generation import Recommender, UserRecommendations
from peft_pod.generation.questions import UnknownItems
from peft_pod.training import process_state
from peft_pod.version import __version__

from .batch_digests import digest_of_file, digest_of_ids, digests_of_model
from .batch_input import read_chunks
from .batch_parts import Parts
from .batch_progress import Progress, say
from .batch_rows import RowAnswers, RowCounts, UnknownRowUsers

SECONDS_BETWEEN_LOOKS = 0.2
Result = TypeVar("Result")


@dataclass(frozen=True)
class BatchSettings:
    """What to recommend to whom.

    Args:
        model: folder of the model, as `Recommender.save_pretrained` writes it.
        input: file with the users; see `read_chunks`.
        output: Parquet file with a row for each row of the input, in its order.
        k: how many items.
        exclude_seen: whether to leave out the items of the history.
        rows_per_part: how many rows are answered and saved together; a kill loses no more than that in each process.
        titles: whether the output has the items' titles too.
        allowed_items: IDs of the items that may be recommended at all; all of them where it is left out.
        unknown_users: whether users that the model does not know are an error, get an empty list (`"skip"`), or are
            answered by the history that the row gives (`"history"`).
        unknown_items: whether items of histories that the model does not know are an error, or are left out
            (`"skip"`); a column of the output says which.
        overwrite: whether to replace an output, and parts of one, that are there.

    Raises:
        ValueError: a number is not positive, a file has the wrong ending, or `unknown_users` or `unknown_items` is none
            of those.
    """

    model: Path
    input: Path
    output: Path
    k: int = 10
    exclude_seen: bool = True
    rows_per_part: int = 4096
    titles: bool = False
    allowed_items: Sequence[str] | None = None
    unknown_users: UnknownRowUsers = "error"
    unknown_items: UnknownItems = "error"
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("k", "rows_per_part"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, got {getattr(self, name)}")
        for name, known in (("unknown_users", get_args(UnknownRowUsers)), ("unknown_items", get_args(UnknownItems))):
            if getattr(self, name) not in known:
                raise ValueError(f"--{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.output.suffix != ".parquet":
            raise ValueError(f"--output {self.output} must end in .parquet, since it will be such a file")
        if self.output.resolve() == self.input.resolve():
            raise ValueError(f"--output {self.output} is --input; name another file")

    @property
    def schema(self) -> pa.Schema:
        """Columns of the output."""
        columns = {"user": pa.string(), "items": pa.list_(pa.string()), "scores": pa.list_(pa.float32())}
        if self.titles:
            columns["titles"] = pa.list_(pa.string())
        if self.unknown_items == "skip":
            columns["skipped"] = pa.list_(pa.string())
        return pa.schema(columns)

    def made_from(self) -> dict[str, Any]:
        """Everything that the rows of the output depend on, files by size and hash.

        Raises:
            FileNotFoundError: there is no model, or its base is not there.
        """
        return {
            "input": digest_of_file(self.input),
            **digests_of_model(self.model),
            "k": self.k,
            "exclude_seen": self.exclude_seen,
            "rows_per_part": self.rows_per_part,
            "titles": self.titles,
            "allowed_items": None if self.allowed_items is None else digest_of_ids(self.allowed_items),
            "unknown_users": self.unknown_users,
            "unknown_items": self.unknown_items,
            "peft_pod": __version__,
        }


def recommend_batch(settings: BatchSettings) -> None:
    """Recommend to every user of a file.

    Started again after it was ended at any moment, it goes on with the parts that are missing. In several processes
    each makes its share of them; the result is that of one.

    Raises:
        BlockingIOError: another run is writing the output.
        FileNotFoundError: the input is missing, or the model, or its base.
        FileExistsError: the output is there, made from something else, and may not be replaced.
        ValueError: the input cannot be read, or a row of it cannot be answered, which is found before any is; or parts
            are there that were made from something else.
    """
    # The main process alone holds the lock; the others work for it, and could not hold it too.
    with ExitStack() as lock:
        _recommend_batch(settings, process_state(), lock)


def _recommend_batch(settings: BatchSettings, state: PartialState, lock: ExitStack) -> None:
    began = time.monotonic()
    parts = _in_main_process(state, lambda: _begin(settings, lock))
    if parts is None:
        return
    recommender = Recommender.from_pretrained(settings.model, device=state.device)
    answers = RowAnswers(
        recommender,
        settings.k,
        exclude_seen=settings.exclude_seen,
        allowed_items=settings.allowed_items,
        unknown_users=settings.unknown_users,
        unknown_items=settings.unknown_items,
    )
    counts = _in_main_process(state, lambda: _check(settings, answers))
    sizes = _part_sizes(counts.rows, settings.rows_per_part)
    missing = _in_main_process(state, lambda: parts.missing(len(sizes)))
    shares = [missing[process :: state.num_processes] for process in range(state.num_processes)]
    progress = Progress(parts.has, shares, sizes, shown=state.is_main_process)
    _make_parts(settings, parts, answers, set(shares[state.process_index]), progress)
    # Not by the barrier alone, which gives up after ten minutes or so, while another process may take longer.
    while progress.rows_left():
        parts.check()  # without it this would never end where somebody removed what has been made
        progress.show()
        time.sleep(SECONDS_BETWEEN_LOOKS)
    progress.close()
    state.wait_for_everyone()
    if state.is_main_process:
        parts.join(sizes)
        say(_summary(settings, counts, sum(sizes[number] for number in missing), time.monotonic() - began))


def _begin(settings: BatchSettings, lock: ExitStack) -> Parts | None:
    """The parts, locked and made ready; `None` where the output is there already, made from the same."""
    next(read_chunks(settings.input, settings.rows_per_part), None)  # the file and its columns can be read
    output = settings.output
    held = f"another run is writing --output {output}: wait until it ends, or name another file"
    lock.enter_context(exclusive_lock(output.with_name(f".{output.name}.lock"), held))
    parts = Parts(settings.output, settings.made_from(), settings.schema)
    if not settings.overwrite and parts.is_joined():
        parts.remove_what_is_left()
        say(f"recommending: {settings.output} is there already, made from the same model, input and arguments")
        return None
    parts.begin(overwrite=settings.overwrite)
    return parts


def _check(settings: BatchSettings, answers: RowAnswers) -> RowCounts:
    counts = RowCounts()
    for chunk in read_chunks(settings.input, settings.rows_per_part):
        counts += answers.check(chunk)
    return counts


def _make_parts(settings: BatchSettings, parts: Parts, answers: RowAnswers, own: set[int], progress: Progress) -> None:
    if not own:
        return
    for chunk in read_chunks(settings.input, settings.rows_per_part):
        if chunk.number in own:
            parts.write(chunk.number, _table(answers.answer(chunk), settings.schema))
            progress.show()


def _table(answers: list[UserRecommendations], schema: pa.Schema) -> pa.Table:
    columns = {
        "user": [answer.user for answer in answers],
        "items": [[item.item_id for item in answer.items] for answer in answers],
        "scores": [[item.score for item in answer.items] for answer in answers],
        "titles": [[item.title for item in answer.items] for answer in answers],
        "skipped": [list(answer.skipped) for answer in answers],
    }
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _part_sizes(rows: int, rows_per_part: int) -> list[int]:
    """Rows of each part.

    Example:
        >>> _part_sizes(7, 3)
        [3, 3, 1]
    """
    return [min(rows_per_part, rows - start) for start in range(0, rows, rows_per_part)]


def _in_main_process(state: PartialState, action: Callable[[], Result]) -> Result:
    """The result of what one process does, in all of them; its error too, so that none waits for the others."""
    outcome: list[Any] = [None, None]
    if state.is_main_process:
        try:
            outcome[0] = action()
        except (ValueError, OSError) as error:
            outcome[1] = error
    if state.num_processes > 1:
        broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: Result = outcome[0]
    return result


def _summary(settings: BatchSettings, counts: RowCounts, made: int, seconds: float) -> str:
    parts = [f"recommending: {counts.rows:,} rows in {settings.output}"]
    if made < counts.rows:
        parts.append(f", {counts.rows - made:,} of them kept from before")
    parts.append(f", {made / seconds:,.3g} a second with loading" if seconds > 0 else ", at once")
    if settings.unknown_users != "error":
        what = "got an empty list" if settings.unknown_users == "skip" else "were answered by their history alone"
        parts.append(f"; {counts.unknown_users:,} unknown users {what}")
    if settings.unknown_items == "skip":
        parts.append(
            f"; {counts.skipped_items:,} unknown items in the histories of {counts.shortened:,} rows were skipped"
        )
    return "".join(parts)
