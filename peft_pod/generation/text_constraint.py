"""Keeps what `generate` writes text: no words of items or users, no special tokens, never nothing, within limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

_BATCH = 10_000


@dataclass(frozen=True)
class TextVocabulary:
    """Which tokens of a tokenizer are text.

    Attributes:
        forbidden: tokens that no text may hold; BoolTensor of shape `(vocabulary,)`.
        blank: tokens that decode to nothing or to white space; the same shape.
        eos_token_id: the end-of-sequence token, which is not among `forbidden`.

    Raises:
        ValueError: the masks do not fit each other, the end-of-sequence token is forbidden or none of their tokens,
            or no token is left that a text could hold.

    Example:
        >>> from peft_pod.processing import train_tokenizer
        >>> tokenizer = train_tokenizer(["soft towel"] * 9, whole_words=["item_1"])
        >>> vocabulary = TextVocabulary.of(tokenizer, tokenizer("item_1", add_special_tokens=False)["input_ids"])
        >>> [tokenizer.convert_ids_to_tokens(token) for token in vocabulary.forbidden.nonzero().flatten().tolist()]
        ['<pad>', '<unk>', '▁item_1']
    """

    forbidden: torch.Tensor
    blank: torch.Tensor
    eos_token_id: int

    def __post_init__(self) -> None:
        if self.forbidden.ndim != 1 or self.forbidden.shape != self.blank.shape:
            raise ValueError(
                f"forbidden and blank must be of one shape (vocabulary,), got {tuple(self.forbidden.shape)} and "
                f"{tuple(self.blank.shape)}"
            )
        if not 0 <= self.eos_token_id < len(self.forbidden) or self.forbidden[self.eos_token_id]:
            raise ValueError(
                f"eos_token_id must be one of the {len(self.forbidden)} tokens, and not forbidden; got "
                f"{self.eos_token_id}"
            )
        if (self.forbidden | self.blank).all():
            raise ValueError(
                "every token of the tokenizer is forbidden or blank, so no text can be written: is this the tokenizer "
                "that the model was trained with?"
            )

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, id_tokens: Iterable[int] = ()) -> TextVocabulary:
        """Look at every token of a tokenizer.

        Args:
            tokenizer: with an end-of-sequence token. Its other special tokens are forbidden: they would be left out
                of the decoded text.
            id_tokens: tokens that stand for items or users and are forbidden too.
        """
        size = len(tokenizer)
        eos = tokenizer.eos_token_id
        forbidden = torch.zeros(size, dtype=torch.bool)
        forbidden[[*tokenizer.all_special_ids, *id_tokens]] = True
        forbidden[eos] = False
        texts: list[str] = []
        for start in range(0, size, _BATCH):
            tokens = [[token] for token in range(start, min(start + _BATCH, size))]
            texts += tokenizer.batch_decode(tokens, skip_special_tokens=True)
        blank = torch.tensor([not text.strip() for text in texts])
        return cls(forbidden, blank, eos)


class TextConstraint(LogitsProcessor):
    """Sets the score of every token to −inf that would make the text something else than text.

    Forbidden tokens are never written. The end-of-sequence token is written only after `min_tokens` tokens, one of
    which at least is not blank. Where all but one of `max_tokens` are written and all of them are blank, blank tokens
    are forbidden too. Other scores are left as they are.

    Args:
        vocabulary: which tokens are text.
        min_tokens: the fewest tokens of a text, the end-of-sequence token not counted.
        max_tokens: the most, likewise. `generate` must be told to write no more.
        num_leading_tokens: how many decoder tokens stand in front of the text.

    Raises:
        ValueError: `min_tokens`, `max_tokens` or `num_leading_tokens` is no whole number above 0, or `min_tokens` is
            more than `max_tokens`. On call: the model has fewer tokens than the tokenizer.

    Example:
        >>> forbidden, blank = torch.tensor([True, False, False, False]), torch.tensor([True, True, True, False])
        >>> constraint = TextConstraint(TextVocabulary(forbidden, blank, eos_token_id=1), min_tokens=1, max_tokens=5)
        >>> constraint(torch.tensor([[0], [0]]), torch.zeros(2, 4))
        tensor([[-inf, -inf, 0., 0.],
                [-inf, -inf, 0., 0.]])
        >>> constraint(torch.tensor([[0, 3], [0, 2]]), torch.zeros(2, 4))
        tensor([[-inf, 0., 0., 0.],
                [-inf, -inf, 0., 0.]])
    """

    def __init__(
        self, vocabulary: TextVocabulary, min_tokens: int, max_tokens: int, num_leading_tokens: int = 1
    ) -> None:
        check_text_limits(min_tokens, max_tokens)
        _check_positive("num_leading_tokens", num_leading_tokens)
        self.vocabulary = vocabulary
        self.min_tokens = min_tokens
        self.max_tokens = max_tokens
        self.num_leading_tokens = num_leading_tokens
        # Blank or forbidden, and so nothing that makes a text; fitted to the scores on the first call.
        self._forbidden = vocabulary.forbidden
        self._empty = vocabulary.forbidden | vocabulary.blank

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask the scores of the next token.

        Args:
            input_ids: what the decoder has been given so far, shape `(rows, length)`.
            scores: scores of the next token, shape `(rows, vocabulary)`; not changed.

        Returns:
            The masked scores, a tensor of its own.
        """
        self._fit(scores)
        written = input_ids[:, self.num_leading_tokens :]
        masked = scores.clone()
        self.forbid_(masked, self._empty[written].all(dim=1), written.shape[1])
        return masked

    def forbid_(self, scores: torch.Tensor, is_empty: torch.Tensor, num_written: int) -> None:
        """Mask the scores of the next token in place.

        Args:
            scores: see `__call__`.
            is_empty: whether what is written of each text is blank, BoolTensor of shape `(rows,)`.
            num_written: how many tokens of it are written.
        """
        self._fit(scores)
        scores.masked_fill_(self._forbidden, -torch.inf)
        if num_written >= self.max_tokens - 1:
            scores.masked_fill_(is_empty[:, None] & self._empty, -torch.inf)
        ends = scores[:, self.vocabulary.eos_token_id]
        ends.masked_fill_(is_empty | (num_written < self.min_tokens), -torch.inf)

    def still_empty(self, is_empty: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Whether what is written stays blank with one more token each.

        Args:
            is_empty: see `forbid_`, of any shape.
            tokens: written next, the same shape. Scores have been masked before.
        """
        return is_empty & self._empty[tokens]

    def _fit(self, scores: torch.Tensor) -> None:
        """Move the masks to the scores' device; what the model has beyond the tokenizer decodes to nothing."""
        if self._forbidden.shape == scores.shape[1:] and self._forbidden.device == scores.device:
            return
        beyond = scores.shape[1] - len(self.vocabulary.forbidden)
        if beyond < 0:
            raise ValueError(
                f"the tokenizer has {len(self.vocabulary.forbidden)} tokens, but the model only {scores.shape[1]}; do "
                "they belong together?"
            )
        forbidden, empty = self.vocabulary.forbidden, self.vocabulary.forbidden | self.vocabulary.blank
        self._forbidden, self._empty = (
            torch.nn.functional.pad(mask, (0, beyond), value=True).to(scores.device) for mask in (forbidden, empty)
        )


def check_text_limits(min_tokens: int, max_tokens: int) -> None:
    """Check how long a text may be.

    Raises:
        ValueError: one of the two is no whole number above 0, or `min_tokens` is more than `max_tokens`.
    """
    _check_positive("min_tokens", min_tokens)
    _check_positive("max_tokens", max_tokens)
    if min_tokens > max_tokens:
        raise ValueError(f"min_tokens={min_tokens} is more than max_tokens={max_tokens}: no text is of such a length")


def _check_positive(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a positive whole number, got {value!r}")
