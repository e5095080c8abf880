"""The line of an adapter's model card without which nobody can load it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from peft_pod.files import write_text

IMPORT_LINE = "import peft_pod"

_CARD = "README.md"
_WRITTEN_BY_PEFT = re.compile(r"\A---\n(?:(?!---$).*\n)*?library_name: peft$", re.MULTILINE)
_PLACEHOLDER = "Use the code below to get started with the model.\n\n[More Information Needed]"
_LAST_SECTION = "### Framework versions"
_USAGE = f"""This adapter uses POD, a PEFT method of the package `peft-pod`. `{IMPORT_LINE}` makes it known to PEFT;
without it, loading fails with `KeyError: 'POD'`.

```python
{IMPORT_LINE}
{{code}}
```"""
_LOAD_DEFAULT = """from peft import AutoPeftModelForSeq2SeqLM

model = AutoPeftModelForSeq2SeqLM.from_pretrained("this repository or folder")"""
_LOAD_NAMED = """from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "this repository or folder", subfolder="{name}")"""


def say_how_to_load(folder: str | Path) -> None:
    """Write into PEFT's model card that `import peft_pod` has to come before loading.

    PEFT writes the card before it saves the adapter's configuration, in the same folder for the adapter "default" and
    one folder up for others. A card that says it already, one of another method's adapter, and a file that PEFT did not
    write stay as they are.

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
    folder = Path(folder).resolve()  # the last part of its path is the adapter's name
    for place in (folder, folder.parent):
        card = place / _CARD
        if not card.is_file():
            continue
        try:
            text = card.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return  # PEFT writes UTF-8
        if _WRITTEN_BY_PEFT.search(text) and IMPORT_LINE not in text and not _is_other_methods(place):
            code = _LOAD_DEFAULT if place == folder else _LOAD_NAMED.format(name=folder.name)
            write_text(card, _with_usage(text, _USAGE.format(code=code)))
        return


def _is_other_methods(folder: Path) -> bool:
    try:
        saved = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return not isinstance(saved, dict) or saved.get("peft_type") != "POD"


def _with_usage(text: str, usage: str) -> str:
    if _PLACEHOLDER in text:
        return text.replace(_PLACEHOLDER, usage, 1)
    section = f"## How to load\n\n{usage}\n"
    before, last, after = text.partition(_LAST_SECTION)
    return f"{before.rstrip()}\n\n{section}" + (f"\n{last}{after}" if last else "")
