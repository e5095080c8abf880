from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from peft import get_peft_model
from sklearn.decomposition import PCA

from peft_pod.tuner.prompt_reading import (
    chance_cosines,
    in_the_plane,
    nearest_tokens,
    prompt_vectors,
    token_embeddings,
)

from .architectures import ARCHITECTURES, VOCABULARY
from .models import make_base, make_config


def test_nearest_tokens_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    vectors, embeddings = rng.normal(size=(7, 5)), rng.normal(size=(40, 5))
    found = nearest_tokens(torch.tensor(vectors), torch.tensor(embeddings), n=3)
    for vector, tokens, cosines in zip(vectors, found.tokens.tolist(), found.cosines.tolist(), strict=True):
        angles = [
            sum(a * b for a, b in zip(vector, row, strict=True)) / math.hypot(*vector) / math.hypot(*row)
            for row in embeddings
        ]
        expected = sorted(range(40), key=lambda token: -angles[token])[:3]
        assert tokens == expected
        assert cosines == pytest.approx([angles[token] for token in expected], abs=1e-6)


def test_a_row_of_zeros_is_near_to_nothing():
    found = nearest_tokens(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1.0, 1.0]]), n=9)
    assert found.tokens.tolist() == [[2, 0, 1]]
    assert found.cosines.tolist()[0] == pytest.approx([math.sqrt(0.5), 0.0, -1.0])


def test_what_is_refused():
    with pytest.raises(ValueError, match="n is 0"):
        nearest_tokens(torch.ones(1, 2), torch.ones(1, 2), n=0)
    with pytest.raises(ValueError, match="differ in width"):
        nearest_tokens(torch.ones(1, 2), torch.ones(1, 3), n=1)


def test_the_plane_is_that_of_sklearn():
    vectors = torch.tensor(np.random.default_rng(1).normal(size=(12, 6)), dtype=torch.float32)
    points, shares = in_the_plane(vectors)
    pca = PCA(2).fit(vectors.numpy())
    assert shares == pytest.approx(pca.explained_variance_ratio_.tolist(), abs=1e-6)
    expected = pca.transform(vectors.numpy())
    for axis in (0, 1):
        assert points[:, axis].abs().numpy() == pytest.approx(abs(expected[:, axis]), abs=1e-5)
        assert points[points[:, axis].abs().argmax(), axis] > 0
    distances = torch.cdist(points, points)
    assert distances.numpy() == pytest.approx(torch.cdist(*[torch.tensor(expected)] * 2).numpy(), abs=1e-5)


def test_a_plane_of_one_vector():
    assert in_the_plane(torch.tensor([[1.0, 2.0]]))[0].tolist() == [[0.0, 0.0]]
    assert in_the_plane(torch.ones(3, 2))[1] == [0.0, 0.0]


def test_chance_is_what_a_random_direction_has():
    """In two dimensions the angle to the nearer of two opposite vectors is uniform from 0 to 90 degrees."""
    found = chance_cosines(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    assert found.quantile(0.5).item() == pytest.approx(math.cos(math.pi / 4), abs=0.06)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert torch.equal(found, chance_cosines(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])))


@pytest.mark.parametrize("name", ["t5", "bart", "pegasus", "t5gemma"])
def test_embeddings_are_those_that_the_encoder_sees(name):
    base = ARCHITECTURES[name].make()
    table = base.get_submodule(ARCHITECTURES[name].embedding).weight.detach().float()
    found = token_embeddings(base, VOCABULARY - 3)
    assert torch.allclose(found, table[: VOCABULARY - 3] * ARCHITECTURES[name].scale, atol=1e-6)


def test_trained_rows_are_read():
    model = get_peft_model(make_base("t5"), make_config(trainable_token_indices=[5, 9]))
    before = token_embeddings(model.get_base_model(), VOCABULARY)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "trainable_tokens_delta" in name:
                parameter.add_(1.0)
    changed = (token_embeddings(model.get_base_model(), VOCABULARY) - before).abs().sum(dim=1)
    assert changed.nonzero().flatten().tolist() == [5, 9]


def test_prompts_by_task():
    model = get_peft_model(make_base("t5"), make_config())
    tasks, prompts = prompt_vectors(model)
    assert tasks == ["sequential", "topn", "explanation"]
    assert prompts.shape == (3, 3, 16)
    layer = model.base_model.prompts
    assert torch.equal(prompts[1], layer.prompt(torch.tensor([1]))[0].detach())
    without = get_peft_model(make_base("t5"), make_config(num_virtual_tokens=0))
    with pytest.raises(ValueError, match="adapter 'default' has no prompts: its num_virtual_tokens is 0"):
        prompt_vectors(without)
