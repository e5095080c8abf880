from __future__ import annotations

import dataclasses

import pytest
import torch

from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import GenerationSettings, Recommender
from peft_pod.generation.t5.head import Head
from peft_pod.generation.text_constraint import TextConstraint, TextVocabulary
from peft_pod.indexing import load_indexing
from peft_pod.processing import PODProcessor, train_tokenizer
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer

from ..corpora import hand_made_corpus

INF = float("inf")
# Of tokens 0 to 5: padding, end, an ID, a blank, and two of text.
VOCABULARY = TextVocabulary(
    torch.tensor([True, False, True, False, False, False]),
    torch.tensor([True, True, False, True, False, False]),
    eos_token_id=1,
)


def allowed(constraint, written, width=6):
    masked = constraint(torch.tensor([[0, *written]]), torch.arange(float(width))[None])
    kept = [token for token in range(width) if masked[0, token] > -INF]
    assert [masked[0, token].item() for token in kept] == kept  # scores stay as they were
    return kept


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([], [3, 4, 5]),
        ([3], [3, 4, 5]),
        ([3, 3], [3, 4, 5]),
        ([3, 3, 3], [4, 5]),  # the last place, and nothing is written yet
        ([4], [3, 4, 5]),  # too short to end
        ([3, 4], [1, 3, 4, 5]),
        ([4, 3, 3], [1, 3, 4, 5]),
    ],
)
def test_what_may_follow(written, expected):
    assert allowed(TextConstraint(VOCABULARY, min_tokens=2, max_tokens=4), written) == expected


def test_what_the_model_has_beyond_the_tokenizer_is_never_written():
    assert allowed(TextConstraint(VOCABULARY, min_tokens=1, max_tokens=4), [4], width=9) == [1, 3, 4, 5]


def test_rows_do_not_look_at_each_other():
    masked = TextConstraint(VOCABULARY, 1, 4)(torch.tensor([[0, 3], [0, 4]]), torch.zeros(2, 6))
    assert (masked[:, 1] > -INF).tolist() == [False, True]


def test_vocabulary_of_a_tokenizer():
    tokenizer = train_tokenizer(["soft towel"] * 9, whole_words=["item_1"])
    item, lone_space = tokenizer.convert_tokens_to_ids(["▁item_1", "▁"])
    vocabulary = TextVocabulary.of(tokenizer, [item])
    special = {tokenizer.pad_token_id, tokenizer.unk_token_id}
    assert set(vocabulary.forbidden.nonzero().flatten().tolist()) == {item, *special}
    assert set(vocabulary.blank.nonzero().flatten().tolist()) == {lone_space, tokenizer.eos_token_id, *special}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((0, 3), "min_tokens must be a positive whole number, got 0"),
        ((1, 2.0), r"max_tokens must be a positive whole number, got 2\.0"),
        ((True, 2), "min_tokens must be a positive whole number, got True"),
        ((4, 3), "min_tokens=4 is more than max_tokens=3"),
    ],
)
def test_limits_are_checked(limits, message):
    with pytest.raises(ValueError, match=message):
        TextConstraint(VOCABULARY, *limits)


def test_masks_are_checked():
    true, false = torch.tensor([True, True]), torch.tensor([False, False])
    with pytest.raises(ValueError, match="of one shape"):
        TextVocabulary(true, torch.tensor([True]), 1)
    with pytest.raises(ValueError, match="not forbidden; got 1"):
        TextVocabulary(true, false, 1)
    with pytest.raises(ValueError, match="no text can be written"):
        TextVocabulary(false, true, 1)
    with pytest.raises(ValueError, match="the tokenizer has 6 tokens, but the model only 5"):
        TextConstraint(VOCABULARY, 1, 2)(torch.tensor([[0]]), torch.zeros(1, 5))


# A model with rigged logits


@pytest.fixture(params=["fast", "generate"])
def method(request):
    return request.param


def make_recommender(indexing_name="random", id_tokens="whole", method="auto", beams=7, **indexing_options):
    split = hand_made_corpus().split()
    indexing = load_indexing(indexing_name, **indexing_options).fit(split.train, seed=1)
    tasks = [load_task("explanation")]
    tokenizer = build_tokenizer("scratch:tiny", split.train, indexing, tasks, vocabulary_size=400, id_tokens=id_tokens)
    processor = PODProcessor(tokenizer, indexing, tasks)
    model = build_model("scratch:tiny", processor, num_virtual_tokens=2, max_whole_words=16, train_base=True)
    settings = GenerationSettings(batch_size=2, method=method, text_beams=beams)
    return Recommender(model.eval(), processor, Catalogue.from_split(split), settings)


class RiggedHead(Head):
    """Adds numbers to logits."""

    def __init__(self, rows, dtype, added):
        super().__init__(rows, dtype)
        self.added = added

    def __call__(self, states):
        return super().__call__(states) + self.added


def rig(recommender, biases, monkeypatch):
    """Add numbers to the logits of tokens, whatever the input is."""
    added = torch.zeros(recommender.model.config.vocab_size)
    for token, bias in biases.items():
        added[token] = bias
    inference = recommender.engine.text_search.inference
    if inference is None:
        head = recommender.model.get_base_model().lm_head
        monkeypatch.setattr(head, "forward", lambda states: type(head).forward(head, states) + added)
    else:
        weights = inference.weights()
        rigged = dataclasses.replace(weights, head=RiggedHead(weights.head.rows, weights.dtype, added))
        monkeypatch.setattr(inference, "weights", lambda: rigged)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("random", {}), ("random", {"users": "tokens"}), ("semantic", {}), ("atomic", {"users": "tokens"})],
)
def test_ids_are_not_written_though_the_model_wants_to(kind, options, beams, method, monkeypatch):
    if kind == "semantic":
        pytest.importorskip("sklearn")
        options = {}
    recommender = make_recommender(kind, method=method, beams=beams, **options)
    processor, tokenizer = recommender.processor, recommender.processor.tokenizer
    ids = processor.id_token_ids()
    words = [*processor.indexing.item_words, *processor.indexing.user_words]
    rig(recommender, dict.fromkeys(ids, 50.0), monkeypatch)
    samples = [processor.task("explanation").query(0, item) for item in range(6)]
    texts = recommender.engine.write_text(samples, "explanation", max_tokens=6)
    for text in texts:
        assert text
        assert not any(word in text for word in words)
    if method == "fast":
        return
    # The rigged model does write them where nothing constrains it.
    batch = {name: torch.tensor([value]) for name, value in processor(samples[0], "explanation").items()}
    free = recommender.model.generate(**batch, max_new_tokens=3, num_beams=beams, do_sample=False)
    assert set(free[0, 1:].tolist()) & set(ids)
    assert tokenizer.decode(free[0], skip_special_tokens=True) not in texts


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("wanted", ["</s>", "<pad>", "<unk>", "▁"])
def test_a_text_is_never_empty(wanted, beams, method, monkeypatch):
    recommender = make_recommender(method=method, beams=beams)
    token = recommender.processor.tokenizer.convert_tokens_to_ids(wanted)
    rig(recommender, {token: 60.0}, monkeypatch)
    texts = recommender.explain(["ann", "bob", "cat"], ["a", "b", "f"], max_tokens=4)
    assert all(text.strip() for text in texts)
    assert all("<" not in text for text in texts)


def count_written(recommender, **limits):
    """How many tokens a text has before it ends."""
    seen = []
    engine = recommender.engine
    search = engine.text_search

    def watched(*args, **kwargs):
        texts = search(*args, **kwargs)
        end = recommender.processor.tokenizer.eos_token_id
        row = texts.tokens[0].tolist()
        seen.append(row.index(end) if end in row else len(row))
        return texts

    engine.text_search = watched
    recommender.explain("ann", "a", **limits)
    engine.text_search = search
    return seen[0]


@pytest.mark.parametrize("beams", [1, 7])
def test_length_limits_hold(beams, method, monkeypatch):
    recommender = make_recommender(method=method, beams=beams)
    end = recommender.processor.tokenizer.eos_token_id
    with monkeypatch.context() as patch:
        rig(recommender, {end: 60.0}, patch)
        assert count_written(recommender) == 1
        assert count_written(recommender, min_tokens=5) == 5
    rig(recommender, {end: -60.0}, monkeypatch)
    assert count_written(recommender, max_tokens=3) == 3
    assert count_written(recommender) == recommender.processor.max_target_length
    with pytest.raises(ValueError, match="min_tokens=9 is more than max_tokens=3"):
        recommender.explain("ann", "a", min_tokens=9, max_tokens=3)


def test_a_base_that_wants_to_end_at_the_last_place_still_writes(method):
    recommender = make_recommender(method=method)
    recommender.model.get_base_model().generation_config.forced_eos_token_id = (
        recommender.processor.tokenizer.eos_token_id
    )
    assert recommender.explain("ann", "a", max_tokens=1)


def test_ids_in_pieces_forbid_nothing_but_special_tokens():
    recommender = make_recommender(id_tokens="pieces")
    tokenizer = recommender.processor.tokenizer
    assert recommender.processor.id_token_ids() == []
    forbidden = set(recommender.engine.text_vocabulary.forbidden.nonzero().flatten().tolist())
    assert forbidden == {tokenizer.pad_token_id, tokenizer.unk_token_id}


def test_a_title_of_one_word_stays_text():
    recommender = make_recommender("title")
    tokenizer = recommender.processor.tokenizer
    assert "Soap" in recommender.processor.indexing.item_words
    soap = tokenizer.convert_tokens_to_ids("▁Soap")
    ids = recommender.processor.id_token_ids()
    assert soap not in ids
    assert set(tokenizer.convert_ids_to_tokens(ids)) == {
        f"▁{word}" for word in recommender.processor.indexing.user_words
    }
