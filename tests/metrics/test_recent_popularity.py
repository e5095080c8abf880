from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.corpus import TrainingPart
from peft_pod.metrics import load_baseline


def training_part(taken: list[list[tuple[int, int]]], num_items: int = 6) -> TrainingPart:
    """Of items and times, oldest first."""
    return TrainingPart(
        user_ids=[f"user-{user}" for user in range(len(taken))],
        item_ids=[f"item-{item}" for item in range(num_items)],
        item_titles=[""] * num_items,
        sequences=[[item for item, _ in row] for row in taken],
        timestamps=[[time for _, time in row] for row in taken],
        explanations=[],
    )


rows = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.integers(10, 30)), max_size=8).map(
        lambda row: sorted(row, key=lambda entry: entry[1])
    ),
    min_size=1,
    max_size=5,
)


def scores(taken: list[list[tuple[int, int]]], share: float) -> list[float]:
    return load_baseline("recent-popularity", share=share).fit(training_part(taken)).scores([0], [[]])[0].tolist()


@given(rows, st.floats(0.01, 1.0))
@settings(deadline=None)
def test_the_latest_interactions_count(taken: list[list[tuple[int, int]]], share: float) -> None:
    entries = sorted((time, item) for row in taken for item, time in row)
    # The share's oldest moment; what happened then counts whole.
    wanted = max(1, round(share * len(entries)))
    recent = [item for time, item in entries if time >= entries[-wanted][0]] if entries else []
    assert scores(taken, share) == [recent.count(item) for item in range(6)]


def test_hand_computed() -> None:
    taken = [[(0, 10), (1, 20)], [(0, 11), (2, 30)], [(0, 12), (2, 29), (3, 31)]]
    assert scores(taken, 3 / 7) == [0, 0, 2, 1, 0, 0]
    # Items 0 and 1 were not taken lately; 0 is the more frequent one before.
    found = load_baseline("recent-popularity", share=3 / 7).fit(training_part(taken)).recommend([[]], k=4)[0]
    assert found.tolist() == [2, 3, 0, 1]
    assert scores(taken, 1.0) == [3, 1, 2, 1, 0, 0]


@pytest.mark.parametrize("first", [0, 1])
def test_places_in_the_history_are_no_times(first: int) -> None:
    """A long history would otherwise be later than a short one: here the last tenth of each history counts."""
    lists = [[0] * 30 + [1, 1, 1], [2], [3, 4]]
    taken = [[(item, place) for place, item in enumerate(row, start=first)] for row in lists]
    assert scores(taken, 0.1) == [0, 3, 1, 0, 1, 0]
    assert scores(taken, 0.5) == [13, 3, 1, 0, 1, 0]  # 16 of 33, one of one, one of two


@pytest.mark.parametrize("share", [0, -0.1, 1.1, True, "0.1", float("nan")])
def test_bad_shares(share: object) -> None:
    with pytest.raises(ValueError, match=f"share is {share!r}; it must be a number above 0 and at most 1"):
        load_baseline("recent-popularity", share=share)
