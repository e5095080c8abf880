from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_pod.commands.batch_parts import MANIFEST, Parts
from peft_pod.commands.batch_recommend import BatchSettings, recommend_batch
from peft_pod.generation import Recommender, UserRecommendations

from ..training.killed_run import in_child
from ..training.launching import run_in_processes
from .runs import call

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def recommender(run):
    return Recommender.from_pretrained(run[0] / "model")


@pytest.fixture
def users(recommender, tmp_path):
    """A file of eleven rows: every user known, every third with a history of its own."""
    ids = list(recommender.catalogue.user_ids[:11])
    histories = [list(recommender.catalogue.item_ids[row : row + 3]) if row % 3 == 0 else None for row in range(11)]
    table = pa.table({"other": list(range(11)), "history": histories, "user": ids})
    pq.write_table(table, tmp_path / "users.parquet", row_group_size=3)
    return tmp_path / "users.parquet"


def batch(run, file, output, *more, rows_per_part=4):
    arguments = ["--input", file, "--output", output, "--k", 5, "--rows_per_part", rows_per_part]
    return call("recommend", "--run", run[0], *arguments, *more)


def parts_of(output):
    return output.with_name(f".{output.name}.parts")


def refused(done, message):
    assert done.status == 2, done
    assert re.search(message, done.err), done.err


def test_each_row_is_what_the_recommender_says_of_it(run, recommender, users, tmp_path):
    output = tmp_path / "recs.parquet"
    done = batch(run, users, output, "--titles")
    assert done.status == 0, done.err
    assert re.search(r"11 rows in .*recs.parquet, [\d.]+ a second", done.err)
    rows, asked = pq.read_table(output).to_pylist(), pq.read_table(users).to_pylist()
    assert [row["user"] for row in rows] == [row["user"] for row in asked]
    for row, question in zip(rows, asked, strict=True):
        expected = recommender.recommend(question["user"], question["history"], k=5)
        assert row["items"] == [item.item_id for item in expected]
        assert row["titles"] == [item.title for item in expected]
        assert row["scores"] == pytest.approx([item.score for item in expected], abs=1e-4)
    assert pq.read_schema(output).field("scores").type.value_type == pa.float32()
    assert not parts_of(output).exists()


def test_seen_items_may_come_back(run, recommender, users, tmp_path):
    assert batch(run, users, tmp_path / "recs.parquet", "--keep_seen").status == 0
    row = pq.read_table(tmp_path / "recs.parquet").to_pylist()[1]
    expected = recommender.recommend(row["user"], k=5, exclude_seen=False)
    assert row["items"] == [item.item_id for item in expected]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_other_formats_give_the_same(run, recommender, tmp_path, ending):
    ids = list(recommender.catalogue.user_ids[:5])
    lines = ["user,age", *(f"{user},7" for user in ids)]
    if ending == "jsonl":
        lines = [f'{{"user": "{user}", "age": 7}}' for user in ids]
    (tmp_path / f"users.{ending}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pq.write_table(pa.table({"user": ids}), tmp_path / "users.parquet")
    for name in (ending, "parquet"):
        done = batch(run, tmp_path / f"users.{name}", tmp_path / f"recs_{name}.parquet")
        assert done.status == 0, done.err
    tables = [pq.read_table(tmp_path / f"recs_{name}.parquet").to_pylist() for name in (ending, "parquet")]
    assert tables[0] == tables[1]


def test_finished_parts_are_not_made_again(run, users, tmp_path, monkeypatch):
    output, expected = tmp_path / "recs.parquet", tmp_path / "expected.parquet"
    assert batch(run, users, expected).status == 0

    def die_before_the_third_part(event, arguments):
        if event == "os.rename" and "00000002.parquet" in str(arguments[1]):
            os.kill(os.getpid(), signal.SIGKILL)

    def killed():
        sys.addaudithook(die_before_the_third_part)
        batch(run, users, output)

    assert in_child(killed) == KILLED
    names = {path.name for path in parts_of(output).glob("[0-9]*.parquet")}
    assert names == {"00000000.parquet", "00000001.parquet"}
    answered = []
    recommend = Recommender.recommend_each

    def watched(self, rows, *rest, **named):
        rows = list(rows)
        answered.extend(row["user"] for row in rows)
        return recommend(self, rows, *rest, **named)

    monkeypatch.setattr(Recommender, "recommend_each", watched)
    done = batch(run, users, output)
    assert done.status == 0, done.err
    assert "8 of them kept from before" in done.err
    assert answered == pq.read_table(users)["user"].to_pylist()[8:]
    assert output.read_bytes() == expected.read_bytes()


def test_two_processes_give_the_bytes_of_one(run, users, tmp_path):
    assert batch(run, users, tmp_path / "one.parquet").status == 0
    arguments = ["--input", users, "--output", tmp_path / "two.parquet", "--k", 5, "--rows_per_part", 4]
    run_in_processes("peft_pod", ["recommend", "--run", str(run[0]), *map(str, arguments)])
    assert (tmp_path / "two.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["one.parquet", "two.parquet", "users.parquet"]


@pytest.mark.parametrize("changes", [{}, {"k": 6, "overwrite": True}], ids=["the same", "another"])
def test_two_runs_do_not_write_one_output(run, users, tmp_path, monkeypatch, changes):
    """The second begins in the middle of the first."""
    output, expected = tmp_path / "recs.parquet", tmp_path / "expected.parquet"
    settings = {"k": 5, "rows_per_part": 4}
    recommend_batch(BatchSettings(run[0] / "model", users, expected, **settings))
    recommend, began = Recommender.recommend_each, []

    def second_begins(self, *rest, **named):
        if len(began) == 1:
            with pytest.raises(BlockingIOError, match="another run is writing --output .*recs.parquet: wait"):
                recommend_batch(BatchSettings(run[0] / "model", users, output, **settings | changes))
        began.append(1)
        return recommend(self, *rest, **named)

    monkeypatch.setattr(Recommender, "recommend_each", second_begins)
    recommend_batch(BatchSettings(run[0] / "model", users, output, **settings))
    assert len(began) == 3
    assert output.read_bytes() == expected.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["expected.parquet", "recs.parquet", "users.parquet"]


def test_parts_that_somebody_removes_are_not_waited_for(run, users, tmp_path, monkeypatch):
    output, write = tmp_path / "recs.parquet", Parts.write

    def gone_in_the_end(self, number, table):
        write(self, number, table)
        if number == 2:
            shutil.rmtree(self.folder)

    monkeypatch.setattr(Parts, "write", gone_in_the_end)
    refused(batch(run, users, output), "another run has removed or replaced the parts of --output .*recs.parquet")
    assert os.listdir(tmp_path) == ["users.parquet"]


def interrupted(run, users, output, monkeypatch, *more):
    """Leave parts behind: the first of them, then an error."""
    recommend, calls = Recommender.recommend_each, []

    def fail_later(self, *rest, **named):
        calls.append(1)
        if len(calls) > 1:
            raise OSError("no power")
        return recommend(self, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Recommender, "recommend_each", fail_later)
        refused(batch(run, users, output, *more), "no power")
    assert [path.name for path in parts_of(output).glob("[0-9]*.parquet")] == ["00000000.parquet"]


def test_parts_made_from_something_else_are_refused(run, recommender, users, tmp_path, monkeypatch):
    output = tmp_path / "recs.parquet"
    interrupted(run, users, output, monkeypatch)
    refused(batch(run, users, output, "--k", 6), "made from something else: k was 5 and is now 6. .*--overwrite")
    refused(batch(run, users, output, "--keep_seen"), "exclude_seen was True and is now False")
    for name, value in (("unknown_users", "history"), ("unknown_users", "skip"), ("unknown_items", "skip")):
        message = f"made from something else: {name} was 'error' and is now '{value}'. Go on with the same"
        refused(batch(run, users, output, f"--{name}", value), message)
    (tmp_path / "stock.txt").write_text(recommender.catalogue.item_ids[0], encoding="utf-8")
    refused(
        batch(run, users, output, "--allowed_items", tmp_path / "stock.txt"),
        r"allowed_items was None and is now '1 IDs, sha256 \w+'",
    )
    # Another input of the same name.
    table = pq.read_table(users)
    pq.write_table(table.slice(1), users)
    refused(batch(run, users, output), r"input was '\d+ bytes, sha256 \w+' and is now '\d+ bytes, ")
    done = batch(run, users, output, "--overwrite")
    assert done.status == 0, done.err
    assert pq.read_table(output)["user"].to_pylist() == table["user"].to_pylist()[1:]
    assert not parts_of(output).exists()


def test_overwrite_goes_on_with_parts_made_from_the_same(run, users, tmp_path, monkeypatch):
    output = tmp_path / "recs.parquet"
    interrupted(run, users, output, monkeypatch)
    assert "4 of them kept from before" in batch(run, users, output, "--overwrite").err


def test_what_is_done_leaves_the_parts_of_something_else(run, users, tmp_path, monkeypatch):
    output = tmp_path / "recs.parquet"
    assert batch(run, users, output).status == 0
    first = output.read_bytes()
    interrupted(run, users, output, monkeypatch, "--k", 6, "--overwrite")
    assert "is there already, made from the same" in batch(run, users, output).err
    assert output.read_bytes() == first
    done = batch(run, users, output, "--k", 6, "--overwrite")
    assert "4 of them kept from before" in done.err
    assert {len(row["items"]) for row in pq.read_table(output).to_pylist()} == {6}


def test_damaged_parts_are_made_anew(run, users, tmp_path, monkeypatch):
    output = tmp_path / "recs.parquet"
    interrupted(run, users, output, monkeypatch)
    (parts_of(output) / "00000000.parquet").write_bytes(b"PAR1")
    refused(batch(run, users, output), "00000000.parquet was damaged and is removed: start again")
    done = batch(run, users, output)
    assert done.status == 0, done.err
    assert pq.read_table(output)["user"].to_pylist() == pq.read_table(users)["user"].to_pylist()
    interrupted(run, users, tmp_path / "other.parquet", monkeypatch)
    (parts_of(tmp_path / "other.parquet") / MANIFEST).write_text("{", encoding="utf-8")
    refused(batch(run, users, tmp_path / "other.parquet"), "manifest.json is damaged: remove the folder")


def test_an_output_that_is_there(run, users, tmp_path):
    output = tmp_path / "recs.parquet"
    output.write_bytes(b"mine")
    refused(batch(run, users, output), "--output .*recs.parquet is there already: name another file, or .*--overwrite")
    assert output.read_bytes() == b"mine"
    assert batch(run, users, output, "--overwrite").status == 0
    first = output.read_bytes()
    # What was made from the same is done.
    done = batch(run, users, output)
    assert done.status == 0
    assert "is there already, made from the same" in done.err
    assert output.read_bytes() == first
    refused(batch(run, users, output, "--k", 6), "is there already")


def test_unknown_users(run, recommender, tmp_path):
    known = recommender.catalogue.user_ids[:3]
    file, output = tmp_path / "users.parquet", tmp_path / "recs.parquet"
    pq.write_table(pa.table({"user": [*known[:2], "nobody", known[2], "noone"]}), file)
    refused(
        batch(run, file, output, rows_per_part=2), r"row 2 \(the first is 0\), user 'nobody': .*not among the 40 users"
    )
    assert [path.name for path in parts_of(output).iterdir()] == [MANIFEST]  # nothing ran
    done = batch(run, file, output, "--unknown_users", "skip", "--overwrite", rows_per_part=2)
    assert done.status == 0, done.err
    assert "5 rows in " in done.err
    assert done.err.endswith("; 2 unknown users got an empty list\n")
    rows = pq.read_table(output).to_pylist()
    assert [len(row["items"]) for row in rows] == [5, 5, 0, 5, 0]
    assert [item.item_id for item in recommender.recommend(known[2], k=5)] == rows[3]["items"]


def test_strangers_are_answered_by_their_histories(run, recommender, tmp_path):
    user, items = recommender.catalogue.user_ids[0], list(recommender.catalogue.item_ids[:4])
    file, output = tmp_path / "users.parquet", tmp_path / "recs.parquet"
    pq.write_table(pa.table({"user": [user, "nobody", user], "history": [None, items, items]}), file)
    refused(batch(run, file, output), "row 1 .*not among the 40 users .*; --unknown_users skip .*, history goes by")
    done = batch(run, file, output, "--unknown_users", "history", "--overwrite", rows_per_part=2)
    assert done.status == 0, done.err
    assert done.err.endswith("; 1 unknown users were answered by their history alone\n")
    rows = pq.read_table(output).to_pylist()
    for row, history in zip(rows, [None, items, items], strict=True):
        expected = recommender.recommend(row["user"], history, k=5, unknown_users="history")
        assert row["items"] == [item.item_id for item in expected]
        assert row["scores"] == pytest.approx([item.score for item in expected], abs=1e-4)
    assert rows[1]["scores"] != rows[2]["scores"]  # without the name
    pq.write_table(pa.table({"user": [user, "nobody"], "history": [items, None]}), file)
    refused(
        batch(run, file, output, "--unknown_users", "history", "--overwrite"),
        "row 1 .*'nobody': the model does not know this user, and the row has no history to go by",
    )


def test_unknown_items_are_skipped_and_counted(run, recommender, tmp_path):
    user, items = recommender.catalogue.user_ids[0], list(recommender.catalogue.item_ids[:4])
    histories = [[items[0], "new", items[1], "newer"], items, None, ["new", items[3]]]
    file, output = tmp_path / "users.parquet", tmp_path / "recs.parquet"
    pq.write_table(pa.table({"user": [user] * 4, "history": histories}), file)
    refused(batch(run, file, output), "row 0 .*item 'new' is not in the catalogue .*; --unknown_items skip leaves such")
    done = batch(run, file, output, "--unknown_items", "skip", "--overwrite", rows_per_part=3)
    assert done.status == 0, done.err
    assert done.err.endswith("; 3 unknown items in the histories of 2 rows were skipped\n")
    rows = pq.read_table(output).to_pylist()
    assert [row["skipped"] for row in rows] == [["new", "newer"], [], [], ["new"]]
    kept = [items[:2], items, None, [items[3]]]
    for row, history in zip(rows, kept, strict=True):
        assert row["items"] == [item.item_id for item in recommender.recommend(user, history, k=5)]
    # Made from the same they are done, made with another flag they are another output.
    assert (
        "is there already, made from the same"
        in batch(run, file, output, "--unknown_items", "skip", rows_per_part=3).err
    )
    refused(batch(run, file, output, rows_per_part=3), "is there already: name another file")
    pq.write_table(pa.table({"user": [user], "history": [["new"]]}), file)
    refused(
        batch(run, file, output, "--unknown_items", "skip", "--overwrite"),
        "row 0 .*nothing is left of the history .* knows none of its 1 items, such as 'new'$",
    )


def test_only_allowed_items(run, recommender, users, tmp_path):
    allowed = list(recommender.catalogue.item_ids[20:40])
    (tmp_path / "stock.txt").write_text("\n".join(allowed), encoding="utf-8")
    output = tmp_path / "recs.parquet"
    done = batch(run, users, output, "--allowed_items", tmp_path / "stock.txt")
    assert done.status == 0, done.err
    rows, asked = pq.read_table(output).to_pylist(), pq.read_table(users).to_pylist()
    for row, question in zip(rows, asked, strict=True):
        expected = recommender.recommend(question["user"], question["history"], k=5, allowed_items=allowed)
        assert row["items"] == [item.item_id for item in expected]
    # The order of the file says nothing.
    (tmp_path / "stock.txt").write_text("\n".join(reversed(allowed)), encoding="utf-8")
    done = batch(run, users, output, "--allowed_items", tmp_path / "stock.txt")
    assert "is there already, made from the same" in done.err
    (tmp_path / "stock.txt").write_text("nothing\n", encoding="utf-8")
    refused(
        batch(run, users, output, "--allowed_items", tmp_path / "stock.txt", "--overwrite"),
        "allowed_items names 1 items that are not in the catalogue",
    )
    pq.write_table(pa.table({"user": [asked[0]["user"]], "history": [[allowed[0]]]}), users)
    (tmp_path / "stock.txt").write_text(allowed[0], encoding="utf-8")
    refused(
        batch(run, users, output, "--allowed_items", tmp_path / "stock.txt", "--overwrite"),
        "row 0 .*the history holds every item that may be recommended, so nothing is left",
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": ["a"]}, "users.parquet has no column 'user'; it has name"),
        ({"user": [7]}, "the column 'user' must hold strings, the IDs, but holds int64"),
        (
            {"user": ["USER"], "history": ["a b"]},
            "the column 'history' must hold lists of strings, .* holds string",
        ),
        ({"user": ["USER", None]}, r"row 1 \(the first is 0\) has no user"),
        ({"user": ["USER"], "history": [["nothing"]]}, "row 0 .*: item 'nothing' is not in the catalogue of 60 items"),
        ({"user": ["USER", "USER"], "history": [None, []]}, "row 1 .*the history is empty: give at least one item"),
        ({"user": ["USER"], "history": ["ALL"]}, "row 0 .*the history holds every item, so nothing is left"),
    ],
)
def test_bad_rows(run, recommender, tmp_path, columns, message):
    known = {"USER": recommender.catalogue.user_ids[0], "ALL": list(recommender.catalogue.item_ids)}
    table = pa.table(
        {
            name: [known.get(value, value) if isinstance(value, str) else value for value in values]
            for name, values in columns.items()
        }
    )
    pq.write_table(table, tmp_path / "users.parquet")
    refused(batch(run, tmp_path / "users.parquet", tmp_path / "recs.parquet"), message)
    assert not (tmp_path / "recs.parquet").exists()


@pytest.mark.parametrize("name", ["users.parquet", "users.jsonl", "users.csv"])
def test_no_rows_in_no_rows_out(run, tmp_path, name):
    file = tmp_path / name
    if name == "users.parquet":
        pq.write_table(pa.table({"user": pa.array([], pa.string())}), file)
    else:
        file.write_text("user\n" if name.endswith("csv") else "", encoding="utf-8")
    done = batch(run, file, tmp_path / "recs.parquet")
    assert done.status == 0, done.err
    table = pq.read_table(tmp_path / "recs.parquet")
    assert (len(table), table.column_names) == (0, ["user", "items", "scores"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "users.parquet"], "--input and --output belong together"),
        (["--output", "recs.parquet"], "--input and --output belong together"),
        (["--input", "u.parquet", "--output", "r.parquet", "--user", "u", "--json"], "leave out --user, --json"),
        (["--input", "nowhere.parquet", "--output", "r.parquet"], "--input nowhere.parquet does not exist"),
        (["--input", "u.parquet", "--output", "r.csv"], "--output r.csv must end in .parquet"),
        (["--input", "u.parquet", "--output", "u.parquet"], "--output u.parquet is --input"),
        (["--input", "u.parquet", "--output", "r.parquet", "--k", "0"], "--k must be at least 1, got 0"),
        (["--input", "u.parquet", "--output", "r.parquet", "--rows_per_part", "0"], "--rows_per_part must be at least"),
        (["--input", "u.parquet", "--output", "r.parquet", "--unknown_users", "guess"], "invalid choice: 'guess'"),
        (["--input", "u.parquet", "--output", "r.parquet", "--unknown_items", "drop"], "invalid choice: 'drop'"),
    ],
)
def test_bad_arguments(run, arguments, message):
    refused(call("recommend", "--run", run[0], *arguments), message)


def test_the_input_is_never_read_as_a_whole(run, recommender, tmp_path, monkeypatch):
    """Forty times the rows, and still no more than a part of them at once."""
    user = recommender.catalogue.user_ids[0]
    file = tmp_path / "users.parquet"
    pq.write_table(pa.table({"user": [user] * 440}), file)
    asked = []
    iterate = pq.ParquetFile.iter_batches

    def watched(self, batch_size, **named):
        asked.append(batch_size)
        for found in iterate(self, batch_size=batch_size, **named):
            asked.append(found.num_rows)
            yield found

    def read(self, **named):
        asked.append(self.metadata.num_rows)
        return pa.Table.from_batches(list(iterate(self, **named)))

    read_table = pq.read_table

    def not_here(path, **named):
        assert tmp_path not in Path(path).parents
        return read_table(path, **named)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    monkeypatch.setattr(pq.ParquetFile, "read", read)
    monkeypatch.setattr(pq, "read_table", not_here)
    sizes = []

    def answer(self, rows, *rest, **named):
        answers = [UserRecommendations(row["user"], []) for row in rows]
        sizes.append(len(answers))
        return answers

    monkeypatch.setattr(Recommender, "recommend_each", answer)
    model = run[0] / "model"
    recommend_batch(BatchSettings(model, file, tmp_path / "recs.parquet", rows_per_part=11))
    assert max(asked) == 11
    assert sizes == [11] * 40
    assert pq.ParquetFile(tmp_path / "recs.parquet").metadata.num_rows == 440
