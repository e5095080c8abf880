from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from peft_pod.corpus import load_corpus, load_split, save_split
from peft_pod.corpus.saved_split import ArrowTexts
from peft_pod.corpus.split import LeaveOneOut
from peft_pod.indexing import load_indexing
from peft_pod.processing import EvaluationSamples, PODProcessor, TaskAlternatingBatchSampler, TrainingSamples
from peft_pod.tasks import load_task
from peft_pod.training import build_tokenizer

from ..corpora import hand_made_corpus
from ..documentation import page, python_blocks

SETTINGS = {
    "leave-one-out": {},
    "leave-one-out-refit": {},
    "temporal": {"validation_fraction": 0.1, "test_fraction": 0.1},
}


def make_split(kind="leave-one-out"):
    return load_corpus("embedded", num_users=40, num_items=50).split(kind, **SETTINGS[kind])


@pytest.fixture(params=[False, True], ids=["mapped", "in memory"])
def keep_in_memory(request):
    return request.param


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_a_split_comes_back(tmp_path, kind, keep_in_memory):
    split = make_split(kind)
    save_split(split, tmp_path / "split")
    loaded = load_split(tmp_path / "split", keep_in_memory=keep_in_memory)
    assert type(loaded) is type(split)
    assert loaded.fingerprint == split.fingerprint
    for field in dataclasses.fields(split.train):
        assert getattr(loaded.train, field.name) == getattr(split.train, field.name), field.name
    for part in ("validation", "test"):
        assert np.array_equal(loaded.targets(part), split.targets(part))
        assert loaded.histories(part) == split.histories(part)
        assert loaded.explanations(part) == split.explanations(part)
    assert loaded.all_histories() == split.all_histories()
    assert loaded.step == split.step


def test_a_corpus_without_texts_or_sentences(tmp_path):
    split = dataclasses.replace(hand_made_corpus().split(), held_out_explanations={"validation": [], "test": []})
    split = dataclasses.replace(split, train=dataclasses.replace(split.train, explanations=[], item_texts=[]))
    save_split(split, tmp_path / "split")
    loaded = load_split(tmp_path / "split")
    assert [len(loaded.explanations(part)) for part in ("train", "validation", "test")] == [0, 0, 0]
    assert len(loaded.train.item_texts) == 0
    assert loaded.train.sequences == split.train.sequences


def test_the_samples_of_a_mapped_part_are_those_of_one_in_memory(tmp_path):
    split = make_split()
    save_split(split, tmp_path / "split")
    encoded = []
    for each in (split, load_split(tmp_path / "split")):
        indexing = load_indexing("random").fit(each.train, seed=1)
        tasks = [load_task("sequential", segments="prefixes"), load_task("topn", num_negatives=9)]
        tasks.append(load_task("explanation"))
        tokenizer = build_tokenizer("scratch:tiny", each.train, indexing, tasks, vocabulary_size=400)
        processor = PODProcessor(tokenizer, indexing, tasks)
        training = TrainingSamples(each.train, processor)
        keys = [key for batch in TaskAlternatingBatchSampler(training.sizes, 8) for key in batch]
        held_out = EvaluationSamples.of_part(each, "test", processor)
        encoded.append(
            [
                [training[key] for key in keys],
                {name: [samples[row] for row in range(len(samples))] for name, samples in held_out.items()},
            ]
        )
    assert len(encoded[0][0]) >= 3 * len(split.train.sequences.values) - 3 * 40 > 100
    assert encoded[0] == encoded[1]


def file_backed(array):
    """Whether an array lies in a file that is mapped into this process."""
    address = array.__array_interface__["data"][0]
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            if start <= address < end:
                return line.rstrip().endswith(".arrow")
    raise AssertionError("no such address")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc/self/maps, which Linux has")
def test_interactions_and_sentences_stay_on_disk(tmp_path, keep_in_memory):
    save_split(make_split(), tmp_path / "split")
    loaded = load_split(tmp_path / "split", keep_in_memory=keep_in_memory)
    texts = np.frombuffer(loaded.train.explanations.texts.buffers()[2], dtype=np.uint8)
    parts = [loaded.train.sequences.values, loaded.train.timestamps[3], loaded.later.values, loaded.test_items, texts]
    assert [file_backed(part) for part in parts] == [not keep_in_memory] * len(parts)


def test_a_folder_that_holds_none_or_half_of_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no split: there is no split\.json; write one by save_split"):
        load_split(tmp_path)
    save_split(make_split(), tmp_path / "split")
    (tmp_path / "split" / "sequences.arrow").unlink()
    with pytest.raises(FileNotFoundError, match=r"a split without sequences\.arrow: it was not copied to the end"):
        load_split(tmp_path / "split")


def test_a_split_of_another_format(tmp_path):
    save_split(make_split(), tmp_path / "split")
    path = tmp_path / "split" / "split.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "format": 7}), encoding="utf-8")
    with pytest.raises(ValueError, match="holds a split of format 7 .* this version reads format 1"):
        load_split(tmp_path / "split")


def test_what_is_there_is_kept_unless_it_is_a_split(tmp_path):
    folder = tmp_path / "split"
    save_split(make_split(), folder)
    save_split(make_split("temporal"), folder)
    assert load_split(folder).name == "temporal"
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        save_split(make_split(), folder)
    assert load_split(folder).name == "temporal"


def test_a_kind_of_ones_own_is_refused(tmp_path):
    class Own(LeaveOneOut):
        pass

    split = make_split()
    own = Own(**{field.name: getattr(split, field.name) for field in dataclasses.fields(split)})
    with pytest.raises(ValueError, match="kind Own cannot be saved; only leave-one-out, leave-one-out-refit, temporal"):
        save_split(own, tmp_path / "split")
    assert list(tmp_path.iterdir()) == []


def test_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = python_blocks(page("scale-out.md"))
    seen = {}
    exec(block, seen)
    assert seen["split"].train.sequences == load_corpus("embedded").split().train.sequences
    assert (tmp_path / "split" / "split.json").is_file()


def test_texts_are_a_sequence():
    words = [f"w{number}" for number in range(25_000)]
    texts = ArrowTexts(pa.chunked_array([words[:9_000], words[9_000:]]))
    assert list(texts) == words
    assert texts == words
    assert texts != words[:-1]
    assert (texts[-1], texts[12_345], list(texts[3:9:2])) == ("w24999", "w12345", ["w3", "w5", "w7"])
    assert ("w7" in texts, texts.index("w30")) == (True, 30)
    with pytest.raises(IndexError, match="there is no text 25000; the 25000 texts are counted from 0"):
        texts[25_000]
