"""Files with one JSON object a line, by Arrow where it can and line by line where it can't."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.json

from ..lines import malformed
from .blocks import Block, Rows, read_blocks

_ARROW_BLOCK = 4 * 2**20
_SHOWN = 120


def read_json_lines(path: Path, schema: pa.Schema, *, literals: bool = False) -> Iterator[Rows]:
    """The fields of `schema` from a file with one JSON object a line; a field that an object lacks is null.

    Arrow parses whole blocks. A block that it refuses is read again line by line, which takes a few dozen times as
    long: it finds the line to blame, and reads what is right but not to Arrow's liking, such as a whole number that is
    written as `3.0`, or an object that gives a text where others give a list.

    Args:
        path: the file, plain or with `.gz`.
        schema: names and types of the fields that are wanted: string, int64, float64 or lists of strings.
        literals: whether a line may also be a Python dictionary, as in the metadata of 2014. It is read as a literal
            and not run.

    Raises:
        CorpusFormatError: a line is not such an object or a field does not have its type; the message says
            in which file and line.
    """
    for block in read_blocks(path, needs_newline=False):
        table = _by_arrow(block, schema)
        yield Rows(path, block.first_line, _line_by_line(block, schema, literals) if table is None else table)


def _by_arrow(block: Block, schema: pa.Schema) -> pa.Table | None:
    """The table, or `None` where Arrow refuses the block or does not find one object a line."""
    parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    # Small pieces are parsed side by side, but a line that is longer than a piece needs the whole block as one.
    for size in dict.fromkeys((min(_ARROW_BLOCK, len(block.data)), len(block.data))):
        read = pa.json.ReadOptions(block_size=size)
        try:
            table = pa.json.read_json(pa.BufferReader(block.data), read_options=read, parse_options=parse)
            table.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        return table.select(schema.names) if table.num_rows == block.num_lines else None
    return None


def _line_by_line(block: Block, schema: pa.Schema, literals: bool) -> pa.Table:
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    with warnings.catch_warnings():
        # A literal with an escape that Python does not know, such as "\/", is only warned of.
        warnings.simplefilter("ignore")
        for number, line in enumerate(block.data.removesuffix(b"\n").split(b"\n"), start=block.first_line):
            found = _parse(block.path, number, line, literals)
            for field in schema:
                try:
                    columns[field.name].append(_value(found.get(field.name), field.type))
                except ValueError as error:
                    malformed(block.path, number, f"expected {error} as {field.name!r}")
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema})


def _parse(path: Path, number: int, line: bytes, literals: bool) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        malformed(path, number, f"the text is not utf-8: {error}")
    if not text.strip():
        malformed(path, number, "the line is empty")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not literals:
            _refuse(path, number, text, f"not JSON: {error}")
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as literal_error:
            _refuse(path, number, text, f"neither JSON ({error}) nor a Python literal ({literal_error})")
    if not isinstance(found, dict):
        _refuse(path, number, text, "not an object")
    return found


def _refuse(path: Path, number: int, text: str, problem: str) -> NoReturn:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    malformed(path, number, f"{problem}: {shown!r}")


def _value(value: Any, kind: pa.DataType) -> Any:
    """A value of the wanted type.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    if value is None:
        return None
    if pa.types.is_string(kind):
        if isinstance(value, str):
            return _text(value)
        raise ValueError(f"a text, got {_shortened(value)}")
    if pa.types.is_list(kind):
        return [_text(one) for one in _flattened(value)]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if pa.types.is_floating(kind):
        if is_number:
            try:
                return float(value)
            except OverflowError:
                pass
        raise ValueError(f"a number, got {_shortened(value)}")
    if is_number and -(2**63) <= value < 2**63 and int(value) == value:
        return int(value)
    raise ValueError(f"a whole number, got {_shortened(value)}")


def _flattened(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, (list, tuple)):
            pending.extend(reversed(one))
        elif isinstance(one, (str, int, float)):
            if one != "":
                yield str(one)
        elif one is not None:
            raise ValueError(f"texts, got {_shortened(one)}")


def _text(text: str) -> str:
    """The text without halves of characters, which JSON can write and UTF-8 can't."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
