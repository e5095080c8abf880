"""How long training has taken, and what for; kept in checkpoints."""

from __future__ import annotations

from collections import deque
from statistics import median
from time import monotonic
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from .time_limit import Costs

_MOST = 3.0
"""The most that one step counts in the mean, in means: a moment in which the machine did something else is no rate."""
_LATEST, _ENOUGH = 8, 3
"""Steps whose median is looked at, and how few say nothing: the first ones of a process may take long."""


class TrainingClock(TrainerCallback, ExportableState):
    """Measures steps, validations and checkpoints, and the time that a run has used, also before it was interrupted.

    Attributes:
        planned_steps: of the run when it began.
        warmup_steps: as `TrainingArguments.warmup_steps`, fitted to the run.
        used: seconds of training before this process took it up.
        counts: how many steps, validations and checkpoints were measured, those before training among them.
        seconds: what they took.
    """

    def __init__(self) -> None:
        self.planned_steps = 0
        self.warmup_steps = 0.0
        self.used = 0.0
        self.counts = {"step": 0, "validation": 0, "checkpoint": 0}
        self.seconds = {"step": 0.0, "validation": 0.0, "checkpoint": 0.0}
        self._latest: dict[str, deque[float]] = {
            "step": deque(maxlen=_LATEST), "validation": deque(maxlen=1), "checkpoint": deque(maxlen=1)
        }  # fmt: skip
        self._began: float | None = None
        self._mark = 0.0

    def add(self, part: str, seconds: float, count: int = 1) -> None:
        """Count what was measured elsewhere.

        Args:
            part: `step`, `validation` or `checkpoint`.
            seconds: that all of them took.
            count: how many.
        """
        self.counts[part] += count
        self.seconds[part] += seconds

    def costs(self) -> Costs:
        """What each part takes on average, over the whole run."""
        return Costs(**{part: self._mean(part) for part in self.counts})

    def careful_costs(self) -> Costs:
        """What the next of each part may take: more than on average where the latest did."""
        latest = {part: median(seconds) for part, seconds in self._latest.items() if seconds}
        if len(self._latest["step"]) < _ENOUGH:
            latest.pop("step", None)
        return Costs(**{part: max(self._mean(part), latest.get(part, 0.0)) for part in self.counts})

    def _mean(self, part: str) -> float:
        return self.seconds[part] / max(1, self.counts[part])

    def elapsed(self) -> float:
        """The seconds that training has taken."""
        return self.used if self._began is None else self.used + monotonic() - self._began

    def state(self) -> dict[str, Any]:
        """What is kept in a checkpoint."""
        kept = {"counts": dict(self.counts), "seconds": dict(self.seconds), "used": self.elapsed()}
        kept |= {"planned_steps": self.planned_steps, "warmup_steps": self.warmup_steps}
        return {"args": {}, "attributes": kept}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin; a run that is not resumed has used nothing yet."""
        self._began = self._mark = monotonic()
        if state.global_step == 0:
            self.used = 0.0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count a step, with the drawing of its batches."""
        self._note("step")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count a validation."""
        self._note("validation")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count a checkpoint."""
        self._note("checkpoint")

    def _note(self, part: str) -> None:
        now = monotonic()
        taken, self._mark = now - self._mark, now
        self._latest[part].append(taken)
        if part == "step" and self.counts[part]:
            taken = min(taken, _MOST * self._mean(part))
        self.add(part, taken)
