from __future__ import annotations

import math
from collections import Counter
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_pod.metrics import ExplanationMetric, load_metric

sentence = st.lists(st.sampled_from(["the", "cat", "sat", "on", "mat"]), max_size=9)
pairs = st.lists(st.tuples(sentence, sentence.filter(bool)), min_size=1, max_size=6)


def ngrams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def bleu(rows: list[tuple[list[str], list[str]]], max_order: int) -> float:
    """Papineni et al. (2002) at corpus level; a precision of 0 becomes 1 / (2^i total) for the i-th of them."""
    log_precisions = []
    halvings = 0
    for order in range(1, max_order + 1):
        matched = sum((ngrams(p, order) & ngrams(r, order)).total() for p, r in rows)
        total = sum(ngrams(p, order).total() for p, r in rows)
        if order == 1 and matched == 0:
            return 0.0
        if total == 0:
            return 0.0
        if matched == 0:
            halvings += 1
            matched = 0.5**halvings
        log_precisions.append(math.log(matched / total))
    length, wanted = (sum(len(row[i]) for row in rows) for i in (0, 1))
    brevity = min(1.0, math.exp(1 - wanted / length))
    return 100 * brevity * math.exp(sum(log_precisions) / max_order)


def bleu_of_the_paper(rows: list[tuple[list[str], list[str]]], max_order: int) -> float:
    """Without smoothing: 0 where an order has no match."""
    product = 1.0
    for order in range(1, max_order + 1):
        matched = sum((ngrams(p, order) & ngrams(r, order)).total() for p, r in rows)
        if matched == 0:
            return 0.0
        product *= matched / sum(ngrams(p, order).total() for p, r in rows)
    length, wanted = (sum(len(row[i]) for row in rows) for i in (0, 1))
    return 100 * min(1.0, math.exp(1 - wanted / length)) * product ** (1 / max_order)


def f1(matched: int, predicted: int, wanted: int) -> float:
    return 2 * matched / (predicted + wanted) if matched else 0.0


def rouge_n(prediction: list[str], reference: list[str], order: int) -> float:
    ours, theirs = ngrams(prediction, order), ngrams(reference, order)
    return f1((ours & theirs).total(), ours.total(), theirs.total())


def longest_common(prediction: list[str], reference: list[str]) -> int:
    @cache
    def longest(i: int, j: int) -> int:
        if i == len(prediction) or j == len(reference):
            return 0
        if prediction[i] == reference[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    return longest(0, 0)


def rouge_l(prediction: list[str], reference: list[str]) -> float:
    return f1(longest_common(prediction, reference), len(prediction), len(reference))


def compute(predictions: list[str], references: list[str], **options) -> dict[str, float]:
    return ExplanationMetric(keep_in_memory=True).compute(predictions=predictions, references=references, **options)


@given(pairs)
@settings(max_examples=40, deadline=None)
def test_scores_equal_the_definitions(rows: list[tuple[list[str], list[str]]]) -> None:
    scores = compute([" ".join(p) for p, _ in rows], [" ".join(r) for _, r in rows], convention="standard")
    assert scores["bleu-1"] == pytest.approx(bleu(rows, 1))
    assert scores["bleu-4"] == pytest.approx(bleu(rows, 4))
    for order in (1, 2):
        assert scores[f"rouge-{order}"] == pytest.approx(100 * sum(rouge_n(p, r, order) for p, r in rows) / len(rows))
        found = sum((ngrams(p, order) for p, _ in rows), Counter())
        assert scores[f"distinct-{order}"] == pytest.approx(len(found) / found.total() if found else 0.0)
    assert scores["rouge-l"] == pytest.approx(100 * sum(rouge_l(p, r) for p, r in rows) / len(rows))
    assert "fmr" not in scores


@given(pairs)
@settings(max_examples=40, deadline=None)
def test_the_convention_of_the_paper(rows: list[tuple[list[str], list[str]]]) -> None:
    scores = compute([" ".join(p) for p, _ in rows], [" ".join(r) for _, r in rows])  # the default
    for order in (1, 4):
        assert scores[f"bleu-{order}"] == pytest.approx(bleu_of_the_paper(rows, order))
    for order in (1, 2):
        values = [
            f1(len(set(ngrams(p, order)) & set(ngrams(r, order))), len(ngrams(p, order)), len(ngrams(r, order)))
            for p, r in rows
        ]
        assert scores[f"rouge-{order}"] == pytest.approx(100 * sum(values) / len(rows))
    values = []
    for ours, theirs in rows:
        common = longest_common(ours, theirs)
        precision, recall = common / max(1, len(ours)), common / len(theirs)
        # With β = P / R, (1 + β²) P R / (R + β² P) is P R (P² + R²) / (R³ + P³).
        values.append(precision * recall * (precision**2 + recall**2) / (recall**3 + precision**3) if common else 0.0)
    assert scores["rouge-l"] == pytest.approx(100 * sum(values) / len(rows))


def test_the_convention_of_the_paper_by_hand() -> None:
    scores = compute(["the the cat sat."], ["the cat sat on"], convention="paper")
    # Tokens: the the cat sat. / the cat sat on. Two of four match; "sat." is not "sat".
    assert scores["bleu-1"] == pytest.approx(50.0)
    assert scores["bleu-4"] == 0.0
    # Different words: the cat sat. / the cat sat on.
    assert scores["rouge-1"] == pytest.approx(100 * 2 * 2 / (3 + 4))
    assert scores["rouge-2"] == pytest.approx(100 * 2 * 1 / (3 + 3))
    assert scores["rouge-l"] == pytest.approx(50.0)
    assert compute(["Good"], ["good"], convention="paper")["rouge-1"] == 0.0
    assert compute(["Good"], ["good"], convention="paper", lowercase=True)["rouge-1"] == pytest.approx(100.0)
    with pytest.raises(ValueError, match="convention is 'papers'; choose one of"):
        compute(["a"], ["a"], convention="papers")


words_and_features = st.lists(
    st.tuples(sentence, st.sampled_from(["", "cat", "the cat", "sat on the", "dog"])), min_size=1, max_size=7
)


@given(words_and_features)
@settings(max_examples=60, deadline=None)
def test_features_equal_their_definitions(rows: list[tuple[list[str], str]]) -> None:
    scores = compute([" ".join(words) for words, _ in rows], ["r"] * len(rows), features=[name for _, name in rows])
    assert scores["usr"] == len({tuple(words) for words, _ in rows}) / len(rows)
    known = {feature for _, feature in rows} - {""}
    if not known:
        assert not {"fmr", "fcr", "div"} & set(scores)
        return
    named = [{name for name in known if f" {name} " in f" {' '.join(words)} "} for words, _ in rows]
    wanted = [(found, feature) for found, (_, feature) in zip(named, rows, strict=True) if feature]
    assert scores["fmr"] == pytest.approx(sum(feature in found for found, feature in wanted) / len(wanted))
    assert scores["fcr"] == pytest.approx(len(set().union(*named)) / len(known))
    shared = [len(one & other) for one, other in combinations(named, 2)]
    assert scores.get("div") == (pytest.approx(sum(shared) / len(shared)) if shared else None)


def test_coverage_of_a_larger_set_of_features() -> None:
    predictions, references = ["a bright screen", "bright and loud"], ["r", "r"]
    scores = compute(predictions, references, features=["screen", "loud"])
    assert (scores["fcr"], scores["div"]) == (1.0, 0.0)
    known = ["screen", "loud", "bright", "battery life", "!"]  # the last one has no word
    scores = compute(predictions, references, features=["screen", "loud"], feature_set=known)
    assert (scores["fmr"], scores["fcr"], scores["div"]) == (1.0, 3 / 4, 1.0)
    with pytest.raises(ValueError, match="feature_set lacks 'loud', which a row has"):
        compute(predictions, references, features=["screen", "loud"], feature_set=["screen"])


def test_hand_computed() -> None:
    scores = compute(["the cat sat"], ["the cat sat down"])
    assert scores["bleu-1"] == pytest.approx(100 * math.exp(1 - 4 / 3))
    assert scores["rouge-1"] == pytest.approx(100 * 2 * 3 / 7)
    assert scores["rouge-2"] == pytest.approx(100 * 2 * 2 / 5)


def test_bleu_1_is_of_single_words_only() -> None:
    reordered = compute(["d c b a"], ["a b c d"])
    assert reordered["bleu-1"] == pytest.approx(100.0)
    assert reordered["bleu-4"] < 50


def test_identical_text_scores_the_maximum() -> None:
    scores = compute(["Great battery, works well!"], ["Great battery, works well!"])
    assert [scores[name] for name in ("bleu-1", "bleu-4", "rouge-1", "rouge-2", "rouge-l")] == pytest.approx([100] * 5)


def test_case_matters_to_bleu_unless_told() -> None:
    for convention in ("standard", "paper"):
        pair = {"predictions": ["Good Screen"], "references": ["good screen"], "convention": convention}
        assert compute(**pair)["bleu-1"] == 0.0
        assert compute(**pair, lowercase=True)["bleu-1"] == pytest.approx(100.0)
        assert compute(**pair)["rouge-1"] == pytest.approx(100.0 if convention == "standard" else 0.0)


def test_rouge_does_not_stem() -> None:
    assert compute(["it worked"], ["it works"])["rouge-1"] == pytest.approx(50.0)


def test_empty_predictions_score_nothing() -> None:
    for convention in ("standard", "paper"):
        scores = compute(["", ""], ["a b", "c"], features=["b", "c"], convention=convention)
        assert scores.pop("usr") == 0.5  # one sentence, twice
        assert set(scores.values()) == {0.0}


def test_feature_matching_ratio() -> None:
    predictions = ["The Battery life is good", "nice screens", "love the sound-quality", "ok"]
    features = ["battery life", "screen", "Quality", ""]
    # "screen" is no whole word of "screens"; the last row has no feature and does not count.
    assert compute(predictions, ["r"] * 4, features=features)["fmr"] == pytest.approx(2 / 3)
    assert "fmr" not in compute(["a"], ["a"], features=[""])
    # Nothing could ever match a feature that has no word in it.
    assert compute(["a", "b"], ["r"] * 2, features=[" ", "b"])["fmr"] == 1.0
    assert "fmr" not in compute(["a"], ["a"], features=["!"])


def test_features_as_a_column() -> None:
    metric = load_metric("explanation", config_name="features")
    metric.add_batch(predictions=["a b", "c"], references=["a", "c"], features=["b", "d"])
    metric.add(prediction="e", reference="e", features="e")
    assert metric.compute()["fmr"] == pytest.approx(2 / 3)


def test_batches_give_what_one_call_gives() -> None:
    predictions, references = ["a b c", "d", ""], ["a c", "d e", "f"]
    metric = load_metric("explanation")
    metric.add_batch(predictions=predictions[:1], references=references[:1])
    metric.add_batch(predictions=predictions[1:], references=references[1:])
    assert metric.compute() == compute(predictions, references)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"predictions": ["a"], "references": [""]}, r"references\[0\] is empty"),
        ({"predictions": ["a", "b"], "references": ["a", " \n"]}, r"references\[1\] is empty"),
        ({"predictions": ["a"], "references": ["a", "b"]}, "numbers of rows differ"),
        ({"predictions": ["a"], "references": ["a"], "features": ["a", "b"]}, "numbers of rows differ"),
        ({"predictions": ["a"], "references": ["a"], "features": [None]}, r"features\[0\] is None"),
        ({"predictions": ["a", 3], "references": ["a", "b"]}, r"predictions\[1\] is 3"),
        ({"predictions": [], "references": []}, "no rows"),
        ({"predictions": None, "references": None}, "no rows"),
        ({"predictions": ["a"], "references": None}, "references is missing"),
    ],
)
def test_bad_input(columns: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute(**columns)


def test_a_column_of_features_may_not_be_left_out() -> None:
    with pytest.raises(ValueError, match="features"):
        load_metric("explanation", config_name="features").compute(predictions=["a"], references=["a"])
    with pytest.raises(ValueError, match="features is missing; the metric needs"):
        load_metric("explanation", config_name="features").add(prediction="a", reference="a")
