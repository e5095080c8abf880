"""Starting the embeddings of items from vectors, so that what is close is close before training begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from peft_pod.indexing.vectors import FloatArray
from peft_pod.processing import PODProcessor


@torch.no_grad()
def start_items(base: PreTrainedModel, processor: PODProcessor, vectors: FloatArray) -> None:
    """Put vectors in the place of the token embeddings of items.

    The vectors get the scale of the embeddings they replace. An item whose vector is zero (nobody took it in training)
    keeps its random start. Users keep theirs too: a mean of the items they took holds the answers of training, and a
    model that starts from it trusts it more than it deserves.

    Args:
        base: the base model; changed in place.
        processor: knows the items' tokens. Each item must be one token of its own.
        vectors: one for each item, as long as the base's embeddings; shape `(num_items, width)`.

    Raises:
        ValueError: an item is written with several tokens, or the vectors have another shape.

    Example:
        >>> from peft_pod.corpus import load_corpus
        >>> from peft_pod.indexing import collaborative_vectors, load_indexing
        >>> from peft_pod.tasks import load_task
        >>> from peft_pod.training import build_tokenizer, load_base_model
        >>> train = load_corpus("embedded", num_users=50).split().train
        >>> indexing, tasks = load_indexing("random").fit(train), [load_task("sequential")]
        >>> processor = PODProcessor(build_tokenizer("scratch:tiny", train, indexing, tasks), indexing, tasks)
        >>> base = load_base_model("scratch:tiny", processor.tokenizer)
        >>> start_items(base, processor, collaborative_vectors(train, base.config.d_model))
    """
    weight = base.get_input_embeddings().weight
    words = processor.indexing.item_words
    if vectors.shape != (len(words), weight.shape[1]):
        raise ValueError(
            f"vectors has shape {vectors.shape}, but there are {len(words)} items and the base's embeddings have "
            f"{weight.shape[1]} numbers"
        )
    ids = _single_tokens(words, processor.item_tokens())
    scale = float(weight[ids].float().square().mean().sqrt())
    known = np.flatnonzero(vectors.any(axis=1))
    weight[ids[known]] = torch.from_numpy(vectors[known] * scale).to(weight)


def _single_tokens(words: Sequence[str], tokens: Sequence[tuple[int, ...]]) -> torch.Tensor:
    for word, written in zip(words, tokens, strict=True):
        if len(written) != 1:
            raise ValueError(
                f"the ID {word!r} is written with {len(written)} tokens, and vectors can only start IDs of one token "
                'each: use id_tokens="whole" with a base from scratch, or a random start'
            )
    return torch.tensor([written[0] for written in tokens])
