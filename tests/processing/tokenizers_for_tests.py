"""Tokenizers of the kinds that seq2seq models bring, trained on a few words."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from peft_pod.processing import train_tokenizer

TEXTS = [
    "user_ item_ took and takes next , because the soap smells of mint . a soft towel ; why ?",
    "After a while , what will user_ pick ? item_12 item_07 item_345 user_9",
] * 5


def byte_level() -> PreTrainedTokenizerBase:
    """Like BART's: the space belongs to the word after it, `<s>` in front and `</s>` behind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def unigram() -> PreTrainedTokenizerBase:
    """Like T5's: SentencePiece-style unigram with a leading `▁`, `</s>` behind."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        initial_alphabet=[*"0123456789"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def own() -> PreTrainedTokenizerBase:
    """The library's offline default."""
    return train_tokenizer(TEXTS, 300)


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "own": own,
    "unigram": unigram,
    "byte-level": byte_level,
}
