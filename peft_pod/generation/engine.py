"""Runs samples through a model: items by constrained beam search, sentences by beam search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from tqdm.auto import tqdm

from peft_pod.corpus.split import IntArray
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.processing import PODCollator, PODProcessor
from peft_pod.tasks import Sample

from .arguments import positive
from .count_mixture import CountMixture, mixture_of
from .item_filter import ItemSet
from .item_search import ItemSearch
from .settings import GenerationSettings
from .text_constraint import TextVocabulary, check_text_limits
from .text_search import TextSearch
from .trie import ItemTrie

Scoring = Literal["exact", "beam"]


@dataclass(frozen=True)
class RankedItems:
    """Items found for each sample, best first: positions, −1 beyond the last, and log-probabilities; `(rows, k)`."""

    items: IntArray
    scores: np.ndarray


class GenerationEngine:
    """Answers samples with a trained model.

    Inputs are sorted by length before they are put into batches, so that little is padded; answers come back in the
    order of the samples.

    Args:
        model: a PEFT model with a POD adapter.
        processor: encodes the samples.
        settings: beams and batches.
        counts: of the training part, where the settings give them a weight.
        show_progress: whether to show a progress bar.

    Raises:
        ValueError: the settings give counts a weight, and there are none, or they are of another catalogue.
    """

    def __init__(
        self,
        model: Any,
        processor: PODProcessor,
        settings: GenerationSettings,
        *,
        counts: NeighbourCounts | None = None,
        show_progress: bool = False,
    ) -> None:
        self.model = model
        self.processor = processor
        self.settings = settings
        self.show_progress = show_progress
        self.trie = ItemTrie(processor.item_tokens(), processor.tokenizer.eos_token_id)
        self._mixture = mixture_of(settings.count_weight, counts, self.trie.num_items)
        self._search = ItemSearch(
            model, self.trie, method=settings.method, precision=settings.precision, normaliser=settings.normaliser
        )
        self._collate = PODCollator(processor.tokenizer.pad_token_id)

    def item_beams(self, k: int) -> int:
        """Beams of a search for k items: the settings', but never fewer than k or more than there are items."""
        return min(max(self.settings.item_beams, k), self.trie.num_items)

    @cached_property
    def text_vocabulary(self) -> TextVocabulary:
        """Which tokens of the tokenizer a written text may hold."""
        return TextVocabulary.of(self.processor.tokenizer, self.processor.id_token_ids())

    @cached_property
    def text_search(self) -> TextSearch:
        """Writes texts, by the method by which items are searched."""
        return TextSearch(self.model, self.text_vocabulary, self._search.inference)

    def find_items(
        self,
        samples: Sequence[Sample],
        task: str,
        *,
        k: int,
        num_beams: int | None = None,
        exclude: bool = True,
        only: Sequence[int] | ItemSet | None = None,
    ) -> RankedItems:
        """Find the k best items of each sample.

        Where a sample lists candidates, only those are found. Every result is an item of the catalogue, none twice.

        Where the settings mix in counts, the k best of what the model and counting find, by the mixture; of candidates,
        all are scored. Scores are then log-probabilities of the mixture.

        Args:
            samples: the questions, all of one task.
            task: its name.
            k: how many items to find.
            num_beams: beams of the search, at least k; the settings' (or k, if that is more) where left out.
            exclude: whether to leave out the items that a sample excludes, such as those the user has.
            only: positions of the items that may be found for any of the samples, or an `item_set` of them; all items
                where it is left out.

        Raises:
            ValueError: nothing is left to recommend for a sample, or `only` holds what is no item.
        """
        among = only if only is None or isinstance(only, ItemSet) else self.item_set(only)
        if self._mixture is not None and samples and samples[0].candidates is not None:
            ranked = self.rank_candidates(self._narrowed(samples, exclude, among), task)
            return RankedItems(_first(ranked.items, k, -1), _first(ranked.scores, k, -np.inf))
        beams = self.item_beams(k) if num_beams is None else min(num_beams, self.trie.num_items)
        items = np.full((len(samples), k), -1, dtype=np.int64)
        scores = np.full((len(samples), k), -np.inf)
        depth = min(k, beams) if self._mixture is None else beams

        def run(rows: list[int], batch: dict[str, torch.Tensor]) -> None:
            asked = [samples[row] for row in rows]
            found = self._search(
                batch,
                k=depth,
                num_beams=beams,
                **self._allowed(asked, exclude, among),
                decoder_prefix=[self.model.config.decoder_start_token_id],
            )
            best = RankedItems(found.items.cpu().numpy(), found.scores.float().cpu().numpy())
            if self._mixture is not None:
                hidden = [sample.exclude if exclude else () for sample in asked]
                best = self._with_counts(self._mixture, batch, asked, best, hidden, among)
            width = min(k, best.items.shape[1])
            items[rows, :width], scores[rows, :width] = best.items[:, :width], best.scores[:, :width]

        self._run(samples, task, run)
        return RankedItems(items, scores)

    def _narrowed(self, samples: Sequence[Sample], exclude: bool, among: ItemSet | None) -> list[Sample]:
        """The samples with those of their candidates that may be found."""
        self._allowed(samples, exclude, among)
        inside = None if among is None else set(among.items.tolist())

        def left(sample: Sample) -> list[int]:
            gone = set(sample.exclude if exclude else ())
            listed = [item for item in sample.candidates or () if item not in gone]
            return listed if inside is None else [item for item in listed if item in inside]

        return [replace(sample, candidates=left(sample)) for sample in samples]

    def _with_counts(
        self,
        mixture: CountMixture,
        batch: dict[str, torch.Tensor],
        samples: Sequence[Sample],
        found: RankedItems,
        hidden: Sequence[Sequence[int]],
        among: ItemSet | None,
    ) -> RankedItems:
        """What the model found and as many items that counting finds, by the mixture of both, best first."""
        probabilities = mixture.probabilities(samples, hidden)
        counted = mixture.likeliest(probabilities, found.items.shape[1], among)
        # What the search has found it has scored, too.
        twice = (counted[:, :, None] == found.items[:, None, :]).any(axis=2)
        counted = np.where(twice, -1, counted)
        prefix = [self.model.config.decoder_start_token_id]
        asked = torch.from_numpy(counted).to(batch["input_ids"].device)
        scored = self._search.score(batch, asked, decoder_prefix=prefix).float().cpu().numpy()
        items = np.concatenate([found.items, counted], axis=1)
        scores = mixture.mixed(np.concatenate([found.scores, scored], axis=1), items, probabilities)
        order = np.argsort(-scores, axis=1, kind="stable")
        return RankedItems(np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1))

    def rank_candidates(
        self,
        samples: Sequence[Sample],
        task: str,
        *,
        scoring: Scoring = "exact",
        num_beams: int | None = None,
    ) -> RankedItems:
        """Rank the candidates of each sample.

        Args:
            samples: the questions, all of one task, with candidates.
            task: its name.
            scoring: `"exact"`: each candidate is scored, see `ItemSearch.score`; or `"beam"`: candidates are found by
                beam search, so that at most `num_beams` come back and better ones may be missed. Where the settings
                mix in counts, all are scored, and the scores are log-probabilities among the candidates.
            num_beams: beams of the search; the settings' where left out.

        Returns:
            The candidates, best first: of `"exact"` all of them, `(rows, longest list of candidates)`; of `"beam"`
            those that were found.

        Raises:
            ValueError: `scoring` is neither, or `num_beams` is given for exact scores.
        """
        check_scoring(scoring, num_beams)
        lists = [[] if sample.candidates is None else list(sample.candidates) for sample in samples]
        longest = max(map(len, lists))
        if scoring == "beam":
            beams = self.settings.item_beams if num_beams is None else num_beams
            return self.find_items(samples, task, k=min(longest, beams), num_beams=beams, exclude=False)
        items = np.full((len(samples), longest), -1, dtype=np.int64)
        for row, listed in enumerate(lists):
            items[row, : len(listed)] = listed
        scores = np.full(items.shape, -np.inf)

        def run(rows: list[int], batch: dict[str, torch.Tensor]) -> None:
            asked = torch.from_numpy(items[rows]).to(batch["input_ids"].device)
            prefix = [self.model.config.decoder_start_token_id]
            scores[rows] = self._search.score(batch, asked, decoder_prefix=prefix).cpu().numpy()

        self._run(samples, task, run)
        if self._mixture is not None:
            nothing: list[tuple[int, ...]] = [()] * len(samples)
            scores = self._mixture.among(scores, items, self._mixture.probabilities(samples, nothing))
        order = np.argsort(-scores, axis=1, kind="stable")
        return RankedItems(np.take_along_axis(items, order, 1), np.take_along_axis(scores, order, 1))

    def write_text(
        self,
        samples: Sequence[Sample],
        task: str,
        *,
        num_beams: int | None = None,
        min_tokens: int = 1,
        max_tokens: int | None = None,
    ) -> list[str]:
        """Write the sentence of each sample: see `TextConstraint` for what it may hold; it is never empty.

        Args:
            samples: the questions, all of one task.
            task: its name.
            num_beams: beams of the search; the settings' where left out.
            min_tokens: the fewest tokens of a sentence.
            max_tokens: the most; the processor's `max_target_length` where left out.

        Raises:
            ValueError: a limit is no whole number above 0, or `min_tokens` is more than `max_tokens`.
        """
        max_tokens = self.processor.max_target_length if max_tokens is None else max_tokens
        check_text_limits(min_tokens, max_tokens)
        texts = [""] * len(samples)

        def run(rows: list[int], batch: dict[str, torch.Tensor]) -> None:
            written = self.text_search(
                batch,
                num_beams=num_beams or self.settings.text_beams,
                min_tokens=min_tokens,
                max_tokens=max_tokens,
                decoder_prefix=[self.model.config.decoder_start_token_id],
            )
            decoded = self.processor.tokenizer.batch_decode(written.tokens, skip_special_tokens=True)
            for row, text in zip(rows, decoded, strict=True):
                texts[row] = text.strip()

        self._run(samples, task, run)
        return texts

    def _run(
        self, samples: Sequence[Sample], task: str, run: Callable[[list[int], dict[str, torch.Tensor]], None]
    ) -> None:
        encoded = [self.processor(sample, task) for sample in samples]
        for features in encoded:
            features.pop("labels", None)
        device = next(self.model.parameters()).device
        with tqdm(total=len(samples), desc=task, disable=not self.show_progress, unit="sample") as progress:
            for rows in self._batches([len(features["input_ids"]) for features in encoded]):
                batch = self._collate([encoded[row] for row in rows])
                run(rows, {name: tensor.to(device) for name, tensor in batch.items()})
                progress.update(len(rows))

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        order = np.argsort(lengths, kind="stable").tolist()
        for start in range(0, len(order), self.settings.batch_size):
            yield order[start : start + self.settings.batch_size]

    def item_set(self, items: Sequence[int]) -> ItemSet:
        """Items by position, sorted once for any number of calls of `find_items`; errors as for `ItemSet`."""
        return ItemSet(self.trie, items)

    def _allowed(self, samples: Sequence[Sample], exclude: bool, among: ItemSet | None) -> dict[str, Any]:
        """What `ItemSearch` may find for each sample; those of a task either all have candidates or none has."""
        excluded: list[Sequence[int]] = [sample.exclude if exclude else () for sample in samples]
        only: ItemSet | list[IntArray] | None = among
        if samples[0].candidates is not None:
            listed = [np.array(sample.candidates or (), dtype=np.int64) for sample in samples]
            only = listed if among is None else [among.those_in(items) for items in listed]
        for row, (sample, gone) in enumerate(zip(samples, excluded, strict=True)):
            if isinstance(only, list):
                left = len(set(only[row].tolist()).difference(gone))
            elif only is None:
                left = self.trie.num_items - len(set(gone))
            else:
                left = len(only) - only.count(gone)
            if not left:
                raise ValueError(
                    f"nothing is left to recommend to the user at position {sample.user}: "
                    "every allowed item is excluded"
                )
        return {"only": only, "exclude": excluded}


def check_scoring(scoring: str, num_beams: int | None) -> None:
    """Check how candidates are to be scored, and with how many beams.

    Raises:
        ValueError: it is none of the ways there are, exact scores are to have beams, or there is no beam.
    """
    if scoring not in get_args(Scoring):
        raise ValueError(f"scoring must be one of {list(get_args(Scoring))}, got {scoring!r}")
    if num_beams is None:
        return
    if scoring == "exact":
        raise ValueError(f'num_beams={num_beams} is for scoring="beam"; exact scores need no beams, leave it out')
    positive("num_beams", num_beams)


def _first(rows: np.ndarray, k: int, filling: float) -> np.ndarray:
    """The first k columns, filled up where there are fewer."""
    return np.pad(rows[:, :k], ((0, 0), (0, max(0, k - rows.shape[1]))), constant_values=filling)
