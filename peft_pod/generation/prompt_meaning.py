"""What the prompts of a model point to: the tokens nearest to each, named in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peft_pod.processing.token_names import TokenNames
from peft_pod.training.attention import base_of
from peft_pod.tuner.prompt_reading import (
    RANDOM_VECTORS,
    chance_cosines,
    in_the_plane,
    nearest_tokens,
    prompt_vectors,
    token_embeddings,
)

NEAREST = 5
CHANCE_QUANTILE = 0.95


def read_prompts(model: Any, names: TokenNames, *, n: int = NEAREST, seed: int = 0) -> dict[str, Any]:
    """Find the tokens nearest to each prompt vector of a model, and where the vectors lie in a plane.

    Args:
        model: a PEFT model with a POD adapter.
        names: of the tokens.
        n: how many tokens for each vector.
        seed: of the random directions that the cosines are compared with.

    Returns:
        `tasks`: for each task its vectors, each with its `point` in the plane, its `norm`, and its `nearest` tokens
        (`token`, `name`, `cosine`), best first. `variance`: the shares that the two axes have. `chance`: what random
        directions reach, `median` and `high` (95 % stay below).

    Raises:
        ValueError: the model has no prompts.
    """
    tasks, prompts = prompt_vectors(model)
    flat = prompts.flatten(0, 1)
    embeddings = token_embeddings(base_of(model), len(names))
    found = nearest_tokens(flat, embeddings, n)
    points, variance = in_the_plane(flat)
    vectors = [
        {
            "point": point,
            "norm": norm,
            "nearest": [
                {"token": token, "name": names(token), "cosine": cosine}
                for token, cosine in zip(tokens, cosines, strict=True)
            ],
        }
        for point, norm, tokens, cosines in zip(
            points.tolist(), flat.norm(dim=1).tolist(), found.tokens.tolist(), found.cosines.tolist(), strict=True
        )
    ]
    k = prompts.shape[1]
    chance = chance_cosines(embeddings, seed)
    return {
        "tasks": {task: vectors[number * k : (number + 1) * k] for number, task in enumerate(tasks)},
        "variance": variance,
        "chance": {
            "directions": RANDOM_VECTORS,
            "median": float(chance.quantile(0.5)),
            "high": float(chance.quantile(CHANCE_QUANTILE)),
        },
    }


def format_prompts(found: Mapping[str, Any]) -> str:
    """What `read_prompts` found as a table: a line for each vector.

    Example:
        >>> nearest = [{"token": 7, "name": "▁next", "cosine": 0.51}]
        >>> print(format_prompts({
        ...     "tasks": {"topn": [{"point": [0, 0], "norm": 1.0, "nearest": nearest}]},
        ...     "chance": {"median": 0.36, "high": 0.42}}))
        topn: tokens nearest to each prompt vector, with cosines; a random direction has 0.36 (95 % below 0.42)
          1  norm 1.00  ▁next 0.51
    """
    chance = found["chance"]
    lines = []
    for task, vectors in found["tasks"].items():
        lines.append(
            f"{task}: tokens nearest to each prompt vector, with cosines; a random direction has "
            f"{chance['median']:.2f} (95 % below {chance['high']:.2f})"
        )
        for number, vector in enumerate(vectors, start=1):
            near = ", ".join(f"{one['name']} {one['cosine']:.2f}" for one in vector["nearest"])
            lines.append(f"{number:>3}  norm {vector['norm']:.2f}  {near}")
    return "\n".join(lines)
