"""The offline default: a small tokenizer trained on the corpus itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 4000) -> PreTrainedTokenizerFast:
    """Train a byte-pair tokenizer, T5-like: words keep their leading space, texts end in `</s>`.

    Numbers are cut into pairs of digits, and every pair is one token: `item_0345` becomes `item_`, `03`, `45`. So an
    ID takes few tokens whatever was in the texts, and numbers that lie close share their first pairs.

    Args:
        texts: what to learn from, such as templates, titles and sentences.
        vocabulary_size: the most tokens; the 100 pairs of digits and the letters are always there.

    Example:
        >>> tokenizer = train_tokenizer(["user_ item_ take the next"] * 9)
        >>> tokenizer.tokenize("item_0345")
        ['▁item_', '03', '45']
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split(Regex(r"\d\d?"), "isolated")]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - 100,
        special_tokens=[PAD, EOS, UNKNOWN],
        initial_alphabet=[*"0123456789", "▁"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model = _with_digit_pairs(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, model_max_length=10**6
    )


def _with_digit_pairs(tokenizer: Tokenizer) -> models.BPE:
    """The trained model with a token for each pair of digits, whichever of them the texts had."""
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    merges = [tuple(merge) for merge in model["merges"]]
    known = set(merges)
    for first, second in itertools.product("0123456789", repeat=2):
        vocabulary.setdefault(first + second, len(vocabulary))
        if (first, second) not in known:
            merges.append((first, second))
    return models.BPE(vocab=vocabulary, merges=merges, unk_token=UNKNOWN)
