"""The public way to use a trained model: recommendations in the corpus' own IDs."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from typing import Any, overload

import numpy as np
import torch
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from peft_pod.corpus.catalogue import Catalogue
from peft_pod.corpus.split import IntArray
from peft_pod.indexing.neighbours import NeighbourCounts
from peft_pod.processing import PODProcessor
from peft_pod.tasks import ExplanationTask, Sample, SequentialTask, TopNTask

from .adapter_turns import chosen_adapter, turns_of
from .arguments import IDList, each_user, listed, lists_of_users, positive, same_length
from .engine import GenerationEngine, Scoring, check_scoring
from .item_filter import ItemSet
from .questions import Questions, Unknown, UnknownItems, UnknownUsers, UserHistory, warn_of_skipped
from .results import Recommendation, UserRecommendations
from .rows import check_rows, length_of, user_and_history
from .saved_recommender import RecommenderParts
from .settings import GenerationSettings


class Recommender:
    """Recommends, ranks and explains with a trained POD model.

    Every method takes one user or a list of users; for a list, which may be a tuple or an array, it returns a list. An
    error says whose it is. Users and items are named by the corpus' own IDs, which are strings.

    Several threads may call one recommender at once, and several recommenders may share one model by an adapter each:
    every call gives what it would give alone. Calls run side by side as long as they use the same adapter; those that
    use another one wait for their turn. This holds for a model in evaluation mode, in which `from_pretrained` and every
    call leave it, and as long as nothing else trains it or changes its adapters.

    Args:
        model: a PEFT model with a POD adapter.
        processor: the processor it was trained with.
        catalogue: users and items.
        settings: beams and batches.
        adapter: name of the adapter to use. It is the active one during a call, and the one that was active before is
            so again afterwards. May be left out where the model has only one.
        counts: of the training part (`NeighbourCounts.fit`), where the settings mix them in (`count_weight`).
        show_progress: whether to show a progress bar over batches.

    Raises:
        ValueError: the model has no such adapter, or has several and none is named; or there are no counts to mix in.

    Example:
        ```python
        recommender = Recommender.from_pretrained("runs/demo/model")
        recommender.recommend(user="u0007", k=5)
        recommender.rank(user="u0007", candidates=["i0001", "i0002"])
        recommender.explain(user="u0007", item="i0001")
        ```
    """

    def __init__(
        self,
        model: PeftModel,
        processor: PODProcessor,
        catalogue: Catalogue,
        settings: GenerationSettings | None = None,
        *,
        adapter: str | None = None,
        counts: NeighbourCounts | None = None,
        show_progress: bool = False,
    ) -> None:
        self.model = model
        self.processor = processor
        self.catalogue = catalogue
        self.settings = settings or GenerationSettings()
        self.adapter = chosen_adapter(model, adapter)
        self.counts = counts
        self.engine = GenerationEngine(model, processor, self.settings, counts=counts, show_progress=show_progress)
        self._questions = Questions(catalogue, processor)
        self._said_without_counts = False

    # Using

    @overload
    def recommend(
        self,
        user: str,
        history: Sequence[str] | None = None,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        allowed_items: Sequence[str] | None = None,
        unknown_users: UnknownUsers = "error",
        unknown_items: UnknownItems = "error",
    ) -> list[Recommendation]: ...

    @overload
    def recommend(
        self,
        user: IDList,
        history: Sequence[Sequence[str]] | None = None,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        allowed_items: Sequence[str] | None = None,
        unknown_users: UnknownUsers = "error",
        unknown_items: UnknownItems = "error",
    ) -> list[list[Recommendation]]: ...

    def recommend(
        self,
        user: str | IDList,
        history: Sequence[str] | Sequence[Sequence[str]] | None = None,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        allowed_items: Sequence[str] | None = None,
        unknown_users: UnknownUsers = "error",
        unknown_items: UnknownItems = "error",
    ) -> list[Recommendation] | list[list[Recommendation]]:
        """Recommend the k items that the user will most likely take next.

        Args:
            user: a user ID, or a list of them.
            history: IDs of the items the user took, oldest first; for a list of users a list of such lists. Where it
                is left out, what was saved with the model. Of a long history the most recent items are used (20,
                unless the task was made otherwise); all of it is excluded.
            k: how many items; fewer come back only where fewer are left. There are as many beams as items are asked
                for, if that is more than the settings' beams.
            exclude_seen: whether to leave out the items of the history.
            allowed_items: IDs of the items that may be recommended at all, such as those in stock, one list for all
                users; all items where it is left out.
            unknown_users: what to do with a user that the model was not trained on: `"error"`, or `"history"`, go by
                the given history alone. The model is then asked without a user's name, which it never was in training
                unless its item IDs were made with `users="none"`; one that was serves every user so.
            unknown_items: what to do with items of a history that the catalogue does not know: `"error"`, or `"skip"`,
                leave them out and warn.

        Raises:
            ValueError: a user or an item is unknown, a history is empty, or nothing is left to recommend.

        Warns:
            UserWarning: items of histories were skipped; once a call, with how many and the first few.
        """
        users, single = listed(user)
        unknown = Unknown(unknown_users, unknown_items)
        histories = self._histories(users, history, single, unknown)
        allowed = self._allowed(allowed_items)

        def question(name: str, taken: UserHistory) -> Sample:
            return self._next_item_question(name, taken, unknown, allowed, exclude_seen)

        samples = each_user(users, single, question, histories)
        results = self._next_items(self.engine, samples, positive("k", k), exclude_seen, allowed)
        warn_of_skipped(users, histories)
        return results[0] if single else results

    def recommend_each(
        self,
        rows: Iterable[Mapping[str, Any]],
        k: int = 10,
        *,
        exclude_seen: bool = True,
        allowed_items: Sequence[str] | None = None,
        unknown_users: UnknownUsers = "error",
        unknown_items: UnknownItems = "error",
        chunk_size: int = 1024,
    ) -> Iterator[UserRecommendations]:
        """Recommend for each row of a stream, however long: rows are read as they are needed.

        Args:
            rows: such as a `datasets.Dataset` or `IterableDataset`, or a generator: dictionaries with `"user"` and,
                where it is not to be the saved one, `"history"`; a history of `None` is one left out.
            k: see `recommend`.
            exclude_seen: see `recommend`.
            allowed_items: see `recommend`.
            unknown_users: see `recommend`.
            unknown_items: see `recommend`; each result names what was skipped, and no warning is given.
            chunk_size: how many rows are read and answered together, at least. Rows of a similar length make batches,
                so a larger chunk is faster and takes more memory.

        Returns:
            An iterator over the results, in the order of the rows.

        Raises:
            ValueError: an argument is wrong; while iterating: a row is wrong, or what it asks; the message says which.

        Example:
            ```python
            for result in recommender.recommend_each([{"user": "u0007"}, {"user": "u0009", "history": ["i0001"]}]):
                print(result.user, [item.item_id for item in result.items])
            ```
        """
        check_rows(rows)
        return self._answer_each(
            rows,
            positive("k", k),
            exclude_seen,
            self._allowed(allowed_items),
            Unknown(unknown_users, unknown_items),
            positive("chunk_size", chunk_size),
        )

    def _answer_each(
        self,
        rows: Iterable[Mapping[str, Any]],
        k: int,
        exclude_seen: bool,
        allowed: ItemSet | None,
        unknown: Unknown,
        chunk_size: int,
    ) -> Iterator[UserRecommendations]:
        engine = copy.copy(self.engine)  # shares all but this
        engine.show_progress = False
        numbered = enumerate(rows)
        with tqdm(total=length_of(rows), disable=not self.engine.show_progress, unit="row") as progress:
            while chunk := list(islice(numbered, chunk_size)):
                users, histories, samples = [], [], []
                for number, row in chunk:
                    try:
                        user, given = user_and_history(row)
                        taken = self._questions.history(user, given, unknown)
                        samples.append(self._next_item_question(user, taken, unknown, allowed, exclude_seen))
                    except ValueError as error:
                        raise ValueError(f"row {number}: {error}") from error
                    users.append(user)
                    histories.append(taken)
                results = self._next_items(engine, samples, k, exclude_seen, allowed)
                for user, items, taken in zip(users, results, histories, strict=True):
                    yield UserRecommendations(user, items, taken.skipped)
                    progress.update()

    @overload
    def rank(
        self,
        user: str,
        candidates: Sequence[str],
        history: Sequence[str] | None = None,
        k: int | None = None,
        *,
        scoring: Scoring = "exact",
        num_beams: int | None = None,
        unknown_users: UnknownUsers = "error",
        unknown_items: UnknownItems = "error",
    ) -> list[Recommendation]: ...

    @overload
    def rank(
        self,
        user: IDList,
        candidates: Sequence[Sequence[str]],
        history: Sequence[Sequence[str]] | None = None,
        k: int | None = None,
        *,
        scoring: Scoring = "exact",
        num_beams: int | None = None,
        unknown_users: UnknownUsers = "error",
        unknown_items: UnknownItems = "error",
    ) -> list[list[Recommendation]]: ...

    def rank(
        self,
        user: str | IDList,
        candidates: Sequence[str] | Sequence[Sequence[str]],
        history: Sequence[str] | Sequence[Sequence[str]] | None = None,
        k: int | None = None,
        *,
        scoring: Scoring = "exact",
        num_beams: int | None = None,
        unknown_users: UnknownUsers = "error",
        unknown_items: UnknownItems = "error",
    ) -> list[Recommendation] | list[list[Recommendation]]:
        """Rank candidates for the user: all of them, by their exact scores, unless beam search is asked for.

        Each comes back with its log-probability and with its probability among the candidates. Counts (`count_weight`)
        go by the history that the question holds; without `history`, a top-N task that reads none leaves all to the
        model.

        Args:
            user: a user ID, or a list of them.
            candidates: item IDs; for a list of users a list of such lists.
            history: IDs of the items the user took, oldest first; for a list of users a list of such lists. Where
                given, candidates are ranked as what comes after it, by the sequential task or, where the model has
                none, the top-N task. Where it is left out, by the top-N task, which may read the saved history.
            k: how many of the best to return; all of them where it is left out.
            scoring: `"exact"` scores every candidate; or `"beam"`, as in the paper, searches them. A search may miss
                good candidates whose IDs begin badly, and those that it did not find are left out: it finds as many
                as there are beams at most. Where it did not find all, there are no probabilities.
            num_beams: beams of the search, at least k; the settings' (20) where it is left out, or k, if that is more.
            unknown_users: see `recommend`. A top-N task that reads no history says nothing of a user but the name and
                cannot be asked without it.
            unknown_items: see `recommend`; candidates must be known.

        Raises:
            ValueError: a user or an item is unknown, there are no candidates, or `scoring` and `num_beams` do not fit.

        Warns:
            UserWarning: items of histories were skipped; once a call, with how many and the first few. Or there are
                counts, and the question holds no history for them to go by; once a recommender.
        """
        users, single = listed(user)
        unknown = Unknown(unknown_users, unknown_items)
        num_beams = self._beams_to_rank(scoring, num_beams, k)
        lists = each_user(
            users,
            single,
            lambda _, items: self._questions.item_positions(items, "candidates"),
            lists_of_users(candidates, len(users), single, "candidates"),
        )
        by_history = history is not None and SequentialTask.name in self.processor.task_names
        task = self._task(SequentialTask if by_history else TopNTask)
        if history is not None and not by_history and not task.history_length:
            raise ValueError(
                "history is given, but no task of this model ranks candidates after one: leave it out, or train "
                "the task 'sequential', or 'topn' with a history_length"
            )
        positions = each_user(users, single, lambda name: self._questions.user_position(name, task.name, unknown))
        reads_history = by_history or task.history_length > 0
        histories = (
            self._histories(users, history, single, unknown) if reads_history else [UserHistory([])] * len(users)
        )

        def question(_: str, position: int, taken: UserHistory, items: list[int]) -> Sample:
            if by_history:
                return _among(task.query(position, taken.items), items)
            sample: Sample = task.query(position, items, history=taken.items)
            return sample

        samples = each_user(users, single, question, positions, histories, lists)
        with self._turn():
            found = self.engine.rank_candidates(samples, task.name, scoring=scoring, num_beams=num_beams)
        results = [
            self._recommendations(items, scores, _among_all(items, scores, len(asked)))[:k]
            for items, scores, asked in zip(found.items, found.scores, lists, strict=True)
        ]
        warn_of_skipped(users, histories)
        if self.settings.count_weight and not reads_history and not self._said_without_counts:
            self._said_without_counts = True
            warnings.warn(
                f"counts (count_weight={self.settings.count_weight}) have no part in this ranking: the task "
                f"{task.name!r} of this model reads no history for them to go by. Pass history=, or train "
                f"{task.name!r} with a history_length",
                UserWarning,
                stacklevel=2,
            )
        return results[0] if single else results

    @overload
    def explain(self, user: str, item: str, *, min_tokens: int = 1, max_tokens: int | None = None) -> str: ...

    @overload
    def explain(
        self, user: IDList, item: IDList, *, min_tokens: int = 1, max_tokens: int | None = None
    ) -> list[str]: ...

    def explain(
        self,
        user: str | IDList,
        item: str | IDList,
        *,
        min_tokens: int = 1,
        max_tokens: int | None = None,
    ) -> str | list[str]:
        """Write why the item is for the user, in at least one word.

        Where IDs are tokens of their own (new tokens, or a tokenizer with `id_tokens="whole"`), the text holds none of
        them. Where they are written in ordinary pieces, they could not be kept out without keeping text out, and are
        not.

        Args:
            user: a user ID, or a list of them.
            item: an item ID; for a list of users a list of items, one each.
            min_tokens: the fewest tokens of a text.
            max_tokens: the most; what the model was trained with where it is left out.

        Raises:
            ValueError: a user or an item is unknown, the model was not trained to explain, or a limit is no whole
                number above 0 or `min_tokens` more than `max_tokens`.
        """
        users, single = listed(user)
        items, _ = listed(item)
        same_length(users, items, "item")
        task = self._task(ExplanationTask)

        def question(name: str, item_id: str) -> Sample:
            position = self._questions.user_position(name, task.name, Unknown())
            sample: Sample = task.query(position, self.catalogue.item_position(item_id))
            return sample

        samples = each_user(users, single, question, items)
        with self._turn():
            texts = self.engine.write_text(samples, task.name, min_tokens=min_tokens, max_tokens=max_tokens)
        return texts[0] if single else texts

    # Saving and loading

    def save_pretrained(
        self, folder: str | os.PathLike[str], *, histories: bool = True, notes: Sequence[str] = ()
    ) -> None:
        """Save all that `from_pretrained` needs: adapter, tokenizer, catalogue, settings, and what makes the base.

        A base from the Hub or a folder is named, not copied. A base made from scratch is saved in `base/`: its
        configuration where the adapter holds its weights (`train_base=True`), its weights too where it does not.

        Args:
            folder: where to; it can be pushed to the Hub as it is.
            histories: whether to save what each user took, so that `recommend(user)` needs no history. Leave it out
                of a folder that is made public. Counts, where they are mixed in, are saved in any case: they name no
                user, but a pair of items that one user alone took together can be seen in them.
            notes: sentences for the model card that must be read with the model's numbers, such as an audit's verdict.
        """
        made = (self.model, self.adapter, self.processor, self.catalogue, self.settings)
        parts = RecommenderParts(*made, counts=self.counts)
        parts.save(folder, histories=histories, notes=notes)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        base_model: PreTrainedModel | PeftModel | None = None,
        adapter: str = "default",
        show_progress: bool = False,
        **hub_arguments: Any,
    ) -> Recommender:
        """Load a model that `save_pretrained` saved.

        Args:
            folder: the folder, or the id of a model repository on the Hub.
            device: where to run; by default where PyTorch puts models.
            base_model: the base, where it should not be loaded anew; or, for another adapter on the same base, the
                `model` of a recommender on it.
            adapter: what the adapter is called in the model: a new name beside other adapters.
            show_progress: whether to show a progress bar over batches.
            **hub_arguments: for the Hub, such as `revision` and `token`.

        Raises:
            FileNotFoundError: the folder lacks a file, or its base model cannot be loaded; the message names it.
            ValueError: a file is damaged, the base is not the one that the adapter was trained on, or the adapter
                cannot stand beside those that the model has.
        """
        parts = RecommenderParts.load(folder, base_model, adapter, **hub_arguments)
        if device is not None:
            parts.model.to(device)
        return cls(
            parts.model.eval(),
            parts.processor,
            parts.catalogue,
            parts.settings,
            adapter=parts.adapter,
            counts=parts.counts,
            show_progress=show_progress,
        )

    # Helpers

    def _beams_to_rank(self, scoring: Scoring, num_beams: int | None, k: int | None) -> int | None:
        check_scoring(scoring, num_beams)
        least = 1 if k is None else positive("k", k)
        if num_beams is not None and num_beams < least:
            raise ValueError(
                f"num_beams={num_beams} beams find {num_beams} candidates at most, but k={k} are asked for"
            )
        if scoring == "beam" and num_beams is None:
            return max(self.settings.item_beams, least)
        return num_beams

    def _task(self, kind: type[Any]) -> Any:
        return self.processor.task(kind.name)

    def _turn(self) -> AbstractContextManager[None]:
        """Have this recommender's adapter active, as long as nobody else uses another."""
        return turns_of(self.model).turn(self.model, self.adapter)

    def _histories(self, users: list[str], history: Any, single: bool, unknown: Unknown) -> list[UserHistory]:
        given: Sequence[Sequence[str] | None] = [None] * len(users)
        if history is not None:
            given = lists_of_users(history, len(users), single, "history")
        return each_user(users, single, lambda user, items: self._questions.history(user, items, unknown), given)

    def _allowed(self, allowed_items: Sequence[str] | None) -> ItemSet | None:
        positions = self._questions.allowed_positions(allowed_items)
        return None if positions is None else self.engine.item_set(positions)

    def _next_item_question(
        self, user: str, taken: UserHistory, unknown: Unknown, allowed: ItemSet | None, exclude_seen: bool
    ) -> Sample:
        task = self._task(SequentialTask)
        sample: Sample = task.query(self._questions.user_position(user, task.name, unknown), taken.items)
        seen = set(taken.items) if exclude_seen else set()
        left = len(self.catalogue.item_ids) - len(seen) if allowed is None else len(allowed) - allowed.count(seen)
        if not left:
            raise ValueError(
                f"nothing is left to recommend to user {user!r}: the history holds every item that may be recommended. "
                f"{'Allow more items' if allowed is not None else 'Shorten it'}, or pass exclude_seen=False"
            )
        return sample

    def _next_items(
        self, engine: GenerationEngine, samples: list[Sample], k: int, exclude_seen: bool, allowed: ItemSet | None
    ) -> list[list[Recommendation]]:
        with self._turn():
            found = engine.find_items(samples, SequentialTask.name, k=k, exclude=exclude_seen, only=allowed)
        return [
            self._recommendations(items, scores, None) for items, scores in zip(found.items, found.scores, strict=True)
        ]

    def _recommendations(
        self, items: IntArray, scores: np.ndarray, probabilities: np.ndarray | None
    ) -> list[Recommendation]:
        catalogue = self.catalogue
        chances = [None] * len(items) if probabilities is None else probabilities.tolist()
        return [
            Recommendation(catalogue.item_ids[item], catalogue.titles[item], score, chance)
            for item, score, chance in zip(items.tolist(), scores.tolist(), chances, strict=True)
            if item >= 0
        ]


def _among(sample: Sample, candidates: list[int]) -> Sample:
    if len(set(candidates)) != len(candidates) or not candidates:
        raise ValueError("candidates must name at least one item, and none twice")
    return replace(sample, candidates=candidates)


def _among_all(items: IntArray, scores: np.ndarray, num_candidates: int) -> np.ndarray | None:
    """Probabilities of candidates from log-probabilities, the largest first; `None` where not all were found."""
    if (items >= 0).sum() < num_candidates:
        return None
    weights = np.exp(scores - scores[0])
    return np.asarray(weights / weights.sum())
