"""Discrete templates: text with places for users and items."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Field:
    """A place of a template that IDs are written into."""

    name: str


@dataclass(frozen=True)
class Template:
    """Text whose words are either literal or a field in braces.

    A field stands alone between spaces, so that an ID is a word of its own and is written with the same tokens
    wherever it stands.

    Args:
        text: for example `"{user} already has {history} and takes next"`.

    Raises:
        ValueError: the text is empty, or a field is glued to other characters.

    Example:
        >>> Template("{user} already has {history} and takes next").fields
        ('user', 'history')
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text.split():
            raise ValueError("a template must not be empty")
        for word in self.text.split():
            if ("{" in word or "}" in word) and not _PLACEHOLDER.fullmatch(word):
                raise ValueError(f"in template {self.text!r}, put spaces around the field of {word!r}")

    @cached_property
    def parts(self) -> tuple[str | Field, ...]:
        """The words in order: literal words as strings, fields as `Field`."""
        matches = [(word, _PLACEHOLDER.fullmatch(word)) for word in self.text.split()]
        return tuple(Field(match.group(1)) if match else word for word, match in matches)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(part.name for part in self.parts if isinstance(part, Field))
