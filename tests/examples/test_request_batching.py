from __future__ import annotations

import asyncio
import threading

import pytest

from ..training.launching import ROOT


@pytest.fixture
def batching(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import request_batching

    return request_batching


def test_batches_are_of_one_kind_and_one_thread_and_an_error_is_its_own(batching):
    batches, threads = [], set()

    def answer(kind, numbers):
        batches.append((kind, numbers))
        threads.add(threading.get_ident())
        if 7 in numbers:
            raise ValueError("seven")
        return [number * 10 for number in numbers]

    async def main():
        async with batching.RequestBatcher(answer, max_batch=3, max_wait=0.05, max_waiting=9) as batcher:
            asked = [batcher.ask("a", [1, 2]), batcher.ask("b", [3]), batcher.ask("a", [7]), batcher.ask("a", [4])]
            return await asyncio.gather(*asked, return_exceptions=True)

    first, second, third, fourth = asyncio.run(main())
    assert (first, second, fourth) == ([10, 20], [30], [40])
    assert isinstance(third, ValueError)
    # The batch that failed is asked again one by one.
    assert batches == [("a", [1, 2, 7]), ("a", [1]), ("a", [2]), ("a", [7]), ("b", [3]), ("a", [4])]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_no_room_and_stopping(batching):
    release = threading.Event()

    def answer(kind, numbers):
        release.wait(10)
        return numbers

    async def main():
        batcher = batching.RequestBatcher(answer, max_batch=2, max_wait=0, max_waiting=2)
        async with batcher:
            running = asyncio.create_task(batcher.ask("a", [1, 2]))
            await asyncio.sleep(0.05)
            waiting = asyncio.create_task(batcher.ask("a", [3, 4]))
            await asyncio.sleep(0)
            with pytest.raises(batching.FullError, match="2 questions wait already"):
                await batcher.ask("a", [5])
            release.set()
        # What was taken has been answered.
        assert await asyncio.wait_for(asyncio.gather(running, waiting), 1) == [[1, 2], [3, 4]]
        with pytest.raises(batching.FullError, match="stopping"):
            await batcher.ask("a", [6])

    asyncio.run(main())


def test_bad_settings(batching):
    with pytest.raises(ValueError, match="max_waiting at least max_batch; got 8, 0 and 7"):
        batching.RequestBatcher(lambda kind, found: found, max_batch=8, max_wait=0, max_waiting=7)
