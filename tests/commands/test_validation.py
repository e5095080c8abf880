"""On how many users a run is validated while it trains."""

from __future__ import annotations

import json

import pytest

from peft_pod.commands.arguments import CorpusArguments
from peft_pod.commands.validation import validation_limit

from .runs import small, train


@pytest.mark.parametrize(
    ("validation", "evaluation", "expected"),
    [(9, 4, 9), (4, 9, 4), (9, None, 9), (None, 4, 4), (None, None, None)],
)
def test_a_limit_of_validation_is_not_overruled_by_that_of_the_evaluation(validation, evaluation, expected):
    limits = CorpusArguments(validation_limit=validation, evaluation_limit=evaluation)
    assert validation_limit(limits) == expected


def test_a_plan_validates_on_as_many_as_were_asked_for(tmp_path):
    options = small(tasks=["sequential"], validation_limit=9, evaluation_limit=4, evaluation_part="none")
    done = train(options, tmp_path / "run", "--dry-run", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["tasks"]["sequential"]["validation_samples"] == 9
