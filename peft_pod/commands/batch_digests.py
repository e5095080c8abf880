"""What files hold, in a line each: by it a batch knows whether it is made from the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from peft_pod.generation.saved_base import base_files, base_revision, named_base

_BLOCK = 2**20


def digest_of_file(path: Path) -> str:
    """Size and hash of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return f"{path.stat().st_size} bytes, sha256 {digest.hexdigest()}"


def digest_of_ids(ids: Sequence[str]) -> str:
    """Of IDs whose order says nothing.

    Example:
        >>> digest_of_ids(["b", "a"]) == digest_of_ids(["a", "b", "a"])
        True
    """
    ordered = sorted(set(ids))
    return f"{len(ordered)} IDs, sha256 {hashlib.sha256(json.dumps(ordered).encode()).hexdigest()}"


def digests_of_model(folder: Path) -> dict[str, str]:
    """Of the files of a saved model, and of its base where that lies elsewhere.

    Args:
        folder: of the model.

    Returns:
        By file: size and hash. Of a base from the Hub: its name and revision.

    Raises:
        FileNotFoundError: the folder holds no model, or its base is not there.
    """
    # The card of a model may be edited, and says nothing to the model.
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
    found = {f"model/{path.relative_to(folder).as_posix()}": digest_of_file(path) for path in files}
    base = named_base(folder)
    if base is None:
        return found
    if Path(base).is_dir():
        return {**found, **{f"base/{path.name}": digest_of_file(path) for path in base_files(Path(base))}}
    return {**found, "base": f"{base}, revision {base_revision(base, folder)}"}
