"""What was done to a corpus on its way from the files: each step, its settings, and what it counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Setting = str | int | float | bool | None


@dataclass(frozen=True)
class Step:
    """One step of a corpus' preparation.

    Attributes:
        name: what was done, such as `"read amazon-2018"` or `"k-core"`.
        settings: with which settings; values that JSON can hold.
        counts: what was found, dropped or changed, by rule, such as `{"exact duplicates dropped": 12}`. A rule that
            found nothing is counted too, with 0: it was looked at.

    Example:
        >>> step = Step("k-core", {"users": 5, "items": 5}, {"interactions dropped": 3, "rounds": 2})
        >>> Step.from_dict(step.to_dict()) == step
        True
        >>> print(step)
        k-core (users 5, items 5): 3 interactions dropped, 2 rounds
        >>> print(Step("drop duplicates", {}, {"exact duplicates dropped": 0}))
        drop duplicates: nothing found by 1 rule
    """

    name: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return {"name": self.name, "settings": dict(self.settings), "counts": dict(self.counts)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Step:
        """What `to_dict` wrote.

        Raises:
            ValueError: an entry is missing.
        """
        missing = [key for key in ("name", "settings", "counts") if key not in values]
        if missing:
            raise ValueError(f"the step lacks {missing}; it has {sorted(values)}")
        return cls(values["name"], dict(values["settings"]), dict(values["counts"]))

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        found = [f"{count:,} {what}" for what, count in self.counts.items() if count]
        silent = len(self.counts) - len(found)
        if silent:
            found.append(f"nothing found by {silent} {'other ' if found else ''}rule{'s' if silent > 1 else ''}")
        counts = ", ".join(found)
        return f"{self.name}{f' ({settings})' if settings else ''}{f': {counts}' if counts else ''}"


def total(steps: Iterable[Step], rule: str) -> int:
    """What a rule counted over all steps.

    Example:
        >>> total([Step("read", counts={"duplicates": 2}), Step("k-core")], "duplicates")
        2
    """
    return sum(step.counts.get(rule, 0) for step in steps)
