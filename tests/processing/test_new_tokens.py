"""IDs that are written with tokens of their own."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor, WordTokenizer, add_new_tokens, train_tokenizer
from peft_pod.tasks import SequentialTask, load_task

from ..corpora import hand_made_corpus
from .tokenizers_for_tests import TEXTS, TOKENIZERS

WORDS = ["<a_1>", "<a_12><b_7>", "<a_1><b_7>", "<user_3>"]
TOKENS = ["<a_1>", "<a_12>", "<b_7>", "<user_3>"]


def split_first():
    """As T5's in transformers 5: cut at spaces first; and lower-cased, as some are."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


KINDS = {**TOKENIZERS, "split-first": split_first}
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def test_a_whole_word_that_the_tokenizer_would_cut_is_refused():
    with pytest.raises(ValueError, match=r"the ID 'Mint▁Soap' cannot be one token.*Choose another separator"):
        train_tokenizer(TEXTS, 300, whole_words=["Mint_Soap", "Mint▁Soap"])


@every_kind
def test_each_token_is_written_as_itself_wherever_it_stands(kind, tmp_path):
    tokenizer = KINDS[kind]()
    size = len(tokenizer)
    assert add_new_tokens(tokenizer, TOKENS) == 4
    assert add_new_tokens(tokenizer, TOKENS) == 0
    assert len(tokenizer) == size + 4
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        number = dict(zip(TOKENS, one.convert_tokens_to_ids(TOKENS), strict=True))
        words = WordTokenizer(one)
        for first in (True, False):
            assert words.encode("<a_1>", first=first) == (number["<a_1>"],)
            assert words.encode("<a_12><b_7>", first=first) == (number["<a_12>"], number["<b_7>"])
            assert words.encode("<user_3>", first=first) == (number["<user_3>"],)


@every_kind
@pytest.mark.parametrize(
    "text", ["<user_3> <a_12><b_7> <a_1><b_7>", "after <a_1> , what will <user_3> pick ?", "soap <a_1> took <a_1>"]
)
def test_word_by_word_equals_the_whole_text(kind, text):
    tokenizer = KINDS[kind]()
    add_new_tokens(tokenizer, TOKENS)
    words = WordTokenizer(tokenizer)
    pieces = [words.encode(word, first=place == 0) for place, word in enumerate(text.split())]
    together = [*words.prefix, *(token for piece in pieces for token in piece), *words.suffix]
    assert together == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("whole_words", [(), ("user_12",)])
def test_own_tokenizer_has_the_tokens_and_all_else_as_before(whole_words):
    before = train_tokenizer(TEXTS, 300, whole_words=whole_words)
    tokenizer = train_tokenizer(TEXTS, 300, whole_words=whole_words, token_words=WORDS)
    for word, tokens in {
        "<a_1>": ["▁<a_1>"],
        "<a_12><b_7>": ["▁<a_12>", "<b_7>"],
        "<user_3>": ["▁<user_3>"],
    }.items():
        assert tokenizer.tokenize(word) == tokens
        assert tokenizer.tokenize(f"took {word} ,") == ["▁took", *tokens, "▁,"]
    assert len(tokenizer) == len(before) + 4
    for text in [*TEXTS[:2], "user_12 item_0345 1 < 2 > 3 <"]:
        assert tokenizer.tokenize(text) == before.tokenize(text)
    text = "took <a_12><b_7> soap"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_a_large_vocabulary_takes_seconds(tmp_path):
    words = [f"<a_{number}>" for number in range(40_000)]
    start = time.perf_counter()
    tokenizer = train_tokenizer(TEXTS, 300, token_words=words)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    WordTokenizer(loaded).learn(words)
    assert time.perf_counter() - start < 20
    assert loaded.tokenize("<a_39999>") == ["▁<a_39999>"]


@pytest.fixture(scope="module")
def split():
    return hand_made_corpus().split()


@pytest.mark.parametrize("kind", [*KINDS, "scratch"])
@pytest.mark.parametrize("users", ["index", "tokens", "none"])
def test_inputs_hold_the_tokens_of_each_id(split, kind, users):
    indexing = load_indexing("collaborative", branching=2, users=users).fit(split.train)
    if kind == "scratch":
        named = [word for word in indexing.user_words if users == "index"]
        tokens = [*indexing.item_words, *(word for word in indexing.user_words if users == "tokens")]
        tokenizer = train_tokenizer(TEXTS, 300, whole_words=named, token_words=tokens)
    else:
        tokenizer = KINDS[kind]()
        add_new_tokens(tokenizer, indexing.tokens())
    processor = PODProcessor(tokenizer, indexing, [load_task("sequential")])
    sample = SequentialTask().evaluation_samples(split, "test")[1]
    encoded = processor(sample, "sequential")
    assert encoded["input_ids"] == tokenizer(processor.text(sample))["input_ids"]
    history = list(sample.items["history"])
    shift = 0 if users == "none" else 1
    assert max(encoded["whole_word_ids"]) == len(history) + shift
    for place, item in enumerate(history, 1 + shift):
        pairs = zip(encoded["input_ids"], encoded["whole_word_ids"], strict=True)
        tokens = [token for token, whole in pairs if whole == place]
        assert tokens == list(processor.item_tokens()[item])
        assert tokenizer.decode(tokens).replace(" ", "") == indexing.item_word(item)
    assert encoded["labels"][:-1] == list(processor.item_tokens()[sample.target_item])
    new = {token for item in processor.item_tokens() for token in item}
    assert new <= set(processor.new_token_ids())
    assert len(processor.new_token_ids()) == len(indexing.tokens())


@every_kind
def test_a_tokenizer_without_the_tokens_is_refused(split, kind):
    with pytest.raises(ValueError, match=r"the tokenizer lacks the tokens of the ID '<a_\d>.*add_new_tokens"):
        PODProcessor(KINDS[kind](), load_indexing("atomic").fit(split.train), [load_task("sequential")])


def test_a_task_that_knows_nothing_but_the_user_s_name_needs_it(split):
    indexing = load_indexing("random", users="none").fit(split.train)
    with pytest.raises(ValueError, match="the task 'topn' knows nothing of users but their names.*'random'"):
        PODProcessor(TOKENIZERS["own"](), indexing, [load_task("sequential"), load_task("topn")])


def test_every_template_works_without_users(split):
    indexing = load_indexing("random", users="none").fit(split.train)
    processor = PODProcessor(TOKENIZERS["own"](), indexing, [load_task("sequential"), load_task("explanation")])
    for task in processor.tasks:
        sample = task.evaluation_samples(split, "test")[0]
        for template in (*task.templates, task.bare):
            one = replace(sample, template=template)
            encoded = processor(one, task.name)
            assert encoded["input_ids"] == processor.tokenizer(processor.text(one))["input_ids"]
            assert "user_" not in processor.text(one)
            assert max(encoded["whole_word_ids"]) == sum(map(len, sample.items.values()))
