from __future__ import annotations

import pytest

from peft_pod.audit.duplicates import check_duplicates

from .cases import case_of, corpus_of

CLEAN = [[0, 1, 2, 3], [1, 2, 0], [3, 0, 1]]


def found(histories, times=None, reviews=None) -> list[tuple[str, int, str]]:
    case = case_of(corpus_of(histories, 5, times, reviews))
    return [(finding.name, finding.count, finding.severity) for finding in check_duplicates(case)]


TWICE = ("duplicate interactions across the split", 1, "leak")
AGAIN = ("held-out items taken before", 1, "flaw")


def test_nothing_is_repeated() -> None:
    assert found(CLEAN) == []


def test_an_item_at_another_time_is_no_leak() -> None:
    assert found([*CLEAN, [4, 2, 3, 4]]) == [AGAIN]


def test_the_same_interaction_twice_is_a_leak() -> None:
    """The user's 4 and 3 share a time, and so do the held-out 3 and 4; the table's order settles what is held out."""
    times = [[10, 20, 30, 40], [10, 20, 30], [10, 20, 30], [50, 50, 50, 50]]
    assert found([*CLEAN, [4, 2, 3, 4]], times) == [TWICE]


def test_places_are_no_times() -> None:
    """The first interaction of each user has time 0, which is not when it happened."""
    assert found([*CLEAN, [4, 2, 3, 4]], [[0, 1, 2, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2, 3]]) == [AGAIN]


@pytest.mark.parametrize(("text", "expected"), [("Lasts long.", TWICE), ("Broke at last.", AGAIN), ("", AGAIN)])
def test_the_same_review_twice_is_a_leak(text: str, expected: tuple) -> None:
    reviews = [[""] * 4, [""] * 3, [""] * 3, [text, "", "", "Lasts long." if text else ""]]
    assert found([*CLEAN, [4, 2, 3, 4]], reviews=reviews) == [expected]


def test_validation_items_count_too() -> None:
    """4 is the validation item and was taken before; the test item was not."""
    assert found([*CLEAN, [4, 2, 4, 3]]) == [AGAIN]


def test_the_rule_recommends_the_history_backwards() -> None:
    """The last user's 4 comes after 3, and 2, of the history read backwards; one of four users."""
    (finding,) = check_duplicates(case_of(corpus_of([*CLEAN, [4, 2, 3, 3, 4]], 5)))
    assert finding.metrics == {"HR@1": 0.0, "HR@10": 0.25, "NDCG@10": 0.125}
