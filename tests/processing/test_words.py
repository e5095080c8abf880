"""Many words at once: the same tokens as each word by itself."""

from __future__ import annotations

import random

import pytest

from peft_pod.corpus import load_corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor, WordTokenizer, add_new_tokens, train_tokenizer, words
from peft_pod.tasks import load_task

from .tokenizers_for_tests import TEXTS, TOKENIZERS


def with_new_tokens():
    tokenizer = TOKENIZERS["unigram"]()
    add_new_tokens(tokenizer, [f"<a_{number}>" for number in range(20)])
    return tokenizer


def with_tokens_of_its_own():
    return train_tokenizer(TEXTS, 300, token_words=[f"<a_{number}>" for number in range(20)])


KINDS = {**TOKENIZERS, "new tokens": with_new_tokens, "tokens of its own": with_tokens_of_its_own}


FORMS = ["item_{}", "user_{}", "Mint_Soap_{}", "<a_1><a_{}>", "é{}", "ﬁne_{}", "{}"]


def many_words(rng, count=400):
    made = set()
    while len(made) < count:
        number = rng.randint(0, 10 ** rng.randint(1, 6))
        made.add(
            rng.choice(["item_{}", "user_{}", "Mint_Soap_{}", "<a_1><a_{}>", "é{}", "ﬁne_{}", "{}"]).format(number)
        )
    return rng.sample(sorted(made), count)


@pytest.mark.parametrize("pack", [1, 7, 500])
@pytest.mark.parametrize("kind", KINDS)
def test_words_in_packs_get_the_tokens_that_each_has_alone(kind, pack, monkeypatch):
    monkeypatch.setattr(words, "_PACK", pack)
    tokenizer = KINDS[kind]()
    listed = many_words(random.Random(kind))
    found = WordTokenizer(tokenizer)
    found.learn(listed)
    found.learn(listed, first=True)
    probe = tokenizer("a", add_special_tokens=False)["input_ids"]
    for word in listed:
        after = tokenizer(f"a {word}", add_special_tokens=False)["input_ids"]
        assert [*probe, *found.encode(word)] == after
        assert list(found.encode(word, first=True)) == tokenizer(word, add_special_tokens=False)["input_ids"]


def test_a_tokenizer_that_treats_packs_otherwise_is_asked_word_by_word(monkeypatch):
    listed = many_words(random.Random(0), 30)
    expected = WordTokenizer(TOKENIZERS["own"]())
    monkeypatch.setattr(WordTokenizer, "_in_packs", lambda self, texts: [(0,)] * len(texts))
    found = WordTokenizer(TOKENIZERS["own"]())
    found.learn(listed)
    assert [found.encode(word) for word in listed] == [expected.encode(word) for word in listed]


def test_tokens_of_items_are_asked_for_in_one_go(monkeypatch):
    train = load_corpus("embedded", num_users=20, num_items=60).split().train
    processor = PODProcessor(TOKENIZERS["byte-level"](), load_indexing("random").fit(train), [load_task("sequential")])
    calls = []
    original = type(processor.tokenizer).__call__
    monkeypatch.setattr(
        type(processor.tokenizer),
        "__call__",
        lambda self, *given, **named: calls.append(1) or original(self, *given, **named),
    )
    found = processor.item_tokens()
    assert len(calls) == 1
    alone = [processor.tokenizer(word, add_special_tokens=False)["input_ids"] for word in processor.indexing.item_words]
    assert [list(tokens) for tokens in found] == alone
