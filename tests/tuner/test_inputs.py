"""Arguments that do not fit the input are errors, where a base would cut or stretch them without a word."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model

from .models import ARCHITECTURES, make_base, make_batch, make_config


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
@pytest.mark.parametrize("shape", [(3, 10), (3, 6), (1, 7), (7,), (3, 7, 7)])
def test_masks_of_another_shape_are_refused(architecture, shape):
    """Such as one that the caller has extended by the prompts already: three and seven are ten."""
    model = get_peft_model(make_base(architecture), make_config())
    batch = make_batch(model)
    mask = torch.ones(shape, dtype=torch.long)
    with pytest.raises(ValueError, match=r"attention_mask has shape .*, but the input \(3, 7\)"):
        model(**{**batch, "attention_mask": mask})
    del batch["labels"]
    with pytest.raises(ValueError, match="attention_mask has shape"):
        model.generate(**{**batch, "attention_mask": mask}, max_new_tokens=2)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32])
def test_masks_of_other_types_are_the_same_mask(dtype):
    model = get_peft_model(make_base("t5"), make_config())
    batch = make_batch(model, "right")
    expected = model(**batch).logits
    assert torch.equal(model(**{**batch, "attention_mask": batch["attention_mask"].to(dtype)}).logits, expected)


def test_whole_word_ids_are_whole_numbers():
    model = get_peft_model(make_base("t5"), make_config())
    batch = make_batch(model)
    words = batch["whole_word_ids"]
    for dtype in (torch.float32, torch.bool):
        with pytest.raises(ValueError, match=f"whole_word_ids must hold whole numbers, got a tensor of {dtype}"):
            model(**{**batch, "whole_word_ids": words.to(dtype)})
    expected = model(**batch).logits
    for dtype in (torch.uint8, torch.int16, torch.int32):
        assert torch.equal(model(**{**batch, "whole_word_ids": words.to(dtype)}).logits, expected)
