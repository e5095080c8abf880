from __future__ import annotations

import re

import pytest
import yaml
from datasets import Dataset
from huggingface_hub import DatasetCard

from peft_pod.corpus import Corpus, load_corpus
from peft_pod.corpus.card import _size, dataset_card
from peft_pod.corpus.explain import choose_explanations
from peft_pod.corpus.steps import Step
from tests.corpora import hand_made_corpus
from tests.corpus.test_explain import SMALL, corpus_of, reviewed


def corpus_with_steps() -> Corpus:
    made = hand_made_corpus()
    steps = [
        Step("read | csv", {"files": "a|b\nc", "share": 0.5}, {"exact duplicates dropped": 1200, "`ties`": 0}),
        Step("k-core", {"users": 5}),
    ]
    return Corpus.from_tables("hand: made", made.tables, steps)


def tables_of(card: str) -> list[dict[str, str]]:
    """The tables of the Markdown, first column to second."""
    found = re.findall(r"(?:^\|.*\|\n)+", card, re.MULTILINE)
    rows = [
        [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        for table in found
    ]
    assert all(len(row) == len(table[0]) for table in rows for row in table)
    return [{row[0]: row[1] for row in table[2:]} for table in rows]


def section(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_front_matter_is_what_the_hub_reads():
    card = DatasetCard(dataset_card(corpus_with_steps(), license="cc-by-4.0"))
    data = card.data.to_dict()
    assert data == {
        "pretty_name": "hand: made",
        "license": "cc-by-4.0",
        "task_categories": ["text-generation", "other"],
        "size_categories": ["n<1K"],
        "tags": ["recommendation", "sequential-recommendation", "peft-pod", "explainable-recommendation"],
        "configs": [
            {
                "config_name": "interactions",
                "data_files": [{"split": "full", "path": "interactions.parquet"}],
                "default": True,
            },
            {"config_name": "items", "data_files": [{"split": "full", "path": "items.parquet"}]},
            {"config_name": "explanations", "data_files": [{"split": "full", "path": "explanations.parquet"}]},
        ],
    }
    assert yaml.safe_load(card.content.split("---")[1]) == data


def test_without_explanations_and_licence():
    made = hand_made_corpus()
    corpus = Corpus.from_tables("plain", {"interactions": made.interactions, "items": made.items})
    card = dataset_card(corpus)
    data = DatasetCard(card).data.to_dict()
    assert "license" not in data
    assert data["task_categories"] == ["other"]
    assert [config["config_name"] for config in data["configs"]] == ["interactions", "items"]
    assert "- There are no explanation sentences." in section(card, "Known limits")
    assert "The licence of the data is that of their source" in card


def test_name_fingerprint_sizes_and_steps():
    corpus = corpus_with_steps()
    card = dataset_card(corpus)
    assert "\n# hand: made\n" in card
    assert f"Fingerprint `{corpus.fingerprint}`" in card
    sizes, counts, split = tables_of(card)
    assert sizes == {"`interactions`": "11", "`items`": "6", "`explanations`": "5"}
    assert "3 users, 6 items." in card
    assert counts == {"exact duplicates dropped": "1,200", "'ties'": "0"}
    assert split == {rule: f"{count:,}" for rule, count in corpus.split().step.counts.items()}
    made = section(card, "How it was made")
    assert "### 1. read \\| csv\n\nSettings: `files` a\\|b c, `share` 0.5." in made
    assert made.endswith("### 2. k-core\n\nSettings: `users` 5.\n")


def test_the_lines_that_load_it_run(tmp_path):
    corpus = load_corpus("embedded", num_users=20)
    corpus.to_parquet(tmp_path / "out")
    code = re.search(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text(), re.DOTALL)[1]
    code = code.replace("path/to/this/folder", str(tmp_path / "out"))
    assert code.count("owner/name") == 1
    exec(code, {})


def test_a_temporal_split_can_be_made_again_from_the_card():
    corpus = load_corpus("embedded", num_users=20)
    times = sorted(corpus.interactions["timestamp"])
    cuts = {"validation_cut": times[len(times) // 2], "test_cut": times[-len(times) // 5]}
    split = corpus.split("temporal", **cuts)
    loading = section(dataset_card(corpus, split=split), "How to load it")
    call = re.search(r"corpus\.split\(.*\)", loading)[0]
    assert eval(call, {"corpus": corpus}).fingerprint == split.fingerprint
    assert f'"{split.fingerprint}"' in loading


def test_known_limits_are_those_of_the_data():
    rows = Dataset.from_dict(
        {"user_id": ["u"] * 4, "item_id": list("abcd"), "timestamp": [5, 5, 7, 7], "rating": [1.0] * 4}
    )
    items = Dataset.from_dict({"item_id": list("abcd"), "title": list("abcd")})
    limits = section(dataset_card(Corpus.from_tables("tied", {"interactions": rows, "items": items})), "Known limits")
    assert limits.strip().splitlines() == [
        "- 1 users whose test item shares its time with the item before.",
        "- 1 test items that do not occur in training.",
        "- Items have no titles: each has its ID in place of one.",
        "- There are no explanation sentences.",
    ]
    hand_made = section(dataset_card(hand_made_corpus()), "Known limits")
    assert "- Times are places in each user's history" in hand_made
    assert "- There are no ratings." in hand_made
    assert "no titles" not in hand_made


def test_explanations_for_another_split_are_called_a_leak():
    explained = choose_explanations(corpus_of(reviewed(8)), **SMALL)
    limits = section(dataset_card(explained), "Known limits")
    assert "Leak" not in limits
    assert "chosen from reviews by counting" in limits
    cuts = explained.split("temporal", validation_fraction=0.2, test_fraction=0.2)
    assert "- Leak: the explanations were chosen for" in section(dataset_card(explained, split=cuts), "Known limits")


def test_a_split_of_another_corpus_is_refused():
    with pytest.raises(ValueError, match="the split is one of the corpus with fingerprint"):
        dataset_card(hand_made_corpus(), split=load_corpus("embedded", num_users=20).split())


@pytest.mark.parametrize(
    ("count", "name"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (198_502, "100K<n<1M"), (10**7, "10M<n<100M")],
)
def test_size_categories(count: int, name: str):
    assert _size(count) == name
