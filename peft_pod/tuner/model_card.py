"""The line of an adapter's model card without which nobody can load it."""

from __future__ import annotations

from pathlib import Path

IMPORT_LINE = "import peft_pod"

_CARD = "README.md"
_WRITTEN_BY_PEFT = "library_name: peft"
_PLACEHOLDER = "Use the code below to get started with the model.\n\n[More Information Needed]"
_LAST_SECTION = "### Framework versions"
_USAGE = f"""This adapter uses POD, a PEFT method of the package `peft-pod`. `{IMPORT_LINE}` makes it known to PEFT;
without it, loading fails with `KeyError: 'POD'`.

```python
{IMPORT_LINE}
from peft import AutoPeftModelForSeq2SeqLM

model = AutoPeftModelForSeq2SeqLM.from_pretrained("this repository or folder")
```"""


def say_how_to_load(folder: str | Path) -> None:
    """Write into PEFT's model card that `import peft_pod` has to come before loading.

    PEFT writes the card before it saves the adapter's configuration, in the same folder for the adapter "default" and
    one folder up for others. A card that says it already, and a file that PEFT did not write, stay as they are.

    Args:
        folder: where the adapter's configuration was saved.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     card = Path(folder, "README.md")
        ...     _ = card.write_text("---\\nlibrary_name: peft\\n---\\n# My adapter\\n")
        ...     say_how_to_load(folder)
        ...     "import peft_pod" in card.read_text()
        True
    """
    for place in (Path(folder), Path(folder).parent):
        card = place / _CARD
        if not card.is_file():
            continue
        text = card.read_text(encoding="utf-8")
        if _WRITTEN_BY_PEFT in text and IMPORT_LINE not in text:
            card.write_text(_with_usage(text), encoding="utf-8")
        return


def _with_usage(text: str) -> str:
    if _PLACEHOLDER in text:
        return text.replace(_PLACEHOLDER, _USAGE, 1)
    section = f"## How to load\n\n{_USAGE}\n"
    before, last, after = text.partition(_LAST_SECTION)
    return f"{before.rstrip()}\n\n{section}" + (f"\n{last}{after}" if last else "")
