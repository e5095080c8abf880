"""Good and bad explanations of a trained run, as its texts' metrics see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU

from peft_pod.commands.data import split_of_run
from peft_pod.commands.run_folder import RunFolder
from peft_pod.corpus import Corpus, Part
from peft_pod.generation import Recommender
from peft_pod.tasks import ExplanationTask

EACH = 3


@dataclass(frozen=True)
class Example:
    """An explanation beside what the user wrote.

    Attributes:
        item: ID of the item.
        feature: that the sentence should name; empty where there is none.
        truth: what the user wrote.
        written: what the model wrote.
        bleu: of the sentence, 0 to 100.
    """

    item: str
    feature: str
    truth: str
    written: str
    bleu: float


def explanation_examples(folder: Path, part: Part, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The three best and the three worst explanations of a run.

    Args:
        folder: of the run.
        part: whose sentences are written.
        seed: decides among equals.
    """
    run = RunFolder(folder)
    recommender = Recommender.from_pretrained(run.model)
    split = split_of_run(Corpus.load_from_disk(run.corpus), run.corpus_arguments())
    samples = recommender.processor.task(ExplanationTask.name).evaluation_samples(split, part)
    written = recommender.engine.write_text(samples, ExplanationTask.name)
    found = []
    for sample, text in zip(samples, written, strict=True):
        truth = sample.target_text or ""
        item = split.train.item_ids[sample.items["item"][0]]
        found.append(Example(item, sample.target_feature or "", truth, text, sentence_bleu(text, truth)))
    return {name: [asdict(one) for one in chosen] for name, chosen in good_and_bad(found, seed).items()}


def sentence_bleu(written: str, truth: str) -> float:
    """BLEU-4 of one sentence, as sacrebleu smooths it, of the orders that the sentence has.

    Example:
        >>> round(sentence_bleu("a soft towel", "a soft towel"))
        100
    """
    return round(float(BLEU(effective_order=True).sentence_score(written, [truth]).score), 2)


def good_and_bad(examples: Sequence[Example], seed: int, each: int = EACH) -> dict[str, list[Example]]:
    """The best and the worst by sentence BLEU; a sentence that was written for several is shown once.

    Args:
        examples: all of them.
        seed: decides among equals.
        each: how many of either kind.
    """
    order = np.random.default_rng(seed).permutation(len(examples))
    ranked = sorted((examples[place] for place in order), key=lambda one: -one.bleu)
    good = _distinct(ranked, each, set())
    return {"good": good, "bad": _distinct(ranked[::-1], each, {one.written for one in good})}


def _distinct(examples: Sequence[Example], most: int, used: set[str]) -> list[Example]:
    chosen: list[Example] = []
    seen = set(used)
    for one in examples:
        if len(chosen) < most and one.written not in seen:
            chosen.append(one)
            seen.add(one.written)
    return chosen
