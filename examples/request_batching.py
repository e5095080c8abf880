"""Questions that come one by one from many clients, answered together by one worker thread; for `http_service.py`."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class FullError(RuntimeError):
    """There is no room for more questions, or the service is stopping."""


@dataclass(frozen=True)
class _Waiting(Generic[Question, Answer]):
    kind: Hashable
    question: Question
    answer: asyncio.Future[Answer]


class RequestBatcher(Generic[Question, Answer]):
    """Collects questions for a few milliseconds, or until a batch is full, and has them answered as one batch.

    All methods but the call itself belong to one event loop. A batch has questions of one kind, in the order in which
    they came. If it fails, its questions are asked again one by one, so that each gets its own answer or its own error.

    Args:
        answer: called in the worker thread with a kind and its questions; gives an answer to each. Never called twice
            at once.
        max_batch: the most questions of a batch.
        max_wait: seconds that the first question of a batch waits for others.
        max_waiting: the most questions that wait; more are refused.

    Raises:
        ValueError: a number is not positive, or there is no room for a whole batch.

    Example:
        >>> async def main():
        ...     async with RequestBatcher(lambda kind, texts: [text.upper() for text in texts]) as batcher:
        ...         return await asyncio.gather(batcher.ask("upper", ["a", "b"]), batcher.ask("upper", ["c"]))
        >>> asyncio.run(main())
        [['A', 'B'], ['C']]
    """

    def __init__(
        self,
        answer: Callable[[Hashable, list[Question]], Sequence[Answer]],
        *,
        max_batch: int = 32,
        max_wait: float = 0.005,
        max_waiting: int = 1024,
    ) -> None:
        if max_batch < 1 or max_wait < 0 or max_waiting < max_batch:
            raise ValueError(
                "max_batch must be at least 1, max_wait at least 0, and max_waiting at least max_batch; got "
                f"{max_batch}, {max_wait} and {max_waiting}"
            )
        self.max_batch = max_batch
        self.max_wait = max_wait
        self.max_waiting = max_waiting
        self.sizes: Counter[int] = Counter()
        """How many batches of each size have been answered."""
        self._answer = answer
        self._waiting: deque[_Waiting[Question, Answer]] = deque()
        self._changed = asyncio.Event()
        self._stopping = False

    @property
    def waiting(self) -> int:
        """How many questions wait now."""
        return len(self._waiting)

    async def ask(self, kind: Hashable, questions: Sequence[Question]) -> list[Answer]:
        """The answers to some questions, which need not come from the same batch.

        Args:
            kind: only questions of the same kind can be answered together.
            questions: all of them wait, or none.

        Raises:
            FullError: there is no room for them.
            Exception: what answering one of them raised.
        """
        if self._stopping:
            raise FullError("the service is stopping")
        if len(self._waiting) + len(questions) > self.max_waiting:
            raise FullError(f"{len(self._waiting)} questions wait already; try again later")
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Answer]] = [loop.create_future() for _ in questions]
        self._waiting.extend(map(_Waiting, [kind] * len(questions), questions, answers))
        self._changed.set()
        return list(await asyncio.gather(*answers))

    async def __aenter__(self) -> RequestBatcher[Question, Answer]:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Take no more questions, and answer those that wait."""
        self._stopping = True
        self._changed.set()
        await self._task
        self._worker.shutdown()

    async def _work(self) -> None:
        while await self._collected():
            batch = self._take()
            if batch:
                self.sizes[len(batch)] += 1
                await self._settle(batch)

    async def _collected(self) -> bool:
        """Wait until there is a batch; false where none will come any more."""
        loop = asyncio.get_running_loop()
        until: float | None = None
        while len(self._waiting) < self.max_batch and not self._stopping:
            if self._waiting and until is None:
                until = loop.time() + self.max_wait
            left = None if until is None else until - loop.time()
            if left is not None and left <= 0:
                break
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                break
        return bool(self._waiting)

    def _take(self) -> list[_Waiting[Question, Answer]]:
        """The oldest questions of one kind; those whose client has gone are dropped."""
        present = [one for one in self._waiting if not one.answer.done()]
        batch = [one for one in present if one.kind == present[0].kind][: self.max_batch]
        taken = set(map(id, batch))
        self._waiting = deque(one for one in present if id(one) not in taken)
        return batch

    async def _settle(self, batch: list[_Waiting[Question, Answer]]) -> None:
        questions = [one.question for one in batch]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(
                self._worker, self._answer, batch[0].kind, questions
            )
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} questions")
        except Exception as error:
            if len(batch) == 1:
                if not batch[0].answer.done():
                    batch[0].answer.set_exception(error)
                return
            for one in batch:
                await self._settle([one])
            return
        for one, answer in zip(batch, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)
