from __future__ import annotations

from dataclasses import fields

import pytest

from benchmarks.quality.settings import TRAIN, merged, read_run, read_runs
from peft_pod.commands.arguments import CorpusArguments, ModelArguments
from peft_pod.commands.recipes import RecipeArguments
from peft_pod.indexing import available_indexings
from peft_pod.training import PODTrainingArguments

BASE = """
title: the recipe
table: ablations
corpus: embedded
kind: train
part: validation
seeds: [0, 1]
train: {recipe: best, max_steps: 7, lr_scheduler_kwargs: {a: 1, b: 2}, tasks: [topn]}
"""


def written(folder, own, base=BASE, name="mine"):
    (folder / "_base.yaml").write_text(base, encoding="utf-8")
    (folder / f"{name}.yaml").write_text(own, encoding="utf-8")
    return folder / f"{name}.yaml"


def test_a_run_states_what_it_does_otherwise_than_the_one_that_it_extends(tmp_path):
    own = """
extends: _base
title: other
seeds: [3]
train: {max_steps: 9, lr_scheduler_kwargs: {b: 3}, tasks: [sequential], bare_probability: null}
"""
    run = read_run(written(tmp_path, own))
    assert (run.name, run.title, run.table, run.part, run.seeds) == ("mine", "other", "ablations", "validation", (3,))
    assert run.data is None
    assert run.train == {
        "recipe": "best",
        "max_steps": 9,
        "lr_scheduler_kwargs": {"a": 1, "b": 3},
        "tasks": ["sequential"],
        "bare_probability": None,
    }
    assert set(run.changes) == {"max_steps", "lr_scheduler_kwargs", "tasks", "bare_probability"}


def test_the_base_is_not_changed_by_what_extends_it():
    base = {"train": {"x": 1}}
    merged(base, {"train": {"x": 2}})
    assert base == {"train": {"x": 1}}


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ("extends: _base\nminutes: 3", "sets 'minutes', which is no key"),
        ("extends: _base\ntable: others", "sets table to 'others'"),
        ("extends: _base\npart: test", "rows of ablations are choices"),
        ("extends: _base\npart: refit", "rows of ablations are choices: set 'nested' or 'validation'"),
        ("extends: _base\ncount_weight: 1.5", "sets count_weight to 1.5"),
        ("extends: _base\ntrain: {count_weight: 0.5}", "count_weight, which is a key of the run itself"),
        ("extends: _base\nkind: magic", "sets kind to 'magic'"),
        ("extends: _base\nseeds: [1, 1]", r"sets seeds to \[1, 1\]"),
        ("extends: _base\nseeds: [-1]", r"sets seeds to \[-1\]"),
        ("extends: _base\nseeds: []", r"sets seeds to \[\]"),
        ("extends: _base\ntitle: 3", "sets title to 3; give a str"),
        ("extends: _base\ntrain: {seed: 3}", "sets train: seed, which comes from `seeds`"),
        ("extends: _base\ntrain: {evaluation_part: test}", "evaluation_part, which comes from `part`"),
        ("extends: _base\nkind: baselines", "sets train: lr_scheduler_kwargs, but baselines takes"),
        ("title: alone", "lacks 'table'"),
        ("- a list", "must hold names and values"),
        ("a: [", "is not YAML"),
    ],
)
def test_errors_name_file_and_key(tmp_path, own, problem):
    path = written(tmp_path, own)
    with pytest.raises(ValueError, match=problem) as error:
        read_run(path)
    assert str(path) in str(error.value)


def test_only_one_level_is_extended(tmp_path):
    path = written(tmp_path, "extends: _base", base=f"extends: _another\n{BASE}")
    with pytest.raises(ValueError, match="only one level"):
        read_run(path)
    with pytest.raises(FileNotFoundError, match="no run '_nothing'"):
        read_run(written(tmp_path, "extends: _nothing"))


def test_a_run_without_changes_comes_first_and_bases_are_no_runs(tmp_path):
    written(tmp_path, "extends: _base\ntrain: {max_steps: 1}", name="a")
    written(tmp_path, "extends: _base", name="b")
    assert list(read_runs(tmp_path)) == ["b", "a"]


RUNS = read_runs()


@pytest.mark.parametrize("run", RUNS.values(), ids=str)
def test_the_runs_set_arguments_that_there_are(run):
    kinds = (CorpusArguments, ModelArguments, PODTrainingArguments, RecipeArguments)
    known = {one.name for kind in kinds for one in fields(kind) if one.init} | {"max_minutes"}
    assert set(run.train) <= known


def test_schemes_and_ablations_differ_from_each_other_and_cover_all_indexings():
    trained = [run for run in RUNS.values() if run.kind == TRAIN]
    for table in ("schemes", "ablations"):
        for corpus in {run.corpus for run in trained}:
            rows = [run.train for run in trained if run.table == table and run.corpus == corpus]
            assert all(rows.count(row) == 1 for row in rows)
    schemes = {run.train.get("indexing", "random") for run in trained if run.table == "schemes"}
    assert set(available_indexings()) - {"title"} <= schemes


def test_an_ablation_changes_one_thing():
    several = {run.name: len(run.changes) for run in RUNS.values() if run.table == "ablations" and len(run.changes) > 1}
    # LoRA needs the base not trained, and distillation templates, which the recipe leaves out: pairs on purpose.
    pairs = ("lora", "distillation", "distillation-templates-always")
    assert several == {f"beauty-ablation-{name}": 2 for name in pairs}
