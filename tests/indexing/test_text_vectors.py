from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from peft_pod.indexing import SemanticIndexing
from peft_pod.indexing.text_vectors import item_descriptions, load_vectors, sentence_vectors, tfidf_vectors

from .training_parts import make_train

TEXTS = ["mint soap soap", "steel brush", "soap of steel", "a"]


def test_inner_products_are_those_of_weighted_words() -> None:
    """With a dimension for each word, nothing is lost: the products are cosines of (1 + log tf) · idf."""
    words = ["brush", "mint", "of", "soap", "steel"]
    counts = np.array([[text.split().count(word) for word in words] for text in TEXTS], dtype=float)
    rarity = np.log((1 + len(TEXTS)) / (1 + (counts > 0).sum(axis=0))) + 1
    weights = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * rarity
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    weights = weights / np.where(lengths > 0, lengths, 1)
    for dimension in (5, 9):
        vectors = tfidf_vectors(TEXTS, dimension)
        assert vectors.shape == (4, dimension)
        np.testing.assert_allclose(vectors @ vectors.T, weights @ weights.T, atol=1e-9)
    assert not tfidf_vectors(TEXTS, 5)[3].any()


def test_fewer_dimensions_are_the_leading_ones() -> None:
    whole, short = tfidf_vectors(TEXTS, 5), tfidf_vectors(TEXTS, 2)
    values, directions = np.linalg.eigh(whole @ whole.T)
    best = (directions[:, -2:] * values[-2:]) @ directions[:, -2:].T
    np.testing.assert_allclose(short @ short.T, best, atol=1e-6)


def test_without_a_word_nothing_is_known() -> None:
    assert not tfidf_vectors(["", "?"], 3).any()


def test_descriptions_are_titles_and_texts() -> None:
    train = make_train([[0]], 2)
    assert item_descriptions(train) == ["Item 0", "Item 1"]
    assert item_descriptions(replace(train, item_texts=["soft", ""])) == ["Item 0 soft", "Item 1"]


def test_a_file_is_read_by_item_ids(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npz"
    np.savez(path, item_ids=np.array(["b", "c", "a"]), vectors=np.array([[2.0], [3.0], [1.0]], dtype=np.float32))
    assert load_vectors(str(path), ["a", "b"]).tolist() == [[1.0], [2.0]]
    with pytest.raises(ValueError, match="has no vectors for 1 items, such as 'z'"):
        load_vectors(str(path), ["a", "z"])
    np.save(tmp_path / "vectors.npy", np.array([[1.0], [2.0]]))
    assert load_vectors(str(tmp_path / "vectors.npy"), ["x", "y"]).tolist() == [[1.0], [2.0]]


def test_files_that_do_not_serve_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"vectors='nowhere\.npz': there is no such file"):
        load_vectors("nowhere.npz", ["a"])
    np.savez(tmp_path / "lacking.npz", vectors=np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"lacks the arrays \['item_ids'\]; it has \['vectors'\]"):
        load_vectors(str(tmp_path / "lacking.npz"), ["a"])
    for vectors, message in (
        (np.ones((3, 2)), r"shape \(2, length\), one for each item, got \(3, 2\)"),
        (np.ones(2), r"got \(2,\)"),
        (np.array([[1.0], [np.nan]]), "finite numbers"),
        (np.array([["a"], ["b"]]), "finite numbers"),
    ):
        np.save(tmp_path / "wrong.npy", vectors)
        with pytest.raises(ValueError, match=message):
            load_vectors(str(tmp_path / "wrong.npy"), ["a", "b"])


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="pickle"):
        load_vectors(str(tmp_path / "objects.npy"), ["a"])


def test_sentence_transformers_is_asked_for_the_titles(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class SentenceTransformer:
        def __init__(self, name: str) -> None:
            if name == "none/such":
                raise OSError("not found")
            self.name = name

        def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray:
            asked.append((self.name, texts))
            return np.array([[float(len(text)), 1.0] for text in texts], dtype=np.float32)

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    train = make_train([[0]], 3)
    vectors = SemanticIndexing(vectors="some/model").item_vectors(train)
    assert vectors.tolist() == [[6.0, 1.0]] * 3
    assert asked == [("some/model", ["Item 0", "Item 1", "Item 2"])]
    with pytest.raises(ValueError, match="'none/such' is neither 'tfidf', a .npy or .npz file, nor a sentence-transf"):
        sentence_vectors(["a"], "none/such")


def test_without_sentence_transformers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match=r"vectors='some/model' .*pip install 'peft-pod\[semantic\]'"):
        SemanticIndexing(vectors="some/model").fit(make_train([[0]], 3))
