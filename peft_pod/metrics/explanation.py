"""How close generated explanations come to what users wrote, how they differ, and which features they name.

This file imports nothing of `peft_pod`, so that `evaluate.load("<folder>/explanation.py")` can copy it and load the
copy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

STANDARD = "standard"
PAPER = "paper"
CONVENTIONS = (STANDARD, PAPER)
DEFAULT_CONVENTION = PAPER
"""That of the numbers which the field compares; any other would be taken for it."""
"""How BLEU and ROUGE cut texts into tokens and count them, see `ExplanationMetric`."""

LOWER_IS_BETTER = ("div",)
"""Metrics of this module for which a smaller number is better."""

_DESCRIPTION = """
BLEU-1, BLEU-4 (corpus level), ROUGE-1, ROUGE-2, ROUGE-L (F1, mean over rows), all between 0 and 100; distinct-1 and
distinct-2 (share of different n-grams), the unique sentence ratio and, where features are given, the feature matching
ratio, the feature coverage ratio (all between 0 and 1) and the feature diversity (smaller is better).
"""

_INPUTS = """
Args:
    predictions: the generated sentences; "" is allowed and scores 0.
    references: for each the sentence that the user wrote.
    features: optionally for each the word that the sentence should name; "" where there is none.
    convention: how BLEU and ROUGE count: "paper" (default) or "standard".
    lowercase: whether BLEU, and ROUGE of the paper's convention, ignore case (default: they don't).
    feature_set: all features there are (default: those of the rows), for the feature coverage ratio and diversity.
Returns:
    `bleu-1`, `bleu-4`, `rouge-1`, `rouge-2`, `rouge-l`, `distinct-1`, `distinct-2`, `usr`, and where a row has a
    feature `fmr`, `fcr`, `div`.
"""

_CITATION = """
@inproceedings{post2018call,
  author    = {Post, Matt},
  title     = {A Call for Clarity in Reporting {BLEU} Scores},
  booktitle = {Proceedings of the Third Conference on Machine Translation},
  year      = {2018}
}
@inproceedings{lin2004rouge,
  author    = {Lin, Chin-Yew},
  title     = {{ROUGE}: A Package for Automatic Evaluation of Summaries},
  booktitle = {Text Summarization Branches Out},
  year      = {2004}
}
@inproceedings{li2021peter,
  author    = {Li, Lei and Zhang, Yongfeng and Chen, Li},
  title     = {Personalized Transformer for Explainable Recommendation},
  booktitle = {Proceedings of ACL-IJCNLP},
  year      = {2021}
}
"""

_BLEU_ORDERS = (1, 4)
_ROUGE_TYPES = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}
_WORD = re.compile(r"\w+")

Words = tuple[str, ...]


class ExplanationMetric(evaluate.Metric):
    """Text overlap of generated explanations with what users wrote, as an `evaluate` metric.

    - `bleu-1`, `bleu-4`, 0 to 100: corpus BLEU of sacrebleu with n-grams up to that order and its defaults: the
      `13a` tokenizer (punctuation split off, case kept), exponential smoothing, brevity penalty. BLEU-1 therefore is
      the unigram precision times the brevity penalty.
    - `rouge-1`, `rouge-2`, `rouge-l`, 0 to 100: F1 of rouge_score, mean over rows. Its tokenizer lower-cases and keeps
      runs of `a-z0-9`; no stemming. Text in other alphabets has no tokens there and scores 0.
    - `distinct-1`, `distinct-2`, 0 to 1: different n-grams over all n-grams of all predictions (Li et al., "A
      Diversity-Promoting Objective Function for Neural Conversation Models", NAACL 2016); words are runs of letters,
      digits and underscores, case ignored, here as below; 0 where there are no n-grams.
    - `usr`, 0 to 1: unique sentence ratio, different predictions over all N predictions, compared word by word.
    - `fmr`, 0 to 1: share of the rows with a feature whose prediction contains the feature as whole words, case
      ignored. The key is left out where no row has a feature; one without letters and digits is none.
    - `fcr`, 0 to 1: feature coverage ratio, `|∪ F_i| / |F|`, where F_i are the features of the set F that prediction i
      contains. F is `feature_set`, or the different features of the rows.
    - `div`, at least 0: feature diversity, `2 / (N (N − 1)) · Σ_{i < j} |F_i ∩ F_j|`, the mean number of features that
      two predictions share: smaller is better. It is left out for a single row.

    The last four are those of Li, Zhang & Chen, "Personalized Transformer for Explainable Recommendation" (PETER),
    ACL 2021, section 4.3.

    With `convention="paper"`, BLEU and ROUGE count as the code of the POD paper does. Tokens are what stands between
    spaces: "good." and "good" differ, and so do "Good" and "good". BLEU is not smoothed: with no matching n-gram of
    an order it is 0. ROUGE-1 and ROUGE-2 count each different n-gram of a sentence once; with P and R precision and
    recall, ROUGE-L is `(1 + β²) P R / (R + β² P)`, `β = P / R`. The paper's numbers are for sentences that were cut
    after 20 pieces of T5's vocabulary, the users' own too.

    The features come as an argument of `compute`, one for each row. With `config_name="features"` they are a column
    like predictions and references, for use with `add_batch` and in several processes.

    Raises:
        ValueError: there are no rows; the numbers of predictions, references and features differ; one of them is not
            a string; a reference is empty; the convention is unknown; or a row has a feature that is not in
            `feature_set`.

    Example:
        >>> metric = ExplanationMetric(keep_in_memory=True)
        >>> scores = metric.compute(
        ...     predictions=["great battery"], references=["the battery is great"], features=["battery"]
        ... )
        >>> scores["fmr"], round(scores["rouge-1"], 2)
        (1.0, 66.67)
    """

    def _info(self) -> evaluate.MetricInfo:
        names = ["predictions", "references"] + (["features"] if self.config_name == "features" else [])
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({name: datasets.Value("string") for name in names}),
        )

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, float] | None:
        """Compute the metric over what was added and what is given here; `None` in processes other than the first."""
        if predictions is None and references is None and self.writer is None:
            if self.num_process == 1:
                raise ValueError("there are no rows; give predictions and references, or call add_batch before compute")
            # The other processes wait for this one's file.
            self.add_batch(**{name: [] for name in self._feature_names()})
        return super().compute(predictions=predictions, references=references, **kwargs)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add rows."""
        columns = {"predictions": predictions, "references": references, **kwargs}
        self._check_names(columns)
        _check_columns(columns)
        super().add_batch(**columns)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one row."""
        row = {"predictions": prediction, "references": reference, **kwargs}
        self._check_names(row)
        _check_columns({name: [value] for name, value in row.items()})
        super().add(prediction=prediction, reference=reference, **kwargs)

    def _check_names(self, columns: dict[str, Any]) -> None:
        for name in self._feature_names():
            if columns.get(name) is None:
                raise ValueError(f"{name} is missing; the metric needs {self._feature_names()}")

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[str],
        features: Sequence[str] | None = None,
        convention: str = DEFAULT_CONVENTION,
        lowercase: bool = False,
        feature_set: Sequence[str] | None = None,
    ) -> dict[str, float]:
        if len(predictions) == 0:
            raise ValueError("there are no rows; the metric of no sentences is not defined")
        check_convention(convention)
        if features is not None:
            _check_columns({"predictions": predictions, "references": references, "features": features})
        scores = {
            f"bleu-{order}": _bleu(predictions, references, order, convention, lowercase) for order in _BLEU_ORDERS
        }
        scores.update(
            _rouge_of_the_paper(predictions, references, lowercase)
            if convention == PAPER
            else _rouge(predictions, references)
        )
        words = [_words(prediction) for prediction in predictions]
        scores.update({f"distinct-{order}": _distinct(words, order) for order in (1, 2)})
        scores["usr"] = len(set(words)) / len(words)
        return scores | _feature_scores(words, features or (), feature_set)


def check_convention(convention: str) -> None:
    """Refuse the name of a convention that is none.

    Raises:
        ValueError: it is not one of `CONVENTIONS`.

    Example:
        >>> check_convention("paper")
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; choose one of {list(CONVENTIONS)}")


def _check_columns(columns: dict[str, Sequence[Any]]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the numbers of rows differ: {lengths}; each row needs one of each")
    for name, column in columns.items():
        for row, value in enumerate(column):
            if not isinstance(value, str):
                raise ValueError(f"{name}[{row}] is {value!r}; it must be a string")
            if name == "references" and not value.strip():
                raise ValueError(f"references[{row}] is empty; leave out rows without a sentence to compare with")


def _bleu(predictions: Sequence[str], references: Sequence[str], order: int, convention: str, lowercase: bool) -> float:
    how = {"tokenize": "none", "smooth_method": "none"} if convention == PAPER else {"tokenize": "13a"}
    bleu = BLEU(max_ngram_order=order, lowercase=lowercase, **how)
    return float(bleu.corpus_score(list(predictions), [list(references)]).score)


def _rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    scorer = RougeScorer(list(_ROUGE_TYPES.values()), use_stemmer=False)
    rows = [scorer.score(reference, prediction) for prediction, reference in zip(predictions, references, strict=True)]
    return {
        key: 100.0 * sum(float(row[rouge_type].fmeasure) for row in rows) / len(rows)
        for key, rouge_type in _ROUGE_TYPES.items()
    }


def _rouge_of_the_paper(predictions: Sequence[str], references: Sequence[str], lowercase: bool) -> dict[str, float]:
    totals = dict.fromkeys(_ROUGE_TYPES, 0.0)
    for row in zip(predictions, references, strict=True):
        ours, theirs = ((text.lower() if lowercase else text).split() for text in row)
        for order in (1, 2):
            found, wanted = set(_ngrams(ours, order)), set(_ngrams(theirs, order))
            shared = len(found & wanted)
            totals[f"rouge-{order}"] += 2.0 * shared / (len(found) + len(wanted)) if shared else 0.0
        common = _longest_common(ours, theirs)
        if common:
            precision, recall = common / len(ours), common / len(theirs)
            weight = (precision / recall) ** 2
            totals["rouge-l"] += (1 + weight) * precision * recall / (recall + weight * precision)
    return {name: 100.0 * total / len(predictions) for name, total in totals.items()}


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, with a bit for each word (Hyyrö, AWOCA 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(one)) - 1
    unmatched = everywhere
    for word in other:
        here = unmatched & places.get(word, 0)
        unmatched = (unmatched + here | unmatched - here) & everywhere
    return len(one) - unmatched.bit_count()


def _words(text: str) -> Words:
    return tuple(_WORD.findall(text.casefold()))


def _ngrams(words: Sequence[str], order: int) -> list[Words]:
    return [tuple(words[start : start + order]) for start in range(len(words) - order + 1)]


def _distinct(sentences: Sequence[Words], order: int) -> float:
    ngrams = [ngram for sentence in sentences for ngram in _ngrams(sentence, order)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _feature_scores(
    sentences: Sequence[Words], features: Sequence[str], feature_set: Sequence[str] | None
) -> dict[str, float]:
    wanted = [_words(feature) for feature in features]
    of_rows = {feature for feature in wanted if feature}
    if not of_rows:
        return {}
    known = of_rows if feature_set is None else {_words(feature) for feature in feature_set} - {()}
    if not of_rows <= known:
        raise ValueError(f"feature_set lacks {' '.join(min(of_rows - known))!r}, which a row has; give all features")
    orders = sorted({len(feature) for feature in known})
    named = [{ngram for order in orders for ngram in _ngrams(sentence, order)} & known for sentence in sentences]
    matched = [feature in found for feature, found in zip(wanted, named, strict=True) if feature]
    counts = Counter(feature for found in named for feature in found)
    scores = {"fmr": sum(matched) / len(matched), "fcr": len(counts) / len(known)}
    if len(sentences) > 1:
        # A feature that n predictions name is shared by n (n − 1) / 2 pairs.
        shared = sum(count * (count - 1) for count in counts.values())
        scores["div"] = shared / (len(sentences) * (len(sentences) - 1))
    return scores
