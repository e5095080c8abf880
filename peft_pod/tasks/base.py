"""What a recommendation task is: templates, how samples are drawn, and what the answer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from peft_pod.corpus import Part, Split, TrainingPart

from .template import Template

USER_FIELD = "user"

HISTORY = "history"
"""The field of templates, and of a sample's items, that holds the items a user took."""

UNNAMED_USER = -1
"""In the place of a user's position: one whom the input does not name."""


@dataclass(frozen=True)
class Sample:
    """One question to the model, and its answer. Users and items are positions, not yet words.

    Attributes:
        template: the text around the IDs.
        user: fills the template's field `user`; `UNNAMED_USER` leaves the field empty.
        items: items for every other field of the template, by the field's name.
        target_item: the answer of a task that names an item; `None` where the answer is text or is not known.
        target_text: the answer of a task that writes text.
        target_feature: the property that the answer should mention, where it is text and has one.
        exclude: items that are no possible answer, such as those the user has.
        candidates: items to choose among, whether the input lists them or not; `None` where all of the catalogue is.
    """

    template: Template
    user: int
    items: Mapping[str, Sequence[int]]
    target_item: int | None = None
    target_text: str | None = None
    target_feature: str | None = None
    exclude: Sequence[int] = ()
    candidates: Sequence[int] | None = None


class Task(ABC):
    """A recommendation task as text generation.

    To add one, write a subclass in a file of its own and hand it to `peft_pod.tasks.register_task`.

    Args:
        bare_probability: how often training uses the bare template, the one that inference uses; `None` draws it as
            often as any other.

    Class attributes:
        name: how configurations and results call the task.
        templates: discrete templates that training fills in; the prompts learn what they say.
        bare: the template that holds the IDs alone and that inference uses.
        target: `"item"` where the answer is an item of the catalogue, `"text"` where it is a sentence.

    Templates may also be those of an instance, where its options change what the input holds.
    """

    name: ClassVar[str]
    templates: tuple[Template, ...]
    bare: Template
    target: ClassVar[Literal["item", "text"]]

    def __init__(self, *, bare_probability: float | None = None) -> None:
        if bare_probability is not None and not 0 <= bare_probability <= 1:
            raise ValueError(f"bare_probability must be from 0 to 1, got {bare_probability!r}")
        self.bare_probability = bare_probability

    def options(self) -> dict[str, Any]:
        """The arguments that make an equal task, for saving."""
        return {"bare_probability": self.bare_probability}

    @abstractmethod
    def training_size(self, train: TrainingPart) -> int:
        """How many samples one pass over the training part has; 0 where the corpus cannot serve the task."""

    @abstractmethod
    def training_sample(self, train: TrainingPart, index: int, rng: np.random.Generator) -> Sample:
        """Draw the sample `index` (0 to `training_size` − 1) of an epoch.

        Args:
            train: the training part; nothing else may be looked at.
            index: which sample.
            rng: the only source of chance, seeded by the caller for this sample and epoch.
        """

    @abstractmethod
    def evaluation_samples(self, split: Split, part: Part, seed: int = 0) -> Sequence[Sample]:
        """All samples of the validation or test part, with the bare template.

        Where a corpus may be large, give back `SamplesOnDemand`.

        Args:
            split: the split corpus.
            part: `"validation"` or `"test"`.
            seed: fixes what is drawn (candidates), the same for every model.
        """

    def draw_template(self, rng: np.random.Generator) -> Template:
        """Draw a template for a training sample."""
        if self.bare_probability is None:
            choices = (*self.templates, self.bare)
            return choices[rng.integers(len(choices))]
        if rng.random() < self.bare_probability:
            return self.bare
        return self.templates[rng.integers(len(self.templates))]


def positive_integer(name: str, value: int) -> int:
    """Check an argument that counts something.

    Raises:
        ValueError: it is not a whole number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    return value
