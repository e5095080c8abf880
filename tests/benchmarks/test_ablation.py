from __future__ import annotations

from benchmarks.ablation import VARIANTS, table


def test_the_table_has_the_mean_over_seeds_of_each_variant():
    def line(variant, seed, steps, **metrics):
        return {"corpus": "c", "variant": variant, "minutes": 2.0, "seed": seed, "steps": steps, "metrics": metrics}

    lines = [
        line("recipe", 0, 1000, loss=3.0, hr=0.25),
        line("bare-0", 0, 900, loss=2.0),
        line("recipe", 1, 1400, loss=4.0, hr=0.35),
    ]
    assert table(lines).splitlines() == [
        "| corpus | variant | minutes | seeds | steps | loss | hr |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| c | recipe | 2.0 | 2 | 1,200 | 3.500 | 0.3000 |",
        "| c | bare-0 | 2.0 | 1 | 900 | 2.000 | – |",
    ]


def test_every_variant_but_the_recipe_changes_something():
    recipe = VARIANTS["recipe"]
    assert [name for name, variant in VARIANTS.items() if variant == recipe] == ["recipe"]
