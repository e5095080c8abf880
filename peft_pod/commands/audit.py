"""`peft-pod audit`: does anything give the held-out items away?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from .arguments import DataArguments, check_seed, parse_arguments
from .data import fit_indexing, read_corpus, split_corpus


@dataclass
class AuditArguments:
    """Arguments of `peft-pod audit`, beside those that name the data."""

    seed: int = field(default=42, metadata={"help": "Of the words and of whatever is drawn."})
    json: bool = field(default=False, metadata={"help": "Print one JSON object and nothing else."})


def run(arguments: Sequence[str]) -> int:
    """Run the verb.

    Returns:
        1 where something leaks, else 0.
    """
    data, options = parse_arguments([DataArguments, AuditArguments], arguments, "peft-pod audit")
    check_seed(options.seed)
    corpus = read_corpus(data)
    split = split_corpus(corpus, data)
    # Whoever asks for an audit of nothing has named the wrong data, so that is an error here.
    found = corpus.audit(fit_indexing(split, data, options.seed), split, seed=options.seed)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if options.json else found)
    return int(found.leaks)
