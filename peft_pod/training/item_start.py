"""Starting the embeddings of items from vectors, so that what is close is close before training begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from peft_pod.corpus.ragged import IntArray, Ragged
from peft_pod.indexing.tokens import word_tokens
from peft_pod.indexing.vectors import FloatArray
from peft_pod.processing import PODProcessor


@torch.no_grad()
def start_items(base: PreTrainedModel, processor: PODProcessor, vectors: FloatArray) -> None:
    """Put vectors in the place of the token embeddings of items.

    The vectors get the scale of the embeddings they replace, or of all embeddings where those are zeros, as spare rows
    of a base may be. An item whose vector is zero (nobody took it in training)
    keeps its random start. Users keep theirs too: a mean of the items they took holds the answers of training, and a
    model that starts from it trusts it more than it deserves.

    A token that several items' IDs hold, such as that of a cluster, starts from the mean of their vectors, less the
    mean of all items: without that, tokens that unlike items share would all start as the same vector. In IDs of
    several tokens, the starts at each place have the same scale.

    Args:
        base: the base model; changed in place.
        processor: knows the items' tokens. Each ID must be one token of its own, or be made of new tokens.
        vectors: one for each item, as long as the base's embeddings; shape `(num_items, width)`.

    Raises:
        ValueError: an item is written with several tokens that are not made for it, or the vectors have another shape.

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
    written = processor.item_tokens()
    _check_own_tokens(words, written)
    tokens, starts = token_starts(written, vectors)
    scale = _scale(weight[torch.from_numpy(tokens)]) or _scale(weight)
    known = starts.any(axis=1)
    weight[torch.from_numpy(tokens[known])] = torch.from_numpy(starts[known] * scale).to(weight)


def _scale(rows: torch.Tensor) -> float:
    return float(rows.float().square().mean().sqrt())


def token_starts(written: Sequence[Sequence[int]], vectors: FloatArray) -> tuple[IntArray, FloatArray]:
    """What each token of items' IDs starts from.

    Args:
        written: the tokens of each item.
        vectors: the vector of each item; zeros where nothing is known of it.

    Returns:
        The tokens, and a vector for each: zeros where nothing is known of any item that has it.

    Example:
        >>> tokens, starts = token_starts([[7, 1], [7, 2], [8, 3]], np.array([[1.0], [1.0], [-2.0]]))
        >>> tokens.tolist(), starts.round(2).ravel().tolist()
        ([1, 2, 3, 7, 8], [0.71, 0.71, -1.41, 0.63, -1.26])
    """
    rows = Ragged.of(written)
    tokens, token = np.unique(rows.values, return_inverse=True)
    known = np.asarray(vectors.any(axis=1))
    counts = np.bincount(token, weights=known[rows.owners], minlength=len(tokens))
    sums = np.zeros((len(tokens), vectors.shape[1]))
    np.add.at(sums, token, vectors[rows.owners])
    starts = np.divide(sums, counts[:, None], out=np.zeros_like(sums), where=counts[:, None] > 0)
    if rows.lengths.max(initial=0) > 1:
        place = np.full(len(tokens), rows.lengths.max())
        np.minimum.at(place, token, rows.places)
        for level in range(int(rows.lengths.max())):
            at = np.logical_and(place == level, counts > 0)
            starts[at] = _levelled(starts[at], counts[at], vectors[known])
    return tokens, starts


def _levelled(starts: FloatArray, counts: FloatArray, known: FloatArray) -> FloatArray:
    """Starts of the tokens at one place, so that they differ and their mean square is 1."""
    if (counts > 1).any() and len(starts) > 1:
        starts = starts - known.mean(axis=0)
    size = np.sqrt((starts**2).mean()) if starts.size else 0.0
    return starts / size if size > 0 else starts


def _check_own_tokens(words: Sequence[str], written: Sequence[Sequence[int]]) -> None:
    for word, tokens in zip(words, written, strict=True):
        if len(tokens) != 1 and not word_tokens(word):
            raise ValueError(
                f"the ID {word!r} is written with {len(tokens)} tokens, and vectors can only start IDs of one token "
                'each or of new tokens: use id_tokens="whole" with a base from scratch, an indexing that makes tokens, '
                "or a random start"
            )
