"""How a trained model generates."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from peft_pod.files import write_text

from .edge_scores import Normaliser, check_normaliser
from .item_search import Method, Precision, check_method, check_precision

SETTINGS_FILE = "pod_generation.json"


@dataclass(frozen=True)
class GenerationSettings:
    """Beams and batches of a `Recommender`.

    Args:
        item_beams: beams of the search for items (paper: 20).
        text_beams: beams for sentences (the paper's 21 in three groups without a diversity penalty equal 7).
        batch_size: inputs that are run together.
        method: how items are searched, see `ItemSearch`; as the next two.
        precision: of the fast method.
        normaliser: of log-probabilities.
        count_weight: the share that counting has in what is recommended, see `CountMixture`; 0 for the model alone.

    Raises:
        ValueError: a number is not what it may be, or a name is none of those there are.
    """

    item_beams: int = 20
    text_beams: int = 7
    batch_size: int = 32
    method: Method = "auto"
    precision: Precision = "float32"
    normaliser: Normaliser = "vocabulary"
    count_weight: float = 0.0

    def __post_init__(self) -> None:
        check_method(self.method)
        check_precision(self.precision)
        check_normaliser(self.normaliser)
        weight = self.count_weight
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1:
            raise ValueError(f"count_weight must be a share from 0 to below 1, got {weight!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, str | float):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{field.name} must be a positive whole number, got {value!r}")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the settings into a folder."""
        write_text(Path(folder) / SETTINGS_FILE, json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> GenerationSettings:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: it is damaged, or holds what cannot be used.
        """
        path = Path(folder) / SETTINGS_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} has no {SETTINGS_FILE}: it was not saved by Recommender, or not to the end"
            )
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold settings of generation: {error}") from error
