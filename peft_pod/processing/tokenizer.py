"""The offline default, a small tokenizer trained on the corpus itself; and new tokens for those of base models."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from peft_pod.indexing.tokens import word_tokens

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
DIGIT_PAIRS = 100

_DIGITS = r"\d\d?"
_TOKEN = r"▁?<[^<>▁]+>"


def train_tokenizer(
    texts: Iterable[str],
    vocabulary_size: int = 4000,
    *,
    whole_words: Iterable[str] = (),
    token_words: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """Train a byte-pair tokenizer, T5-like: words keep their leading space, texts end in `</s>`.

    IDs are written in one of three ways. Words given as `whole_words` are one token each, which makes inputs short and
    is by far the quickest to learn from random weights. Without them, numbers are cut into pairs of digits, and every
    pair is one token: `item_0345` becomes `item_`, `03`, `45`, so that the vocabulary does not grow with the corpus and
    numbers that lie close share their first pairs. And words given as `token_words`, such as `<a_12><b_7>`, are written
    with the tokens that they show.

    Args:
        texts: what to learn from, such as templates, titles and sentences.
        vocabulary_size: the most tokens, besides `whole_words` and the tokens of `token_words`; letters and digits are
            always among them.
        whole_words: words that are one token each.
        token_words: words that are made of tokens in angle brackets.

    Raises:
        ValueError: one of `whole_words` holds U+2581, which stands for a space here, so that it would be cut.

    Example:
        >>> train_tokenizer(["user_ item_ take the next"] * 9).tokenize("item_0345")
        ['▁item_', '03', '45']
        >>> train_tokenizer(["take the next"] * 9, whole_words=["item_0345"]).tokenize("item_0345")
        ['▁item_0345']
        >>> train_tokenizer(["take the next"] * 9, token_words=["<a_12><b_7>"]).tokenize("<a_12><b_7>")
        ['▁<a_12>', '<b_7>']
    """
    whole_words, tokens = list(whole_words), _placed_tokens(token_words)
    for word in whole_words:
        if "▁" in word:
            raise ValueError(
                f"the ID {word!r} cannot be one token: '▁' (U+2581) stands for a space in this tokenizer, which would "
                'cut it there. Choose another separator, such as "_", or write IDs in pieces (id_tokens="pieces")'
            )
    split: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Metaspace()]
    isolated = [pattern for pattern, used in ((_TOKEN, tokens), (_DIGITS, not whole_words)) if used]
    if isolated:
        split.append(pre_tokenizers.Split(Regex("|".join(isolated)), "isolated"))
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
    if not whole_words:
        tokenizer.model = _with_digit_pairs(tokenizer)
    if whole_words or tokens:
        tokenizer.model = _with_tokens(tokenizer, [*(f"▁{word}" for word in whole_words), *tokens])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, tokenizer.token_to_id(EOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, model_max_length=10**6
    )


def _trained(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(first, second) for first, second in model["merges"]]


def _placed_tokens(words: Iterable[str]) -> list[str]:
    """The tokens of words, each once; the first one of a word holds the space before it."""
    found: dict[str, None] = {}
    for word in words:
        first, *others = word_tokens(word)
        found.update(dict.fromkeys([f"▁{first}", *others]))
    return list(found)


def _with_tokens(tokenizer: Tokenizer, tokens: list[str]) -> models.BPE:
    """The trained model with more tokens."""
    vocabulary, merges = _trained(tokenizer)
    for token in tokens:
        vocabulary.setdefault(token, len(vocabulary))
    # What is a token as it stands is not put together by merges.
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


def add_new_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Iterable[str]) -> int:
    """Give a base's tokenizer new tokens that IDs are made of, so that each is written as exactly itself.

    A space before one belongs to it, since the token after a space would otherwise be a lone space; and the tokenizer's
    normalisation leaves it as it is.

    Args:
        tokenizer: changed in place.
        tokens: new tokens; those that it has stay as they are.

    Returns:
        How many were added.

    Example:
        >>> tokenizer = train_tokenizer(["take the next"] * 9)
        >>> add_new_tokens(tokenizer, ["<a_12>", "<b_7>"])
        2
        >>> tokenizer.tokenize("take <a_12><b_7> next")
        ['▁take', ' <a_12>', '<b_7>', '▁next']
    """
    known = tokenizer.get_vocab()
    new = [AddedToken(token, lstrip=True, normalized=False) for token in tokens if token not in known]
    return int(tokenizer.add_tokens(new)) if new else 0
