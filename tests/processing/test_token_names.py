from __future__ import annotations

import pytest

from peft_pod.corpus import load_corpus
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor
from peft_pod.processing.token_names import TokenNames
from peft_pod.tasks import load_task
from peft_pod.training import build_tokenizer


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=30, num_items=40).split()


def make(split, scheme, titles=None, id_tokens="whole", **options):
    indexing, tasks = load_indexing(scheme, **options).fit(split.train), [load_task("sequential")]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400, id_tokens=id_tokens)
    return TokenNames(PODProcessor(tokenizer, indexing, tasks), titles or split.train.item_titles)


@pytest.mark.parametrize("scheme", ["sequential", "atomic"])
def test_a_token_that_is_an_item_has_its_title(split, scheme):
    names = make(split, scheme)
    for item, tokens in enumerate(names.processor.item_tokens()):
        (token,) = tokens
        assert names(token) == f"“{split.train.item_titles[item]}”"


def test_shared_tokens_say_how_many_items_have_them(split):
    names = make(split, "hybrid", clusters=4)
    clusters = [tokens[0] for tokens in names.processor.item_tokens()]
    for item, (cluster, own) in enumerate(names.processor.item_tokens()):
        assert names(cluster).endswith(f"({clusters.count(cluster)} items)")
        assert names(own) == f"“{split.train.item_titles[item]}”"


def test_pieces_of_words_are_as_the_tokenizer_writes_them(split):
    names = make(split, "sequential", id_tokens="pieces")
    tokenizer = names.processor.tokenizer
    assert [names(token) for token in range(len(names))] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


def test_an_item_without_a_title_has_its_word(split):
    names = make(split, "sequential", [""] * 40)
    ((token,), *_) = names.processor.item_tokens()
    assert names(token) == names.processor.indexing.item_word(0)


def test_what_is_refused(split):
    names = make(split, "sequential")
    with pytest.raises(ValueError, match="there is no token -1"):
        names(-1)
    with pytest.raises(ValueError, match="titles has 1 entries for 40 items"):
        TokenNames(names.processor, ["one"])
