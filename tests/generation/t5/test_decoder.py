"""Trees that are pruned, against the same trees that are not."""

from __future__ import annotations

import pytest
import torch

from peft_pod.generation.t5 import T5Inference

from ..models import VOCABULARY, make_inputs, make_model


@pytest.mark.parametrize("kind", ["t5", "umt5"])
def test_a_pruned_tree_grows_as_the_whole_tree_does(kind):
    model = make_model(kind, "frozen")
    with torch.no_grad():
        encoded = T5Inference(model).encode(make_inputs(model))
        whole, pruned = encoded.tree(), encoded.tree()
        rows = torch.arange(whole.batch_size)
        generator = torch.Generator().manual_seed(0)

        def draw(most, width):
            return torch.randint(most, (len(rows), width), generator=generator)

        in_whole = in_pruned = torch.full((len(rows), 1), -1)
        for step in range(25):
            tokens = draw(VOCABULARY, in_whole.shape[1])
            expected, found = whole.grow(tokens, in_whole), pruned.grow(tokens, in_pruned)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
            if step == 12:
                # Inputs that are done leave the batch.
                rows = rows[1:]
                left = torch.arange(1, whole.batch_size)
                whole.keep(left)
                pruned.keep(left)
            width = tokens.shape[1]
            # The beams of an input go on from few of those before, or all from their own.
            chosen = draw(width, 5) if step % 4 else draw(width, 1).expand(-1, 5)
            in_whole, in_pruned = whole.size - width + chosen, pruned.prune(pruned.size - width + chosen)
    assert whole.size == 1 + 24 * 5
    assert pruned.size < whole.size / 2
