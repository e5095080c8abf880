"""Recipes: values of the arguments of `peft-pod train` that belong together, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import yaml

DEFAULT_RECIPE = "best"
NO_RECIPE = "none"
"""Starts from the arguments' own defaults."""
_ENDING = ".yaml"


def available_recipes() -> list[str]:
    """Names of the recipes.

    Example:
        >>> available_recipes()
        ['best', 'paper']
    """
    names = (path.name for path in files(__name__).iterdir())
    return sorted(name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING))


def read_recipe(name: str) -> dict[str, Any]:
    """The values that a recipe sets, by the names of the arguments.

    Args:
        name: of the recipe, or `"none"`, which sets nothing.

    Raises:
        ValueError: there is none of that name; the message lists those there are.

    Example:
        >>> read_recipe("paper")["base_model"]
        'google-t5/t5-small'
    """
    if name == NO_RECIPE:
        return {}
    if name not in available_recipes():
        raise ValueError(
            f"--recipe {name} does not exist; recipes are {', '.join(available_recipes())}, or {NO_RECIPE} for none"
        )
    values: dict[str, Any] = yaml.safe_load((files(__name__) / f"{name}{_ENDING}").read_text(encoding="utf-8"))
    return values


@dataclass
class RecipeArguments:
    """Which recipe the arguments start from."""

    recipe: str = field(
        default=DEFAULT_RECIPE,
        metadata={
            "help": f"Values to start from, which --config and flags override: {', '.join(available_recipes())}; or "
            f"{NO_RECIPE}, the defaults that are listed here, from which a run with --add_tasks_to always starts. See "
            "docs/training.md."
        },
    )
