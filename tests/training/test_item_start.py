from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration, set_seed

from peft_pod.corpus import load_corpus
from peft_pod.indexing import collaborative_vectors, load_indexing
from peft_pod.processing import PODProcessor, train_tokenizer
from peft_pod.tasks import load_task
from peft_pod.training import build_model, build_tokenizer, load_base_model, start_items


@pytest.fixture(scope="module")
def train():
    return load_corpus("embedded", num_users=40, num_items=60).split().train


def make_processor(train, id_tokens="whole"):
    indexing, tasks = load_indexing("random").fit(train), [load_task("sequential")]
    return PODProcessor(
        build_tokenizer("scratch:tiny", train, indexing, tasks, vocabulary_size=300, id_tokens=id_tokens),
        indexing,
        tasks,
    )


def test_items_start_from_the_vectors_and_other_tokens_as_they_were(train):
    processor = make_processor(train)
    before = load_base_model("scratch:tiny", processor.tokenizer).get_input_embeddings().weight.detach()
    model = build_model("scratch:tiny", processor, train=train, item_start="collaborative")
    after = model.get_base_model().get_input_embeddings().weight.detach()
    vectors = collaborative_vectors(train, 64)

    tokens = processor.tokenizer.convert_tokens_to_ids([f"▁{word}" for word in processor.indexing.item_words])
    known = np.flatnonzero(vectors.any(axis=1))
    scale = before[tokens].square().mean().sqrt()
    torch.testing.assert_close(
        after[tokens][known], scale * torch.from_numpy(vectors[known]).float(), rtol=1e-4, atol=1e-6
    )
    unknown = np.setdiff1d(np.arange(60), known)
    torch.testing.assert_close(after[tokens][unknown], before[tokens][unknown])

    others = torch.ones(len(after), dtype=torch.bool)
    others[tokens] = False
    assert others.sum() > 100
    torch.testing.assert_close(after[others], before[others])


def test_by_default_the_start_is_random(train):
    processor = make_processor(train)
    base = load_base_model("scratch:tiny", processor.tokenizer, seed=3)
    model = build_model("scratch:tiny", processor, seed=3)
    torch.testing.assert_close(model.get_base_model().get_input_embeddings().weight, base.get_input_embeddings().weight)


def test_ids_of_several_tokens_are_refused(train):
    with pytest.raises(ValueError, match=r"the ID 'item_\d+' is written with 2 tokens, and vectors can only start"):
        build_model("scratch:tiny", make_processor(train, "pieces"), train=train, item_start="collaborative")


def test_vectors_need_a_training_part(train):
    with pytest.raises(
        ValueError, match="item_start='collaborative' makes vectors of the training part and needs train="
    ):
        build_model("scratch:tiny", make_processor(train), item_start="collaborative")
    with pytest.raises(ValueError, match=r"item_start must be one of .*, got 'best'"):
        build_model("scratch:tiny", make_processor(train), train=train, item_start="best")


def test_vectors_that_do_not_fit_are_refused(train):
    processor = make_processor(train)
    base = load_base_model("scratch:tiny", processor.tokenizer)
    with pytest.raises(ValueError, match=r"vectors has shape \(60, 5\), but there are 60 items.* 64 numbers"):
        start_items(base, processor, collaborative_vectors(train, 5))


def save_t5(folder, tokenizer, spare_rows=0):
    set_seed(1)
    config = T5Config(
        vocab_size=len(tokenizer) + spare_rows, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    base = T5ForConditionalGeneration(config)
    base.get_input_embeddings().weight.data[len(tokenizer) :] = 0
    base.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_spare_rows_of_zeros_get_the_scale_of_all_embeddings(train, tmp_path):
    base = save_t5(tmp_path, train_tokenizer(["take the next user_ item_"] * 9, 300), spare_rows=128)
    indexing, tasks = load_indexing("atomic", users="none").fit(train), [load_task("sequential")]
    processor = PODProcessor(build_tokenizer(base, train, indexing, tasks), indexing, tasks)
    before = load_base_model(base, processor.tokenizer).get_input_embeddings().weight.detach()
    assert not before[processor.new_token_ids()].any()
    model = build_model(base, processor, train=train, item_start="collaborative", train_base=True)
    after = model.get_base_model().get_input_embeddings().weight.detach()
    known = collaborative_vectors(train, 16).any(axis=1)
    rows = after[[tokens[0] for tokens in processor.item_tokens()]][torch.from_numpy(known)]
    assert rows.square().mean().sqrt().item() == pytest.approx(before.square().mean().sqrt().item(), rel=1e-4)


def test_rows_of_a_frozen_base_that_would_not_be_saved_are_left_alone(train, tmp_path):
    """Its tokenizer has each ID as one token already, so no row is new, and none is saved with the adapter."""
    processor = make_processor(train)
    base = save_t5(tmp_path, processor.tokenizer)
    with pytest.raises(ValueError, match=r"changes embeddings of base model .*, which is frozen, .*train_base=True"):
        build_model(base, processor, train=train, item_start="collaborative")
    build_model(base, processor, train=train, item_start="collaborative", train_base=True)
    rows = [tokens[0] for tokens in processor.item_tokens()]
    build_model(base, processor, train=train, item_start="collaborative", trainable_token_indices=rows)


def test_a_base_from_scratch_comes_back_from_its_config(train, tmp_path):
    """T5 1.1's unscaled output must survive config.json: with it scaled, a loaded model would answer differently."""
    processor = make_processor(train)
    base = load_base_model("scratch:tiny", processor.tokenizer).eval()
    base.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert loaded.config.scale_decoder_outputs is False
    tokens = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(
        loaded(input_ids=tokens, labels=tokens).logits, base(input_ids=tokens, labels=tokens).logits
    )


def test_first_predictions_are_near_uniform(train):
    """The start of the embeddings is chosen so that the first loss is about that of guessing."""
    processor = make_processor(train)
    base = load_base_model("scratch:mini", processor.tokenizer).eval()
    tokens = torch.randint(3, len(processor.tokenizer), (16, 12), generator=torch.Generator().manual_seed(0))
    loss = base(input_ids=tokens, labels=tokens).loss.item()
    assert loss == pytest.approx(np.log(len(processor.tokenizer)), abs=1.0)
