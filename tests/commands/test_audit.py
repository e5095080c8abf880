from __future__ import annotations

import json

import pytest

from tests.corpora import real_data

from .runs import call

SMALL = ("--corpus", "embedded", "--corpus-options", "num_users=100")


def test_a_leak_is_status_1():
    done = call("audit", *SMALL, "--indexing", "paper")
    assert (done.status, done.err) == (1, "")
    assert "LEAK index arithmetic: largest index + 1:" in done.out
    assert "IT LEAKS" in done.out.splitlines()[0]


@pytest.mark.parametrize("indexing", ["random", "sequential"])
def test_no_leak_is_status_0(indexing: str):
    done = call("audit", *SMALL, "--indexing", indexing)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[0].endswith(f"with indexing '{indexing}': no leak found.")


@pytest.mark.parametrize(("indexing", "status"), [("paper", 1), ("random", 0)])
def test_json_is_one_object_and_nothing_else(indexing: str, status: int):
    done = call("audit", *SMALL, "--indexing", indexing, "--json")
    found = json.loads(done.out)
    assert done.status == status
    assert found["leaks"] == bool(status)
    assert bool(found["findings"]) == bool(status)
    for finding in found["findings"]:
        assert {"name", "count", "HR@1", "HR@10", "NDCG@10", "fix"} <= set(finding)
    assert len(found["fingerprint"]) == 12


def test_a_temporal_split():
    options = ("--split", "temporal", "--split-options", "validation_fraction=0.1", "test_fraction=0.1")
    done = call("audit", *SMALL, *options, "--json")
    assert (done.status, json.loads(done.out)["split"]) == (0, "temporal")


def test_options_of_the_indexing():
    done = call("audit", *SMALL, "--indexing", "random", "--indexing-options", "users=none")
    assert "not checked: user IDs (the indexing does not name users)" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--indexing", "papers"), "unknown indexing 'papers'"),
        (("--corpus", "soap"), "there is no corpus 'soap'"),
        (("--corpus", "amazon-2014/beauty"), "give data_dir"),
        (("--indexing-options", "pad"), "--indexing_options takes name=value"),
        (("--split", "temporal"), "needs either validation_cut"),
        (("--split", "by-user"), "there is no split 'by-user'"),
        (("--seed", "-1"), "--seed must be a whole number from 0, got -1"),
        (("--tasks", "topn"), "unknown argument '--tasks'"),
        (("--limit", "3"), "unknown argument '--limit'"),
    ],
)
def test_bad_arguments_are_status_2(arguments: tuple[str, ...], message: str):
    done = call("audit", *arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_the_figures_of_the_paper_s_corpus():
    folder = real_data("amazon-2014/beauty")
    done = call("audit", "--corpus", "amazon-2014/beauty", "--data-dir", folder, "--indexing", "paper", "--json")
    assert done.status == 1
    metrics = [
        tuple(round(finding[metric], 4) for metric in ("HR@1", "HR@10", "NDCG@10"))
        for finding in json.loads(done.out)["findings"]
    ]
    assert metrics[:2] == [(0.0441, 0.0463, 0.0450), (0.0441, 0.0548, 0.0497)]
