"""How close generated explanations come to what users wrote: BLEU, ROUGE, diversity, feature matching.

This file imports nothing of `peft_pod`, so that `evaluate.load("<folder>/explanation.py")` can copy it and load the
copy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

_DESCRIPTION = """
BLEU-1, BLEU-4 (corpus level), ROUGE-1, ROUGE-2, ROUGE-L (F1, mean over rows), all between 0 and 100; distinct-1 and
distinct-2 (share of different n-grams) and, where features are given, the feature matching ratio, between 0 and 1.
"""

_INPUTS = """
Args:
    predictions: the generated sentences; "" is allowed and scores 0.
    references: for each the sentence that the user wrote.
    features: optionally for each the word that the sentence should name; "" where there is none.
    lowercase: whether BLEU ignores case (default: it does not; ROUGE always does).
Returns:
    `bleu-1`, `bleu-4`, `rouge-1`, `rouge-2`, `rouge-l`, `distinct-1`, `distinct-2`, and `fmr` where a row has
    a feature.
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
"""

_BLEU_ORDERS = (1, 4)
_ROUGE_TYPES = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}
_WORD = re.compile(r"\w+")


class ExplanationMetric(evaluate.Metric):
    """Text overlap of generated explanations with what users wrote, as an `evaluate` metric.

    - `bleu-1`, `bleu-4`, 0 to 100: corpus BLEU of sacrebleu with n-grams up to that order and its defaults: the
      `13a` tokenizer (punctuation split off, case kept), exponential smoothing, brevity penalty. BLEU-1 therefore is
      the unigram precision times the brevity penalty.
    - `rouge-1`, `rouge-2`, `rouge-l`, 0 to 100: F1 of rouge_score, mean over rows. Its tokenizer lower-cases and keeps
      runs of `a-z0-9`; no stemming. Text in other alphabets has no tokens there and scores 0.
    - `distinct-1`, `distinct-2`, 0 to 1: different n-grams over all n-grams of all predictions; words are runs of
      letters, digits and underscores, case ignored; 0 where there are no n-grams.
    - `fmr`, 0 to 1: share of the rows with a feature whose prediction contains the feature as whole words, case
      ignored. The key is left out where no row has a feature; one without letters and digits is none.

    The features come as an argument of `compute`, one for each row. With `config_name="features"` they are a column
    like predictions and references, for use with `add_batch` and in several processes.

    Raises:
        ValueError: there are no rows; the numbers of predictions, references and features differ; one of them is not
            a string; a reference is empty.

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
        lowercase: bool = False,
    ) -> dict[str, float]:
        if len(predictions) == 0:
            raise ValueError("there are no rows; the metric of no sentences is not defined")
        if features is not None:
            _check_columns({"predictions": predictions, "references": references, "features": features})
        scores = {f"bleu-{order}": _bleu(predictions, references, order, lowercase) for order in _BLEU_ORDERS}
        scores.update(_rouge(predictions, references))
        words = [_words(prediction) for prediction in predictions]
        scores.update({f"distinct-{order}": _distinct(words, order) for order in (1, 2)})
        wanted = [(sentence, _words(feature)) for sentence, feature in zip(words, features or (), strict=False)]
        wanted = [(sentence, feature) for sentence, feature in wanted if feature]
        if wanted:
            scores["fmr"] = sum(_contains(sentence, feature) for sentence, feature in wanted) / len(wanted)
        return scores


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


def _bleu(predictions: Sequence[str], references: Sequence[str], order: int, lowercase: bool) -> float:
    bleu = BLEU(max_ngram_order=order, tokenize="13a", smooth_method="exp", lowercase=lowercase)
    return float(bleu.corpus_score(list(predictions), [list(references)]).score)


def _rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    scorer = RougeScorer(list(_ROUGE_TYPES.values()), use_stemmer=False)
    rows = [scorer.score(reference, prediction) for prediction, reference in zip(predictions, references, strict=True)]
    return {
        key: 100.0 * sum(float(row[rouge_type].fmeasure) for row in rows) / len(rows)
        for key, rouge_type in _ROUGE_TYPES.items()
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _distinct(sentences: Sequence[Sequence[str]], order: int) -> float:
    ngrams = [tuple(s[start : start + order]) for s in sentences for start in range(len(s) - order + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def _contains(sentence: Sequence[str], phrase: Sequence[str]) -> bool:
    width = len(phrase)
    return any(sentence[start : start + width] == phrase for start in range(len(sentence) - width + 1))
