"""Starting the embeddings of IDs from vectors, so that what is close is close before training begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from peft_pod.indexing import IdVectors
from peft_pod.indexing.vectors import FloatArray
from peft_pod.processing import PODProcessor


@torch.no_grad()
def start_ids(base: PreTrainedModel, processor: PODProcessor, vectors: IdVectors) -> None:
    """Put vectors in the place of the token embeddings of items and users.

    The vectors get the scale of the embeddings they replace: the mean square over all items stays what it was. An ID
    whose vector is zero (an item nobody took in training) keeps its random start.

    Args:
        base: the base model; changed in place.
        processor: knows the IDs' tokens. Each ID must be one token of its own.
        vectors: of `base.config.d_model` (or `hidden_size`) numbers each.

    Raises:
        ValueError: an ID is written with several tokens, or the vectors have another number or length.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.indexing import collaborative_vectors, load_indexing
        >>> from peft_pod.tasks import load_task
        >>> from peft_pod.training import build_tokenizer, load_base_model
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> indexing, tasks = load_indexing("random").fit(train), [load_task("sequential")]
        >>> processor = PODProcessor(build_tokenizer("scratch:tiny", train, indexing, tasks), indexing, tasks)
        >>> base = load_base_model("scratch:tiny", processor.tokenizer)
        >>> start_ids(base, processor, collaborative_vectors(train, base.config.d_model))
    """
    weight = base.get_input_embeddings().weight
    kinds = {
        "items": (vectors.items, processor.indexing.item_words, processor.item_tokens()),
        "users": (vectors.users, processor.indexing.user_words, processor.user_tokens()),
    }
    scale = None
    for kind, (rows, words, tokens) in kinds.items():
        if rows.shape != (len(words), weight.shape[1]):
            raise ValueError(
                f"the vectors of {kind} have shape {rows.shape}, but there are {len(words)} {kind} and the base's "
                f"embeddings have {weight.shape[1]} numbers"
            )
        ids = _single_tokens(words, tokens)
        if scale is None:
            scale = float(weight[ids].float().square().mean().sqrt())
        _replace(weight, ids, rows * scale)


def _single_tokens(words: Sequence[str], tokens: Sequence[tuple[int, ...]]) -> torch.Tensor:
    for word, written in zip(words, tokens, strict=True):
        if len(written) != 1:
            raise ValueError(
                f"the ID {word!r} is written with {len(written)} tokens, and vectors can only start IDs of one token "
                'each: use id_tokens="whole" with a base from scratch, or a random start'
            )
    return torch.tensor([written[0] for written in tokens])


def _replace(weight: torch.nn.Parameter, ids: torch.Tensor, rows: FloatArray) -> None:
    known = np.flatnonzero(rows.any(axis=1))
    weight[ids[known]] = torch.from_numpy(rows[known]).to(weight)
