"""All checks, one after the other."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence

from peft_pod.corpus import Corpus
from peft_pod.corpus.fingerprint import settings_fingerprint
from peft_pod.corpus.ragged import IntArray
from peft_pod.corpus.split import Split
from peft_pod.corpus.temporal import TemporalSplit
from peft_pod.indexing import Indexing, NotFittedError, PaperIndexing, load_indexing
from peft_pod.indexing.paper import LEAK_WARNING

from .case import Case
from .duplicates import check_duplicates
from .explanations import check_explanations, remark_repeated_sentences
from .finding import DONE, Audit, Finding
from .index_rules import check_index_rules
from .negatives import check_negatives, remark_popularity
from .order import check_order
from .time_travel import check_time_travel
from .user_order import check_user_order

_CHECKS: dict[str, tuple[Callable[[Case], list[Finding]], ...]] = {
    "index arithmetic": (check_index_rules,),
    "ID order": (check_order,),
    "duplicates": (check_duplicates,),
    "time travel": (check_time_travel,),
    "user IDs": (check_user_order,),
    "explanations": (check_explanations, remark_repeated_sentences),
    "negatives": (check_negatives, remark_popularity),
}


def audit(
    corpus: Corpus,
    indexing: Indexing | str,
    split: Split | None = None,
    *,
    temporal: bool | None = None,
    candidates: Sequence[IntArray] | None = None,
    seed: int = 0,
) -> Audit:
    """Look for whatever gives held-out items away.

    Args:
        corpus: the corpus.
        indexing: fitted on the split. The name of a scheme, or a scheme that is not fitted, is fitted here and left as
            it is.
        split: of that corpus; leave-one-out where it is not given.
        temporal: whether results are said to be by the clock; by default where the split is temporal. Training
            interactions later than held-out ones are then a leak.
        candidates: for each user with a test item the list to choose from, the right item in it; drawn as the protocol
            `candidates-100` draws them where they are not given.
        seed: of whatever is drawn.

    Raises:
        ValueError: nobody has a test item; the split, the words or the candidates are not of this corpus; or there is
            no such scheme.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> corpus = load_corpus("embedded", num_users=100)
        >>> print(audit(corpus, "random").note())  # doctest: +ELLIPSIS
        Audit ... of corpus 'embedded' with indexing 'random': no leak found.
    """
    split = corpus.split() if split is None else split
    indexing = _fitted(load_indexing(indexing) if isinstance(indexing, str) else indexing, split, seed)
    by_clock = isinstance(split, TemporalSplit) if temporal is None else temporal
    case = Case(corpus, split, indexing, by_clock, candidates, seed)
    found: list[Finding] = []
    checks: dict[str, str] = {}
    for name, functions in _CHECKS.items():
        checks[name] = _why_not(name, case) or DONE
        if checks[name] == DONE:
            for function in functions:
                found += function(case)
    return Audit(
        corpus=corpus.name,
        split=split.name,
        indexing=indexing.name,
        fingerprint=_fingerprint(split, indexing),
        findings=[one for severity in ("leak", "flaw") for one in found if one.severity == severity],
        remarks=[one for one in found if one.severity == "remark"],
        checks=checks,
        warning=_warning(indexing),
    )


def nothing_to_audit(corpus: Corpus, indexing: Indexing, split: Split) -> Audit:
    """The audit of a split that holds no test items out: nothing can be given away, and no check is made.

    Args:
        corpus: the corpus.
        indexing: fitted on the split.
        split: of that corpus.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> corpus = load_corpus("embedded", num_users=20, min_history=2, max_history=2)
        >>> split = corpus.split()
        >>> found = nothing_to_audit(corpus, load_indexing("random").fit(split.train), split)
        >>> found.applies, found.checks["time travel"]  # doctest: +ELLIPSIS
        (False, "nobody has a test item: the split 'leave-one-out' holds ...")
    """
    return Audit(
        corpus=corpus.name,
        split=split.name,
        indexing=indexing.name,
        fingerprint=_fingerprint(split, indexing),
        checks=dict.fromkeys(_CHECKS, f"nobody has a test item: {split.why_nobody('test')}"),
        warning=_warning(indexing),
    )


def _fitted(indexing: Indexing, split: Split, seed: int) -> Indexing:
    try:
        _ = indexing.item_words
    except NotFittedError:
        return copy.copy(indexing).fit_split(split, seed)
    return indexing


def _warning(indexing: Indexing) -> str:
    if not indexing.leaks:
        return ""
    if isinstance(indexing, PaperIndexing):
        return LEAK_WARNING
    return f"Indexing {indexing.name!r} makes its names from held-out items, as it says itself."


def _why_not(name: str, case: Case) -> str:
    """Why a check cannot be made; nothing where it can."""
    if name == "time travel" and case.times_are_places:
        return "the timestamps are places in each user's history, not times"
    if name == "user IDs" and not case.indexing.user_words:
        return "the indexing does not name users"
    if name == "explanations" and case.corpus.explanations is None:
        return "the corpus has no sentences"
    return ""


def _fingerprint(split: Split, indexing: Indexing) -> str:
    words = hashlib.sha256()
    for kind in (indexing.item_words, indexing.user_words):
        words.update("\n".join(kind).encode() + b"\n\n")
    return settings_fingerprint("audit", split.fingerprint, words.hexdigest())
