"""Parts of an output that is too long to be made at once: kept beside it, joined in the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from peft_pod.files import remove_leftovers, replacing, sync_entries, write_text

MANIFEST = "manifest.json"
JOINED = "joined"
MADE_FROM = b"peft_pod.made_from"
"""Under this key the output's Parquet metadata say what it was made from."""
PART_OF = b"peft_pod.part_of"
"""Under this key the Parquet metadata of a part have the hash of that."""


class Parts:
    """The finished parts of one output file, in a hidden folder beside it.

    A part is there whole or not at all. A manifest says what all of them are made from, and each part has the
    manifest's hash; what comes out of other things is never mixed with them. One run may write them at a time, which
    whoever calls this sees to.

    Args:
        output: the Parquet file that the parts will be joined to.
        made_from: everything that the output depends on, as values of JSON.
        schema: of the output.

    Example:
        >>> import tempfile
        >>> output = Path(tempfile.mkdtemp()) / "squares.parquet"
        >>> parts = Parts(output, {"power": 2}, pa.schema({"n": pa.int64()}))
        >>> parts.begin(overwrite=False)
        >>> for number in parts.missing(2):
        ...     parts.write(number, pa.table({"n": [number**2]}))
        >>> parts.join([1, 1])
        >>> pq.read_table(output)["n"].to_pylist()
        [0, 1]
    """

    def __init__(self, output: Path, made_from: Mapping[str, Any], schema: pa.Schema) -> None:
        self.output = output
        self.folder = output.with_name(f".{output.name}.parts")
        self.made_from = dict(made_from)
        self.schema = schema

    def is_joined(self) -> bool:
        """Whether the output is there, made from the same."""
        if not self.output.is_file():
            return False
        try:
            metadata = pq.read_schema(self.output).metadata or {}
        except pa.ArrowException:  # something else, which is not ours to judge
            return False
        return metadata.get(MADE_FROM) == self._line()

    def begin(self, *, overwrite: bool) -> None:
        """Make the folder ready: parts made from the same stay, whatever a killed process left half written goes.

        Args:
            overwrite: whether an output that is there may be replaced in the end, and parts that were made from
                something else may be removed now.

        Raises:
            FileExistsError: the output is there.
            ValueError: there are parts made from something else; the message says what differs.
        """
        if self.output.exists() and not overwrite:
            raise FileExistsError(f"--output {self.output} is there already: name another file, or give --overwrite")
        manifest = self.folder / MANIFEST
        # Without a manifest nobody knows what parts are made from; a removal that was cut off leaves this.
        differences = _differences(_read(manifest), self.made_from) if manifest.is_file() else None
        if differences and not overwrite:
            raise ValueError(
                f"{self.folder} holds parts of --output {self.output} made from something else: "
                f"{'; '.join(differences)}. Go on with the same, or start anew with --overwrite"
            )
        if differences or differences is None:
            self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)
        (self.folder / JOINED).unlink(missing_ok=True)
        if not manifest.is_file():
            write_text(manifest, json.dumps(self.made_from, indent=2))

    def missing(self, count: int) -> list[int]:
        """Which of the first `count` parts are not there yet."""
        return [number for number in range(count) if not self.has(number)]

    def has(self, number: int) -> bool:
        """Whether a part is there."""
        return self._part(number).is_file()

    def check(self) -> None:
        """Check that the parts are still those that were begun.

        Raises:
            ValueError: the manifest is gone, or is another one.
        """
        if not self._are_begun():
            raise ValueError(
                f"another run has removed or replaced the parts of --output {self.output} in {self.folder}: start "
                "again when nothing else writes them"
            )

    def write(self, number: int, table: pa.Table) -> None:
        """Write a part, whole or not at all.

        Raises:
            ValueError: the parts are no longer those that were begun.
        """
        self.check()
        with replacing(self._part(number)) as temporary:
            pq.write_table(table.cast(self.schema).replace_schema_metadata({PART_OF: self._hash()}), temporary)
            sync_entries(temporary)

    def join(self, rows: Iterable[int]) -> None:
        """Join the parts to the output, one after the other, and remove them.

        Args:
            rows: of each part.

        Raises:
            ValueError: a part is damaged or made from something else; it is removed, so that starting again makes it
                anew.
        """
        schema = self.schema.with_metadata({MADE_FROM: self._line()})
        # Among the parts, where it is cleared away with them if a kill leaves it half written.
        joined = self.folder / JOINED
        with pq.ParquetWriter(joined, schema) as writer:
            for table in self._tables(rows):
                writer.write_table(table.replace_schema_metadata(schema.metadata))
        sync_entries(joined)
        joined.replace(self.output)
        # The name too is on the disk before what it was made from goes.
        sync_entries(self.output.parent)
        self.remove()

    def remove_what_is_left(self) -> None:
        """Remove what a run that had joined them was killed before it removed; parts made from something else stay."""
        if self._are_begun() or not (self.folder / MANIFEST).exists():
            self.remove()

    def remove(self) -> None:
        """Remove parts and folder, the manifest last, so that what is left is known at any moment."""
        if not self.folder.is_dir():
            return
        remove_leftovers(self.folder)
        for path in self.folder.glob("*.parquet"):
            path.unlink()
        (self.folder / JOINED).unlink(missing_ok=True)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        self.folder.rmdir()

    def _tables(self, rows: Iterable[int]) -> Iterator[pa.Table]:
        for number, expected in enumerate(rows):
            path = self._part(number)
            try:
                # Not by `read_table`, whose memory older versions of Arrow keep.
                with pq.ParquetFile(path, pre_buffer=False) as file:
                    table = file.read()
                    part_of = (file.schema_arrow.metadata or {}).get(PART_OF)
            except pa.ArrowException as error:
                path.unlink()
                raise ValueError(f"{path} was damaged and is removed: start again to make it anew; {error}") from error
            if part_of != self._hash():
                path.unlink()
                raise ValueError(f"{path} was made from something else and is removed: start again to make it anew")
            if len(table) != expected:
                path.unlink()
                raise ValueError(
                    f"{path} had {len(table)} rows in place of {expected} and is removed: start again to make it anew"
                )
            yield table

    def _are_begun(self) -> bool:
        try:
            return _read(self.folder / MANIFEST) == self.made_from
        except FileNotFoundError:
            return False

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:08}.parquet"

    def _line(self) -> bytes:
        return json.dumps(self.made_from, sort_keys=True).encode()

    def _hash(self) -> bytes:
        return hashlib.sha256(self._line()).hexdigest().encode()


def _read(manifest: Path) -> dict[str, Any]:
    try:
        values = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{manifest} is damaged: remove the folder {manifest.parent}; {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{manifest} is damaged: remove the folder {manifest.parent}")
    return values


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, in words.

    Example:
        >>> _differences({"k": 5, "rows": 9}, {"k": 10, "rows": 9})
        ['k was 5 and is now 10']
    """
    names = sorted({*before, *now})
    return [
        f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
        for name in names
        if before.get(name) != now.get(name)
    ]
