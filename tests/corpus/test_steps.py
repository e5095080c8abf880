from __future__ import annotations

import json

import pytest

from peft_pod.corpus import Step
from peft_pod.corpus.steps import total


def test_a_step_survives_json():
    step = Step("read", {"format": "csv", "limit": None, "strict": True, "share": 0.5}, {"rows": 1200, "dropped": 0})
    assert Step.from_dict(json.loads(json.dumps(step.to_dict()))) == step


def test_what_is_printed_names_what_was_found_and_says_how_many_rules_found_nothing():
    step = Step("read", {"format": "csv"}, {"rows": 1200, "empty texts": 0, "ties": 3, "repeats": 0})
    assert str(step) == "read (format csv): 1,200 rows, 3 ties, nothing found by 2 other rules"
    assert str(Step("save")) == "save"
    assert str(Step("k-core", {"users": 5}, {"dropped": 0})) == "k-core (users 5): nothing found by 1 rule"


def test_what_is_no_step_is_refused():
    with pytest.raises(ValueError, match=r"lacks \['settings', 'counts'\]; it has \['name'\]"):
        Step.from_dict({"name": "read"})


def test_totals_are_over_all_steps():
    steps = [Step("read", {}, {"dropped": 2}), Step("prepare", {}, {"dropped": 3, "kept": 9}), Step("save")]
    assert (total(steps, "dropped"), total(steps, "kept"), total(steps, "lost")) == (5, 9, 0)
