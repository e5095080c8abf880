"""The offline default: a small tokenizer trained on the corpus itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
DIGIT_PAIRS = 100


def train_tokenizer(
    texts: Iterable[str], vocabulary_size: int = 4000, *, whole_words: Iterable[str] = ()
) -> PreTrainedTokenizerFast:
    """Train a byte-pair tokenizer, T5-like: words keep their leading space, texts end in `</s>`.

    IDs are written in one of two ways. Words given as `whole_words` are one token each, which makes inputs short and
    is by far the quickest to learn from random weights. Without them, numbers are cut into pairs of digits, and every
    pair is one token: `item_0345` becomes `item_`, `03`, `45`, so that the vocabulary does not grow with the corpus and
    numbers that lie close share their first pairs.

    Args:
        texts: what to learn from, such as templates, titles and sentences.
        vocabulary_size: the most tokens, besides `whole_words`; letters and digits are always among them.
        whole_words: words that are one token each.

    Example:
        >>> train_tokenizer(["user_ item_ take the next"] * 9).tokenize("item_0345")
        ['▁item_', '03', '45']
        >>> train_tokenizer(["take the next"] * 9, whole_words=["item_0345"]).tokenize("item_0345")
        ['▁item_0345']
    """
    whole_words = list(whole_words)
    split: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Metaspace()]
    if not whole_words:
        split.append(pre_tokenizers.Split(Regex(r"\d\d?"), "isolated"))
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - (0 if whole_words else DIGIT_PAIRS),
        special_tokens=[PAD, EOS, UNKNOWN],
        initial_alphabet=[*"0123456789", "▁"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model = _with_whole_words(tokenizer, whole_words) if whole_words else _with_digit_pairs(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, model_max_length=10**6
    )


def _trained(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(first, second) for first, second in model["merges"]]


def _with_whole_words(tokenizer: Tokenizer, words: list[str]) -> models.BPE:
    """The trained model with a token for each of the words."""
    vocabulary, merges = _trained(tokenizer)
    for word in words:
        vocabulary.setdefault(f"▁{word}", len(vocabulary))
    # A word that is a token as it stands is not put together by merges.
    return models.BPE(vocab=vocabulary, merges=merges, unk_token=UNKNOWN, ignore_merges=True)


def _with_digit_pairs(tokenizer: Tokenizer) -> models.BPE:
    """The trained model with a token for each pair of digits, whichever of them the texts had."""
    vocabulary, merges = _trained(tokenizer)
    known = set(merges)
    for first, second in itertools.product("0123456789", repeat=2):
        vocabulary.setdefault(first + second, len(vocabulary))
        if (first, second) not in known:
            merges.append((first, second))
    return models.BPE(vocab=vocabulary, merges=merges, unk_token=UNKNOWN)
