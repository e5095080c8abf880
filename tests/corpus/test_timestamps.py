from __future__ import annotations

import pytest
from datasets import Dataset

from peft_pod.corpus import Corpus, CorpusFormatError, Step
from peft_pod.corpus.schema import MAX_TIMESTAMP


def tables(times: list) -> dict[str, Dataset]:
    return {
        "interactions": Dataset.from_dict(
            {"user_id": ["u"] * len(times), "item_id": ["i"] * len(times), "timestamp": times}
        ),
        "items": Dataset.from_dict({"item_id": ["i"], "title": ["An item"]}),
    }


def test_the_year_2100_is_the_limit():
    from datetime import datetime, timezone

    assert datetime(2100, 1, 1, tzinfo=timezone.utc).timestamp() == MAX_TIMESTAMP
    assert len(Corpus.from_tables("x", tables([0, MAX_TIMESTAMP])).interactions) == 2


@pytest.mark.parametrize("wrong", [-1, MAX_TIMESTAMP + 1, 1_700_000_000_000])
def test_times_that_cannot_be_are_refused(wrong: int):
    with pytest.raises(CorpusFormatError, match=f"has the timestamp {wrong} in row 1 .* and 2 such .*divide by 1000"):
        Corpus.from_tables("x", tables([5, wrong, 6, wrong]))


def test_a_missing_time_is_refused():
    with pytest.raises(CorpusFormatError, match="has no timestamp in row 1 .* 1 row"):
        Corpus.from_tables("x", tables([5, None]))


def test_dropped_and_counted():
    times = [5, None, -1, 7, 1_700_000_000_000, -9]
    corpus = Corpus.from_tables("x", tables(times), [Step("read")], bad_timestamps="drop")
    assert corpus.interactions["timestamp"][:] == [5, 7]
    assert corpus.steps == (
        Step("read"),
        Step(
            "check timestamps",
            {"bad_timestamps": "drop"},
            {
                "interactions without a timestamp dropped": 1,
                "interactions with a negative timestamp dropped": 2,
                "interactions with a timestamp beyond the year 2100 dropped": 1,
            },
        ),
    )
    clean = Corpus.from_tables("x", tables([5, 7]), bad_timestamps="drop")
    assert set(clean.steps[0].counts.values()) == {0}
    with pytest.raises(CorpusFormatError, match="corpus 'x' has no interactions"):
        Corpus.from_tables("x", tables([None, -1]), bad_timestamps="drop")


def test_what_is_no_number_is_refused():
    with pytest.raises(CorpusFormatError, match="'timestamp' .*cannot be cast"):
        Corpus.from_tables("x", tables(["monday", "tuesday"]), bad_timestamps="drop")
    with pytest.raises(CorpusFormatError, match="lacks the column"):
        Corpus.from_tables("x", {"interactions": Dataset.from_dict({"user_id": ["u"]})}, bad_timestamps="drop")
    with pytest.raises(ValueError, match=r"bad_timestamps must be one of \['error', 'drop'\], got 'ignore'"):
        Corpus.from_tables("x", tables([1]), bad_timestamps="ignore")
