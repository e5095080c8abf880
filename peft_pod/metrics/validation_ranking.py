"""How a model ranks items for samples of the validation part, while it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from peft_pod.corpus import Part, Split
from peft_pod.generation import GenerationEngine, GenerationSettings
from peft_pod.generation.evaluating import evaluating
from peft_pod.processing import PODProcessor

from .model_evaluation import evaluate_model
from .ranking import check_ks, check_metrics

_PART: Part = "validation"


class ValidationRanking:
    """Measures a model by how it ranks items for the validation part, with the history excluded.

    A `PODTrainer` that is given one as `rank_validation` calls it at each validation, and can choose the best model by
    it (`metric_for_best_model="eval_sequential_ndcg@10"`).

    By default log-probabilities are normalised over what can follow in the trie (`normaliser="children"`), which is
    several times as fast as over the vocabulary, as `evaluate_model` has them by default. The two rank almost alike,
    the closer the better the model is trained, so this chooses between states of a model, and reports have the other.

    Args:
        split: the split corpus.
        processor: encodes the samples.
        task: name of a task that names items.
        settings: of the search; by default `GenerationSettings(normaliser="children", batch_size=128)`.
        metrics: names of ranking metrics, see `peft_pod.metrics.ranking_scores`.
        ks: the cut-offs.
        seed: of the candidates, and of what `limit` keeps.
        limit: at most so many samples; all of them where it is left out.

    Raises:
        ValueError: the task names no items or has no samples in the validation part, or a metric, a cut-off or the
            limit is none.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.indexing import load_indexing
        >>> from peft_pod.tasks import load_task
        >>> from peft_pod.training import build_model, build_tokenizer
        >>> split = load_corpus("embedded", num_users=50).split()
        >>> indexing, tasks = load_indexing("random").fit(split.train), [load_task("sequential")]
        >>> processor = PODProcessor(build_tokenizer("scratch:tiny", split.train, indexing, tasks), indexing, tasks)
        >>> rank = ValidationRanking(split, processor, "sequential", limit=10)
        >>> list(rank(build_model("scratch:tiny", processor, train=split.train)))
        ['sequential_hr@10', 'sequential_ndcg@10']
    """

    def __init__(
        self,
        split: Split,
        processor: PODProcessor,
        task: str,
        *,
        settings: GenerationSettings | None = None,
        metrics: Sequence[str] = ("hr", "ndcg"),
        ks: Sequence[int] = (10,),
        seed: int = 0,
        limit: int | None = None,
    ) -> None:
        check_metrics(metrics)
        check_ks(ks)
        if processor.task(task).target != "item":
            raise ValueError(f"the task {task!r} writes text and ranks no items: measure it by its loss")
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, or left out to rank for all users; got {limit}")
        self.split = split
        self.processor = processor
        self.task = task
        self.settings = GenerationSettings(normaliser="children", batch_size=128) if settings is None else settings
        self.metrics = tuple(metrics)
        self.ks = tuple(ks)
        self.seed = seed
        self.limit = limit
        if not self.size:
            raise ValueError(f"the validation part has no samples for the task {task!r}: measure it by another")

    @property
    def names(self) -> list[str]:
        """Names of what is measured."""
        return [f"{self.task}_{metric}@{k}" for metric in self.metrics for k in self.ks]

    @cached_property
    def size(self) -> int:
        """How many samples are ranked for."""
        found = len(self.processor.task(self.task).evaluation_samples(self.split, _PART, self.seed))
        return found if self.limit is None else min(found, self.limit)

    def __call__(self, model: Any, limit: int | None = None) -> dict[str, float]:
        """Measure a model; in several processes all must call it, and each ranks for its share.

        Args:
            model: a PEFT model with a POD adapter.
            limit: at most so many samples, if that is fewer than usual.

        Returns:
            Each metric by its name.
        """
        # Its weights are packed for the search, so each time the engine is a new one.
        engine = GenerationEngine(model, self.processor, self.settings)
        fewest = [number for number in (limit, self.limit) if number is not None]
        with evaluating(model):
            (result,) = evaluate_model(
                engine,
                self.split,
                _PART,
                tasks=[self.task],
                seed=self.seed,
                limit=min(fewest, default=None),
                ks=self.ks,
                metrics=self.metrics,
                bootstrap=None,
            ).values()
        return {name: result.metrics[name.removeprefix(f"{self.task}_")] for name in self.names}
