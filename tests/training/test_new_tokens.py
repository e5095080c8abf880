"""Models whose IDs are tokens that the base did not have."""

from __future__ import annotations

import string
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    set_seed,
)

from peft_pod.corpus import load_corpus
from peft_pod.corpus.catalogue import Catalogue
from peft_pod.generation import Recommender
from peft_pod.indexing import collaborative_vectors, load_indexing
from peft_pod.indexing.tokens import word_tokens
from peft_pod.processing import PODProcessor, train_tokenizer
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer, load_base_model
from peft_pod.training.base_model import fit_embeddings
from peft_pod.training.item_start import token_starts

from ..processing.tokenizers_for_tests import TEXTS, byte_level

OPTIONS = {"collaborative": {"branching": 4}, "semantic": {"branching": 4, "levels": 2}, "hybrid": {"clusters": 6}}
SCHEMES = ["atomic", *OPTIONS]


@pytest.fixture(scope="module")
def split():
    return load_corpus("embedded", num_users=40, num_items=60).split()


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory):
    """A T5 with a tokenizer that knows no tokens of IDs."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer([*TEXTS, string.ascii_letters], 300)
    set_seed(1)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_processor(split, base, scheme="atomic", **options):
    indexing = load_indexing(scheme, **{**OPTIONS.get(scheme, {}), **options}).fit(split.train)
    tasks = [load_task("sequential")]
    tokenizer = build_tokenizer(base, split.train, indexing, tasks, vocabulary_size=300)
    return PODProcessor(tokenizer, indexing, tasks)


@pytest.mark.parametrize("base", ["scratch:tiny", "folder"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_tokens_start_from_the_vectors_of_the_items_that_have_them(split, base_folder, base, scheme):
    base = base_folder if base == "folder" else base
    processor = make_processor(split, base, scheme)
    before = load_base_model(base, processor.tokenizer).get_input_embeddings().weight.detach()
    model = build_model(base, processor, train=split.train, item_start="collaborative", train_base=True)
    after = model.get_base_model().get_input_embeddings().weight.detach()
    vectors = collaborative_vectors(split.train, after.shape[1])
    known = vectors.any(axis=1)

    words = [word_tokens(word) for word in processor.indexing.item_words]
    numbers = processor.item_tokens()
    assert [len(tokens) for tokens in numbers] == [len(tokens) for tokens in words]
    changed = set()
    replaced = sorted({token for tokens in numbers for token in tokens})
    scale = before[replaced].square().mean().sqrt().item()
    for place in range(len(words[0])):
        means = {}
        for token in {tokens[place] for tokens in words}:
            holders = [item for item, tokens in enumerate(words) if tokens[place] == token and known[item]]
            if holders:
                means[numbers[[tokens[place] for tokens in words].index(token)][place]] = vectors[holders].mean(axis=0)
        expected = np.array(list(means.values()))
        if len(means) < known.sum():  # shared tokens
            expected = expected - vectors[known].mean(axis=0)
        expected *= scale / np.sqrt((expected**2).mean())
        np.testing.assert_allclose(after[list(means)].numpy(), expected, rtol=1e-3, atol=1e-5)
        changed |= set(means)
    others = torch.ones(len(after), dtype=torch.bool)
    others[sorted(changed)] = False
    torch.testing.assert_close(after[others], before[others])


def test_starts_by_hand():
    # Two clusters of two items; the second numbers are shared by one item of each cluster.
    written = [(5, 7), (5, 8), (6, 7), (6, 8)]
    vectors = np.array([[3.0, 1.0], [3.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    tokens, starts = token_starts(written, vectors)
    assert tokens.tolist() == [5, 6, 7, 8]
    # Means less the mean of all, (1, 0): (2, 0), (-2, 0); (0, 1), (0, -1); each pair scaled to a mean square of 1.
    expected = np.sqrt(2) * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    np.testing.assert_allclose(starts, expected, atol=1e-12)


def test_new_rows_are_drawn_like_the_others_and_always_the_same(split, base_folder):
    processor = make_processor(split, base_folder)
    rows = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = AutoModelForSeq2SeqLM.from_pretrained(base_folder)
        size = model.get_input_embeddings().num_embeddings
        model.get_input_embeddings().weight.data[:, 3] += 5
        assert fit_embeddings(model, processor.tokenizer)
        assert not fit_embeddings(model, processor.tokenizer)
        weight = model.get_input_embeddings().weight.detach()
        assert len(weight) == len(processor.tokenizer) == size + 60
        rows.append(weight[size:])
        old = weight[:size]
        assert rows[-1][:, 3].mean().item() == pytest.approx(old[:, 3].mean().item(), abs=0.5)
        assert rows[-1].std(0).mean().item() == pytest.approx(old.std(0).mean().item(), rel=0.1)
    torch.testing.assert_close(rows[0], rows[1])


def train_a_little(model, processor, split):
    samples = load_task("sequential").evaluation_samples(split, "validation")[:6]
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.5)
    for sample in samples:
        encoded = processor(sample, "sequential")
        batch = {name: torch.tensor([value]) for name, value in encoded.items()}
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.parametrize("arguments", [{}, {"r": 2}, {"train_base": True}], ids=["frozen", "lora", "whole"])
def test_new_tokens_are_learned_saved_and_loaded(split, base_folder, tmp_path, arguments):
    """A frozen base learns the rows of the new tokens and no others."""
    processor = make_processor(split, base_folder, "hybrid", users="tokens")
    model = build_model(base_folder, processor, train=split.train, item_start="collaborative", **arguments)
    before = {name: one.detach().clone() for name, one in model.get_base_model().named_parameters()}
    train_a_little(model, processor, split)
    if "train_base" not in arguments:
        new = processor.new_token_ids()
        assert list(model.peft_config["default"].trainable_token_indices) == new
        after = dict(model.get_base_model().named_parameters())
        moved = {name for name in before if not torch.equal(after[name], before[name])}
        assert any("trainable_tokens" in name for name in moved)
        assert all("trainable_tokens" in name or "lora_" in name for name in moved)

    recommender = Recommender(model, processor, Catalogue.from_split(split))
    user = split.train.user_ids[3]
    expected = recommender.recommend(user, k=5)
    recommender.save_pretrained(tmp_path / "model")
    if "train_base" not in arguments:
        saved = load_file(tmp_path / "model" / "adapter_model.safetensors")
        tables = [name for name, one in saved.items() if one.shape[:1] == (len(processor.tokenizer),)]
        assert tables == [], "the rows of new tokens are enough"
    loaded = Recommender.from_pretrained(tmp_path / "model")
    assert loaded.processor.indexing.tokens() == processor.indexing.tokens()
    found = loaded.recommend(user, k=5)
    assert [one.item_id for one in found] == [one.item_id for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-4)


def save_bart(folder, **arguments):
    """A BART with a byte-level tokenizer."""
    tokenizer = byte_level()
    set_seed(1)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, bos_token_id=0, pad_token_id=1,
        eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None, **arguments,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_rows_that_are_trained_beside_a_frozen_base_are_read_wherever_it_reads_tokens(
    split, base_folder, tmp_path, kind
):
    base = base_folder if kind == "t5" else save_bart(tmp_path / "base")
    processor = make_processor(split, base, "atomic", users="tokens")
    model = build_model(base, processor, train=split.train, item_start="collaborative").eval()
    (rows,) = (one for name, one in model.named_parameters() if one.requires_grad and "trainable_tokens" in name)
    sample = load_task("sequential").evaluation_samples(split, "validation")[0]
    encoded = processor(sample, "sequential")
    batch = {name: torch.tensor([value]) for name, value in encoded.items()}
    new = processor.new_token_ids()
    answer, taken = encoded["labels"][0], processor.item_tokens()[sample.items["history"][0]][0]
    (other,) = [token for token in new if token not in (*encoded["input_ids"], *encoded["labels"])][:1]
    assert answer not in encoded["input_ids"]
    old = list(range(3, min(new)))

    def changed_by(token):
        """What a change of its row does to the logits."""
        with torch.no_grad():
            before = model(**batch).logits[0]
            step = torch.randn(16, generator=torch.Generator().manual_seed(0))
            rows[new.index(token)] += step
            after = model(**batch).logits[0]
            rows[new.index(token)] -= step
        return (after - before).abs()

    change = changed_by(other)
    assert change[:, other].min() > 1e-4  # output
    assert change[:, old].max() < 1e-6
    change = changed_by(answer)
    assert change[0, old].max() < 1e-6  # at the first place, the decoder has not read the answer yet
    assert change[1, old].max() > 1e-4
    assert changed_by(taken)[0, old].max() > 1e-5  # the encoder

    recommender = Recommender(model, processor, Catalogue.from_split(split))
    recommender.save_pretrained(tmp_path / "model")
    user = split.train.user_ids[3]
    assert Recommender.from_pretrained(tmp_path / "model").recommend(user, k=60) == recommender.recommend(user, k=60)


def test_a_frozen_base_with_output_embeddings_of_its_own_is_refused(split, tmp_path):
    base = save_bart(tmp_path, tie_word_embeddings=False)
    processor = make_processor(split, base)
    with pytest.raises(ValueError, match=r"has output embeddings of its own.*train_base=True.*form=\"text\""):
        build_model(base, processor)
    model = build_model(base, processor, train_base=True)
    assert model.get_base_model().get_output_embeddings().weight.shape[0] == len(processor.tokenizer)


def test_titles_need_no_tokens_and_cannot_start_from_vectors(split, base_folder):
    processor = make_processor(split, base_folder, "title")
    assert processor.new_token_ids() == []
    build_model(base_folder, processor)
    with pytest.raises(ValueError, match="vectors can only start IDs of one token each or of new tokens"):
        build_model(base_folder, processor, train=split.train, item_start="collaborative")


@pytest.mark.parametrize("id_tokens", ["whole", "pieces"])
def test_titles_of_which_one_begins_the_other_are_all_found(split, id_tokens):
    titles = ["Soap", "Soap Bar", "Soap Bar Mint", "Soap", "Brush", "Brush Soap"]
    train = replace(split.train, item_titles=[*titles, *split.train.item_titles[len(titles) :]])
    indexing, tasks = load_indexing("title").fit(train), [load_task("sequential")]
    tokenizer = build_tokenizer("scratch:tiny", train, indexing, tasks, vocabulary_size=300, id_tokens=id_tokens)
    processor = PODProcessor(tokenizer, indexing, tasks)
    tokens = processor.item_tokens()
    assert (tokens[1][: len(tokens[0])] == tokens[0]) == (id_tokens == "pieces" and indexing.item_words[0] == "Soap")
    recommender = Recommender(build_model("scratch:tiny", processor).eval(), processor, Catalogue.from_split(split))
    ids = split.train.item_ids
    found = recommender.recommend(split.train.user_ids[0], history=[ids[9]], k=60, exclude_seen=False)
    assert sorted(one.item_id for one in found) == sorted(ids)


def test_a_model_that_names_no_users_serves_strangers(split, tmp_path):
    processor = make_processor(split, "scratch:tiny", "atomic", users="none")
    recommender = Recommender(build_model("scratch:tiny", processor).eval(), processor, Catalogue.from_split(split))
    ids = split.train.item_ids
    stranger = recommender.recommend("nobody knows", history=[ids[3], ids[5]], k=4)
    known = recommender.recommend(split.train.user_ids[0], history=[ids[3], ids[5]], k=4)
    assert stranger == known
    with pytest.raises(ValueError, match="user 'nobody knows' is not among"):
        recommender.recommend("nobody knows", k=4)
    named = make_processor(split, "scratch:tiny", "atomic")
    recommender = Recommender(build_model("scratch:tiny", named).eval(), named, Catalogue.from_split(split))
    with pytest.raises(ValueError, match="user 'nobody knows' is not among"):
        recommender.recommend("nobody knows", history=[ids[3]], k=4)


def test_an_item_that_came_later_can_be_recommended(split):
    """Its name is made of tokens that are in use: the model need not be changed."""
    grown = load_corpus("embedded", num_users=40, num_items=64).split()
    processor = make_processor(split, "scratch:tiny", "collaborative")
    model = build_model("scratch:tiny", processor).eval()
    indexing = processor.indexing.extend(grown.train)
    later = PODProcessor(processor.tokenizer, indexing, processor.tasks)
    recommender = Recommender(model, later, Catalogue.from_split(grown))
    new = grown.train.item_ids[60:]
    ids = grown.train.item_ids
    ranked = recommender.rank(grown.train.user_ids[0], candidates=list(new), history=[ids[0]])
    assert {one.item_id for one in ranked} == set(new)
    assert all(np.isfinite(one.score) for one in ranked)
