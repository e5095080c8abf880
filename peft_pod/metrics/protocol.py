"""How a number was measured: without it, two numbers can't be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

FULL = "full"
"""Candidate set: the whole catalogue."""

CANDIDATES_100 = "candidates-100"
"""Candidate set: the held-out item and 99 items drawn from a seed."""

CANDIDATE_SEED = "candidate_seed"
"""Detail of a protocol: the seed that the candidates are drawn from."""

TEXT_CONVENTION = "text_convention"
"""Detail of a protocol: how BLEU and ROUGE count, see `peft_pod.metrics.explanation`."""

SENTENCES = "sentences"
"""Detail of a protocol: how many sentences were written, where users have several."""

_ASKED_DETAILS = (CANDIDATE_SEED, TEXT_CONVENTION, SENTENCES)


@dataclass(frozen=True)
class Protocol:
    """How a number was measured. Numbers of different protocols can't be compared.

    Attributes:
        part: `"validation"` or `"test"`.
        num_users: how many users were evaluated.
        candidates: what was ranked, such as `"full"` or `"candidates-100"`; `None` for a task that ranks nothing.
        history_excluded: whether the items of a user's history were left out of the ranking; `None` likewise, and for
            lists of candidates that were ranked as they are.
        beams: width of the beam search; `None` where there was none.
        details: whatever else matters, such as the seed of the candidates; texts, numbers and truth values.
        split: the kind of split, such as `"leave-one-out"`; `None` where it is not known.
        fingerprint: of the split, that is of the corpus' rows and of the split's settings; `None` likewise.

    Raises:
        ValueError: `num_users` or `beams` is below 1, or a detail has the name of another attribute.

    Example:
        >>> print(Protocol("test", num_users=22363, candidates="full", history_excluded=True, split="leave-one-out"))
        test, full catalogue, history excluded, leave-one-out, 22,363 users
    """

    part: str
    num_users: int
    candidates: str | None = None
    history_excluded: bool | None = None
    beams: int | None = None
    details: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    split: str | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        if self.num_users < 1:
            raise ValueError(f"num_users is {self.num_users}; an evaluation has at least one user")
        if self.beams is not None and self.beams < 1:
            raise ValueError(f"beams is {self.beams}; it must be at least 1, or None where there is no beam search")
        taken = sorted(set(self.details) & set(_FIELDS))
        if taken:
            raise ValueError(f"details has {taken}, which are attributes of the protocol; set those")

    def comparable_to(self, other: Protocol) -> bool:
        """Whether both ask the same question of the same users; how it is answered may differ.

        What is asked: the part, the split and its fingerprint, the number of users, the candidates and their seed,
        whether the history is excluded, how texts are counted. How it is answered: the beams and all other details.
        """
        return not self.differences(other)

    def differences(self, other: Protocol, ignore: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
        """What is asked differently here and there.

        Args:
            other: another protocol.
            ignore: attributes and details that may differ.

        Returns:
            For each attribute or detail that differs its two values.

        Example:
            >>> Protocol("test", 100, "full").differences(Protocol("validation", 90, "full"), ignore=["num_users"])
            {'part': ('test', 'validation')}
        """
        here, there = self._question(), other._question()
        return {name: (here[name], there[name]) for name in here if name not in ignore and here[name] != there[name]}

    def _question(self) -> dict[str, Any]:
        asked = {name: getattr(self, name) for name in _FIELDS if name != "beams"}
        return asked | {name: self.details.get(name) for name in _ASKED_DETAILS}

    def to_dict(self) -> dict[str, Any]:
        """A flat dictionary of what is set, for JSON."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in values.items() if value is not None} | dict(self.details)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Protocol:
        """What `to_dict` wrote.

        Raises:
            ValueError: an entry is missing.
        """
        missing = [key for key in ("part", "num_users") if key not in values]
        if missing:
            raise ValueError(f"the protocol lacks {missing}; it has {sorted(values)}")
        known = {name: values[name] for name in _FIELDS if name in values}
        return cls(**known, details={name: value for name, value in values.items() if name not in _FIELDS})

    def __str__(self) -> str:
        words = [self.part]
        if self.candidates is not None:
            words.append("full catalogue" if self.candidates == FULL else self.candidates)
        if self.history_excluded is not None:
            words.append("history excluded" if self.history_excluded else "history included")
        if self.beams is not None:
            words.append(f"{self.beams} beams" if self.beams > 1 else "greedy")
        words += [f"{name.replace('_', ' ')} {value}" for name, value in self.details.items()]
        if self.split is not None:
            words.append(self.split)
        return ", ".join([*words, f"{self.num_users:,} users"])


_FIELDS = ("part", "num_users", "candidates", "history_excluded", "beams", "split", "fingerprint")
