from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from peft_pod.corpus import Corpus, CorpusFormatError, load_corpus
from peft_pod.corpus.candidates import given_candidate_sets
from peft_pod.corpus.readers.pod_folder import read_pod_negatives
from tests.corpora import real_data

MAPS = {
    "id2user": {"1": "R-ZOE", "2": "R-ANN", "3": "R-MAX"},
    "id2item": {"1": "B9", "2": "B1", "3": "B5", "4": "B7"},
    "user2id": {},
}
LINES = "1 1 2 3\n2 3 3 1\n"


def write(folder: Path, lines: str = LINES, maps: object = MAPS, *, compress: bool = False) -> Path:
    # The files of the papers are dumped without a newline at the end of the map.
    contents = {"sequential.txt": lines, "datamaps.json": maps if isinstance(maps, str) else json.dumps(maps, indent=1)}
    for name, content in contents.items():
        data = content.encode()
        (folder / (f"{name}.gz" if compress else name)).write_bytes(gzip.compress(data) if compress else data)
    return folder


def load(folder: Path) -> Corpus:
    return load_corpus("pod", folder, name="small")


@pytest.mark.parametrize("compress", [False, True])
def test_by_hand(tmp_path: Path, compress: bool):
    corpus = load(write(tmp_path, compress=compress))
    assert corpus.name == "small"
    assert corpus.interactions[:] == {
        "user_id": ["R-ZOE", "R-ZOE", "R-ZOE", "R-ANN", "R-ANN", "R-ANN"],
        "item_id": ["B9", "B1", "B5", "B5", "B5", "B9"],
        "timestamp": [0, 1, 2, 0, 1, 2],
    }
    assert corpus.items[:] == {"item_id": ["B1", "B5", "B7", "B9"], "title": ["B1", "B5", "B7", "B9"]}
    assert corpus.explanations is None


def test_the_catalogue_does_not_follow_the_histories(tmp_path: Path):
    """Renumbering the items must not change anything: the indices leak, so they may leave no trace."""
    (tmp_path / "other").mkdir()
    renumbered = {**MAPS, "id2item": {"1": "B7", "2": "B5", "3": "B9", "4": "B1"}}
    other = load(write(tmp_path / "other", "1 3 4 2\n2 2 2 3\n", renumbered))
    assert other.fingerprint == load(write(tmp_path)).fingerprint


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1 1 2\nx 1\n", r"sequential\.txt, line 2: expected the number of a user, got 'x'"),
        ("1 1 2\n9 1\n", r"line 2: user 9 is not in 'id2user' of datamaps\.json"),
        ("1 1 2.0\n", r"line 1: expected the number of an item, got '2\.0'"),
        ("1 1 2\n2 1 9\n", r"line 2: item 9 is not in 'id2item' of datamaps\.json"),
        ("1 1 2\n2\n", "line 2: user 2 has no items; expected 'user item item …'"),
        ("1 1 2\n2 3\n1 3\n", "line 3: user 1 has line 1 already"),
        ("1 1 2\n\n2 3\n", "line 2: the line is empty"),
        ("1 1 2\n2 3", "line 2: the line has no newline"),
        ("", r"sequential\.txt is empty"),
    ],
)
def test_malformed_histories_are_refused(tmp_path: Path, lines: str, message: str):
    with pytest.raises(CorpusFormatError, match=message):
        load(write(tmp_path, lines))


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ('{\n "id2user": {\n', r"datamaps\.json, line 3: not JSON"),
        ({"id2user": {}}, r"expected an object with the object 'id2item' in it, got \['id2user'\]"),
        ([], "expected an object with the object 'id2user' in it, got list"),
        ({**MAPS, "id2item": {"1": 5}}, "'id2item' gives 5 for '1'; expected a non-empty string"),
        ({**MAPS, "id2user": {"1": "A", "2": "A"}}, "'id2user' gives 'A' for both '1' and '2'"),
        (
            '{"id2user": {"1": "A", "2": "B", "1": "C"}, "id2item": {}}',
            "datamaps.json: .* key '1' more than once",
        ),
    ],
)
def test_malformed_maps_are_refused(tmp_path: Path, maps: object, message: str):
    with pytest.raises(CorpusFormatError, match=message):
        load(write(tmp_path, maps=maps))


@pytest.mark.parametrize("name", ["sequential.txt", "datamaps.json"])
def test_files_cut_off_are_refused(tmp_path: Path, name: str):
    path = write(tmp_path, compress=True) / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorpusFormatError, match=rf"{name}\.gz, line \d+: .*damaged or cut off"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["sequential.txt", "datamaps.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    (write(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"has no file {name} or {name}\.gz"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "users", "items", "interactions"),
    [("amazon-2014/beauty", 22_363, 12_101, 198_502), ("amazon-2014/sports", 35_598, 18_357, 296_337)],
)
def test_the_corpora_of_the_paper(name: str, users: int, items: int, interactions: int):
    corpus = load_corpus(name, real_data(name))
    split = corpus.split()
    assert corpus.name == name
    assert (split.train.num_users, split.train.num_items, len(corpus.interactions)) == (users, items, interactions)
    assert len(split.evaluated_users("test")) == users


def test_a_line_of_the_paper_s_corpus():
    """`beauty` begins `1 1 2 3 4 5`."""
    folder = real_data("amazon-2014/beauty")
    with gzip.open(folder / "datamaps.json.gz", "rt", encoding="utf-8") as file:
        maps = json.load(file)
    first = load_corpus("amazon-2014/beauty", folder).interactions[:5]
    assert first["user_id"] == [maps["id2user"]["1"]] * 5
    assert first["item_id"] == [maps["id2item"][str(index)] for index in range(1, 6)]


SENTENCES = [
    {"user": 1, "item": 1, "explanation": "smells of mint", "feature": "mint", "user_preference": "…"},
    {"user": "2", "item": "3", "sentence": " too small ", "feature": None},
    {"user": 2, "item": 2, "explanation": "", "feature": "x"},
    {"user": 2, "item": 2, "explanation": "broke"},
    {"user": 1, "item": 1, "explanation": "again", "feature": ""},
]


@pytest.mark.parametrize("content", [SENTENCES, {"train": SENTENCES[:2], "val": SENTENCES[2:3], "test": SENTENCES[3:]}])
@pytest.mark.parametrize("file", ["explanation.json", "explanation_rationale.json"])
def test_explanations_by_hand(tmp_path: Path, content: object, file: str):
    (write(tmp_path) / file).write_text(json.dumps(content), encoding="utf-8")
    corpus = load(tmp_path)
    assert corpus.explanations is not None
    assert list(zip(*corpus.explanations[:].values(), strict=True)) == [
        ("R-ZOE", "B9", "smells of mint", "mint"),
        ("R-ANN", "B5", "too small", ""),
        ("R-ANN", "B1", "broke", ""),
        ("R-ZOE", "B9", "again", ""),
    ]
    counts = corpus.steps[0].counts
    assert counts["sentences read"] == 5
    assert counts["sentences without text, dropped"] == 1
    assert counts["sentences beyond the first of a user about an item"] == 1
    assert counts["sentences without a feature"] == 3
    assert counts["sentences of a user about an item that they did not take"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{]", r"explanation\.json, line 1: not JSON"),
        ({"train": SENTENCES, "dev": []}, r"expected a list of sentences, .* got \['dev', 'train'\]"),
        ({}, "expected a list of sentences"),
        (5, "expected a list of sentences"),
        (["x"], "entry 1: expected an object, got 'x'"),
        ({"val": [SENTENCES[0], {**SENTENCES[0], "user": 9}]}, "entry 2 of 'val': user 9 is not in datamaps.json"),
        ([{**SENTENCES[0], "item": True}], "entry 1: expected the index of the item, got True"),
        ([{"user": 1, "item": 1, "text": "x"}], "entry 1: expected 'explanation' or 'sentence', got .*'item', 'text'"),
        ([{**SENTENCES[0], "feature": ["mint"]}], r"entry 1: expected a text as 'feature', got \['mint'\]"),
    ],
)
def test_malformed_explanations_are_refused(tmp_path: Path, content: object, message: str):
    text = content if isinstance(content, str) else json.dumps(content)
    (write(tmp_path) / "explanation.json").write_text(text, encoding="utf-8")
    with pytest.raises(CorpusFormatError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("name", ["negative.txt", "negative_samples.txt"])
def test_negatives_are_counted_and_can_be_had(tmp_path: Path, name: str):
    (write(tmp_path) / name).write_text("2 4 3 2\n1 4\n")
    counts = load(tmp_path).steps[0].counts
    assert (counts["users with negatives"], counts["negatives"]) == (2, 4)
    assert counts["negatives that their user took"] == 1
    assert read_pod_negatives(tmp_path) == {"R-ANN": ["B7", "B5", "B1"], "R-ZOE": ["B7"]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1 9\n", r"negative\.txt, line 1: item 9 is not in 'id2item'"),
        ("1 4\n1 3\n", "line 2: user 1 has line 1 already"),
        ("1\n", "line 1: user 1 has no items"),
    ],
)
def test_malformed_negatives_are_refused(tmp_path: Path, lines: str, message: str):
    (write(tmp_path) / "negative.txt").write_text(lines)
    with pytest.raises(CorpusFormatError, match=message):
        load(tmp_path)


def test_names_of_p5_and_of_the_folder(tmp_path: Path):
    corpus = load(write(tmp_path))
    (tmp_path / "sequential.txt").rename(tmp_path / "sequential_data.txt")
    assert load(tmp_path).fingerprint == corpus.fingerprint
    assert load_corpus("pod", tmp_path).name == tmp_path.name
    assert load_corpus(tmp_path, name="small").fingerprint == corpus.fingerprint


def test_an_item_that_was_taken_twice_is_counted(tmp_path: Path):
    counts = load(write(tmp_path)).steps[0].counts
    assert counts["other rows of a user with an item that they have already"] == 1
    assert counts["items that nobody took"] == 1


def test_places_in_histories_are_no_times_after_a_filter_either(tmp_path: Path):
    """Where rows were dropped, places have gaps: a temporal split once took them for times."""
    (tmp_path / "pod").mkdir()
    corpus = load(write(tmp_path / "pod", "1 1 2 3 1\n2 2 1 3 1\n3 1 4 3 1\n")).k_core(users=2, items=3)
    assert corpus.interactions["timestamp"][:] == [0, 2, 3, 1, 2, 3, 0, 2, 3]
    corpus.to_parquet(tmp_path / "saved")
    assert "Times are places in each user's history" in (tmp_path / "saved" / "README.md").read_text()
    for known in (corpus, load_corpus("saved", tmp_path / "saved")):
        with pytest.raises(ValueError, match="timestamps are places in each user's own history"):
            known.split("temporal", validation_cut=2, test_cut=3)


def test_the_negatives_of_the_folder_become_candidates(tmp_path: Path):
    corpus = load_corpus("embedded", num_users=30)
    corpus.to_pod_folder(tmp_path / "pod", num_negatives=20)
    split = load_corpus("pod", tmp_path / "pod").split()
    negatives = read_pod_negatives(tmp_path / "pod")
    sets = given_candidate_sets(split, "test", negatives, seed=3)
    for user, found in enumerate(sets):
        answer = split.train.item_ids[split.target(user, "test")]
        expected = {answer, *negatives[split.train.user_ids[user]]}
        assert {split.train.item_ids[item] for item in found.tolist()} == expected
        assert len(found) == 21
