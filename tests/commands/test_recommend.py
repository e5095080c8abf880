from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict

import pytest

from peft_pod.generation import Recommender

from .runs import call, save_t5, small, train


@pytest.fixture(scope="module")
def recommender(run):
    return Recommender.from_pretrained(run[0] / "model")


def test_items_are_new_to_the_user_and_those_of_the_recommender(run, recommender):
    users = list(recommender.catalogue.user_ids[3:5])
    done = call("recommend", "--run", run[0], "--user", *users, "--k", 4, "--explain", "--json")
    assert done.status == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["user"] for row in rows] == users
    for row, expected in zip(rows, recommender.recommend(users, k=4), strict=True):
        assert [item["item_id"] for item in row["items"]] == [item.item_id for item in expected]
        assert [item["title"] for item in row["items"]] == [item.title for item in expected]
        assert [item["score"] for item in row["items"]] == pytest.approx([item.score for item in expected], abs=1e-4)
        history = recommender.catalogue.history(recommender.catalogue.user_position(row["user"]))
        assert not {recommender.catalogue.item_position(item["item_id"]) for item in row["items"]} & set(history)
        assert row["explanation"] == recommender.explain(row["user"], row["items"][0]["item_id"])
        assert row["explanation"]


def test_text_names_items_history_and_reason(run, recommender):
    user = recommender.catalogue.user_ids[3]
    items = recommender.recommend(user, k=2)
    recent = [recommender.catalogue.titles[item] for item in recommender.catalogue.history(3)[-5:]]
    done = call("recommend", "--run", run[0], "--user", user, "--k", 2, "--explain")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == f"User {user}, most recently: {'; '.join(recent)}"
    for rank, item in enumerate(items, 1):
        assert lines[rank] == f"   {rank}. {item.title}  [{item.item_id}]  {item.score:.2f}"
    assert lines[3] == f"  Why {items[0].title}? {recommender.explain(user, items[0].item_id)}"


def test_the_first_users_and_a_history_of_ones_own(run, recommender):
    history = [str(item) for item in recommender.catalogue.item_ids[:3]]
    done = call("recommend", "--run", run[0], "--num_users", 2, "--history", *history, "--json")
    assert done.status == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["user"] for row in rows] == list(recommender.catalogue.user_ids[:2])
    for row in rows:
        expected = recommender.recommend(row["user"], history)
        assert [item["item_id"] for item in row["items"]] == [item.item_id for item in expected]
        assert not {item["item_id"] for item in row["items"]} & set(history)


def test_seen_items_may_come_back(run, recommender):
    user = recommender.catalogue.user_ids[0]
    done = call("recommend", "--run", run[0], "--user", user, "--k", 60, "--keep_seen", "--json")
    assert done.status == 0, done.err
    items = json.loads(done.out)["items"]
    assert sorted(item["item_id"] for item in items) == sorted(recommender.catalogue.item_ids)
    expected = [asdict(item) for item in recommender.recommend(user, k=60, exclude_seen=False)]
    assert [item["item_id"] for item in items] == [item["item_id"] for item in expected]


def test_only_allowed_items_from_a_file(run, recommender, tmp_path):
    allowed = list(recommender.catalogue.item_ids[:25])
    (tmp_path / "stock.txt").write_text("\ufeff" + "\n".join(allowed) + "\n\n", encoding="utf-8")
    ask = ["recommend", "--run", run[0], "--num_users", 2, "--k", 5, "--json", "--allowed_items"]
    done = call(*ask, tmp_path / "stock.txt")
    assert done.status == 0, done.err
    for line in done.out.splitlines():
        row = json.loads(line)
        expected = recommender.recommend(row["user"], k=5, allowed_items=allowed)
        assert [item["item_id"] for item in row["items"]] == [item.item_id for item in expected]
        assert {item["item_id"] for item in row["items"]} <= set(allowed)
        assert set(row["items"][0]) == {"item_id", "title", "score"}
    (tmp_path / "none.txt").write_text("\n", encoding="utf-8")
    done = call(*ask, tmp_path / "none.txt")
    assert (done.status, done.out) == (2, "")
    assert "none.txt names no items; write one item ID a line" in done.err
    done = call(*ask, tmp_path / "missing.txt")
    assert (done.status, done.out) == (2, "")
    assert "missing.txt" in done.err


def test_unknown_users_and_items(run, recommender):
    items = list(recommender.catalogue.item_ids[:3])
    ask = ["recommend", "--run", run[0], "--user", "nobody", "--history", *items, "new", "--k", 4]
    with pytest.warns(UserWarning, match="1 items of the histories of 1 users .* were skipped: 'new'"):
        done = call(*ask, "--unknown_users", "history", "--unknown_items", "skip")
    assert done.status == 0, done.err
    titles = [recommender.catalogue.titles[item] for item in range(3)]
    lines = done.out.splitlines()
    assert lines[0] == f"User nobody, most recently: {'; '.join(titles)}"
    expected = recommender.recommend("nobody", items, k=4, unknown_users="history")
    for rank, item in enumerate(expected, 1):
        assert lines[rank] == f"   {rank}. {item.title}  [{item.item_id}]  {item.score:.2f}"
    refused = call(*ask, "--unknown_users", "history")
    assert (refused.status, refused.out) == (2, "")
    assert "item 'new' is not in the catalogue of 60 items" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --user or --num_users"),
        (["--user", "USER", "--num_users", "2"], "give either --user or --num_users"),
        (["--num_users", "0"], "--num_users must be at least 1, got 0"),
        (["--user", "nobody"], "user 'nobody' is not among the 40 users the model was trained on"),
        (["--user", "USER", "--history", "nothing"], "item 'nothing' is not in the catalogue of 60 items"),
        (["--user", "USER", "--history"], r"argument --history\S*: expected at least one argument"),
        (["--user", "USER", "--unknown_users", "skip"], "--unknown_users skip is for rows of --input"),
        (
            ["--user", "USER", "--overwrite"],
            "^peft-pod recommend: --overwrite: only for --input and --output; give both",
        ),
        (["--num_users", "2", "--titles", "--rows_per_part", "7"], "--rows_per_part, --titles: only for --input"),
        (["--user", "USER", "--k", "0"], "k must be a positive whole number, got 0"),
        (["--user", "USER", "--k", "1.5"], r"argument --k\S*: invalid int value: '1.5'"),
    ],
)
def test_bad_arguments(run, recommender, arguments, message):
    user = recommender.catalogue.user_ids[0]
    done = call("recommend", "--run", run[0], *[user if argument == "USER" else argument for argument in arguments])
    assert done.status == 2
    assert done.out == ""
    assert re.search(message, done.err), done.err


def test_a_base_that_has_moved_or_changed(tmp_path):
    """The run names a base from a folder; another of another size in its place does not fit."""
    base = save_t5(tmp_path / "t5")
    options = small(base_model=base, tasks=["sequential"], max_steps=1)
    done = train(options, tmp_path / "run", "--no_train_base")
    assert done.status == 0, done.err
    ask = ["recommend", "--run", tmp_path / "run", "--num_users", 1]
    assert call(*ask).status == 0
    shutil.rmtree(base)
    done = call(*ask)
    assert done.status == 2
    assert re.search(r"the base model '.*t5', which .* was trained on, cannot be loaded; put it back", done.err)
    save_t5(base, width=32)
    done = call(*ask)
    assert done.status == 2
    assert "does not fit this base model" in done.err
    assert "Load it on the base it was trained on, of the same size and vocabulary" in done.err


def test_strangers_are_refused_an_explanation_before_anything_is_computed(run, recommender, monkeypatch):
    monkeypatch.setattr(Recommender, "recommend", lambda *given, **named: pytest.fail("it was computed"))
    users = ["--user", recommender.catalogue.user_ids[0], "nobody"]
    history = ["--history", *recommender.catalogue.item_ids[:3], "--unknown_users", "history"]
    done = call("recommend", "--run", run[0], *users, *history, "--explain")
    assert (done.status, done.out) == (2, "")
    assert "--explain: user 'nobody' is not among the 40 users the model was trained on" in done.err


def test_explaining_needs_the_task(tmp_path):
    assert train(small(tasks=["sequential"], max_steps=1), tmp_path / "run").status == 0
    done = call("recommend", "--run", tmp_path / "run", "--num_users", 1, "--explain")
    assert done.status == 2
    assert "was not trained for the task 'explanation'" in done.err
