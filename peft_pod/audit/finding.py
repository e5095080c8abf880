"""What an audit found, and its verdict in words."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["leak", "flaw", "remark"]

METRICS = ("HR@1", "HR@10", "NDCG@10")
"""What a finding is worth is said by these."""


@dataclass(frozen=True)
class Finding:
    """One way to know held-out items without having learned anything, or something else that results depend on.

    Attributes:
        name: what it is called.
        count: how many cases there are; `description` says of what.
        metrics: HR@1, HR@10 and NDCG@10 of the rule that exploits it, on the test part.
        description: what was found, and the evidence.
        fix: what to do about it.
        severity: `"leak"`, it gives held-out items away; `"flaw"`, the data are not as they should be, and results
            depend on it; `"remark"`, a fact of the protocol that numbers are to be read with.

    Raises:
        ValueError: a metric is missing.

    Example:
        >>> worth = {"HR@1": 0.04, "HR@10": 0.05, "NDCG@10": 0.05}
        >>> print(Finding("numbers", 3, worth, "They tell.", "Draw them at random."))
        LEAK numbers: 3 (HR@1 .0400, HR@10 .0500, NDCG@10 .0500)
          They tell.
          Fix: Draw them at random.
    """

    name: str
    count: int
    metrics: Mapping[str, float]
    description: str
    fix: str
    severity: Severity = "leak"

    def __post_init__(self) -> None:
        missing = [name for name in METRICS if name not in self.metrics]
        if missing:
            raise ValueError(f"finding {self.name!r} lacks the metrics {missing}; it has {sorted(self.metrics)}")

    @property
    def leaks(self) -> bool:
        """Whether it gives held-out items away."""
        return self.severity == "leak"

    def to_dict(self) -> dict[str, Any]:
        """A flat dictionary for JSON."""
        return {
            "name": self.name,
            "count": self.count,
            **{name: self.metrics[name] for name in METRICS},
            "description": self.description,
            "fix": self.fix,
            "severity": self.severity,
        }

    def __str__(self) -> str:
        lines = [
            f"{self.severity.upper() if self.leaks else self.severity} {self.name}: {self.count:,} ({self._worth()})"
        ]
        for text in (self.description, f"Fix: {self.fix}"):
            lines += textwrap.wrap(text, 110, initial_indent="  ", subsequent_indent="  ")
        return "\n".join(lines)

    def _worth(self) -> str:
        return ", ".join(f"{name} {self.metrics[name]:.4f}".replace(" 0.", " .") for name in METRICS)


@dataclass(frozen=True)
class Audit:
    """The findings of all checks.

    Attributes:
        corpus: name of the corpus.
        split: name of the kind of split.
        indexing: name of the ID scheme.
        fingerprint: twelve hexadecimal digits of a hash over the data, the split and all words: what was audited.
        findings: leaks, and then flaws.
        remarks: facts of the protocol that numbers are to be read with; no fault of the data.
        checks: for each check `"done"`, or why it could not be made.
        warning: what must stand beside every result with these names, where the scheme itself says that they leak.

    Example:
        >>> audit = Audit("embedded", "leave-one-out", "random", "0123456789ab")
        >>> audit.leaks, audit.note()
        (False, "Audit 0123456789ab of corpus 'embedded' with indexing 'random': no leak found.")
    """

    corpus: str
    split: str
    indexing: str
    fingerprint: str
    findings: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)
    warning: str = ""

    @property
    def applies(self) -> bool:
        """Whether there was anything that could be given away; where not, no check was made."""
        return bool(self.findings) or not self.checks or DONE in self.checks.values()

    @property
    def leaks(self) -> bool:
        """Whether a finding gives held-out items away."""
        return any(finding.leaks for finding in self.findings)

    def note(self) -> str:
        """The verdict in one sentence or a few, to stand beside results and in model cards: `Report.notes` holds it.

        Where the scheme itself says that it leaks, its permanent warning is part of it.
        """
        subject = f"Audit {self.fingerprint} of corpus {self.corpus!r} with indexing {self.indexing!r}"
        if not self.applies:
            return f"{subject}: not applicable ({'; '.join(dict.fromkeys(self.checks.values()))})."
        leaks = [finding for finding in self.findings if finding.leaks]
        if not leaks:
            return f"{subject}: no leak found."
        best = max(leaks, key=lambda finding: finding.metrics["NDCG@10"])
        names = ", ".join(finding.name for finding in leaks)
        verdict = (
            f"{subject}: IT LEAKS ({names}). A rule without a model that exploits it ({best.name}) reaches HR@1 "
            f"{best.metrics['HR@1']:.4f}, HR@10 {best.metrics['HR@10']:.4f}, NDCG@10 {best.metrics['NDCG@10']:.4f} on "
            "the test part, so these numbers do not measure recommendation."
        )
        return f"{verdict} {self.warning}" if self.warning else verdict

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return {
            "corpus": self.corpus,
            "split": self.split,
            "indexing": self.indexing,
            "leaks": self.leaks,
            "findings": [finding.to_dict() for finding in self.findings],
            "remarks": [remark.to_dict() for remark in self.remarks],
            "checks": dict(self.checks),
            "warning": self.warning,
            "fingerprint": self.fingerprint,
        }

    def __str__(self) -> str:
        parts = [self.note(), *map(str, self.findings), *map(str, self.remarks)]
        skipped = [f"not checked: {name} ({why})" for name, why in self.checks.items() if why != DONE]
        return "\n\n".join([*parts, *(["\n".join(skipped)] if skipped else [])])


DONE = "done"
"""What `Audit.checks` says of a check that was made."""
