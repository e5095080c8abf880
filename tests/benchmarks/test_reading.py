from __future__ import annotations

from pathlib import Path

from benchmarks.reading import RATINGS_OF_A_USER, read_files, write_files
from peft_pod.corpus import load_corpus


def test_the_files_are_what_they_say(tmp_path: Path):
    """No user rates a movie twice, so the reader, which refuses that, takes them."""
    write_files(tmp_path, 10 * RATINGS_OF_A_USER)
    found = read_files(str(tmp_path))
    assert found["interactions"] == 10 * RATINGS_OF_A_USER
    assert set(found) == {"interactions", "seconds", "max_rss_gib"}
    corpus = load_corpus("movielens", tmp_path)
    assert corpus.steps[0].counts["users"] == 10
    assert corpus.items["title"][0] == "Movie, 1 (1999)"
