"""Small files in each format: the same five interactions, three users and three items, where the format can say so."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict

ROWS = [
    ("U1", "B07", 1_500_000_000, 5.0, "Smells of mint &amp; lime."),
    ("U2", "B07", 1_500_000_060, 4.0, "Too small."),
    ("U1", "B08", 1_500_000_120, 3.0, ""),
    ("U3", "B08", 1_500_000_120, 1.0, "Broke at once."),
    ("U2", "B09", 1_500_000_180, 4.5, "Zoë's favourite"),
]
TITLES = {"B07": "Soap, green", "B08": "Lamp", "B09": "Café mug"}


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def write_json_lines(path: Path, rows: list[dict]) -> None:
    write(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def amazon_2014(folder: Path) -> None:
    keys = ("reviewerID", "asin", "unixReviewTime", "overall", "reviewText")
    rows = [{**dict(zip(keys, row, strict=True)), "helpful": [0, 1], "summary": "x"} for row in ROWS]
    write_json_lines(folder / "reviews_Home_5.json.gz", rows)
    # The metadata of 2014 are Python dictionaries.
    lines = [repr({"asin": item, "title": title, "categories": [["Home", "Bath"]]}) for item, title in TITLES.items()]
    write(folder / "meta_Home.json.gz", "".join(f"{line}\n" for line in lines))


def amazon_2018(folder: Path) -> None:
    keys = ("reviewerID", "asin", "unixReviewTime", "overall", "reviewText")
    rows = [{**dict(zip(keys, row, strict=True)), "style": {"Size:": " 7"}, "verified": True} for row in ROWS]
    write_json_lines(folder / "Home_5.json", rows)
    metadata = [
        {"asin": item, "title": title, "brand": "Acme", "category": ["Home"], "feature": ["a"], "description": ["b"]}
        for item, title in TITLES.items()
    ]
    write_json_lines(folder / "meta_Home.json", metadata)


def amazon_2023(folder: Path) -> None:
    rows = [
        {"user_id": user, "parent_asin": item, "asin": "X", "timestamp": time * 1000, "rating": rating, "text": text}
        for user, item, time, rating, text in ROWS
    ]
    write_json_lines(folder / "Home.jsonl", rows)
    metadata = [
        {
            "parent_asin": item,
            "title": title,
            "features": [],
            "description": ["d"],
            "categories": ["Home"],
            "store": None,
        }
        for item, title in TITLES.items()
    ]
    write_json_lines(folder / "meta_Home.jsonl.gz", metadata)


def amazon_2023_ratings(folder: Path) -> None:
    lines = [f"{user},{item},{rating},{time * 1000},B01 B02\n" for user, item, time, rating, _ in ROWS]
    write(folder / "Home.csv", "".join(["user_id,parent_asin,rating,timestamp,history\n", *lines]))


def movielens_1m(folder: Path) -> None:
    lines = [f"{user[1]}::{item[1:]}::{rating}::{time}\n" for user, item, time, rating, _ in ROWS]
    write(folder / "ratings.dat", "".join(lines))
    lines = [f"{item[1:]}::{title} (1999)::Comedy|Drama\n" for item, title in TITLES.items()]
    write(folder / "movies.dat", "".join(lines), "latin-1")


def movielens(folder: Path) -> None:
    lines = [f"{user[1]},{item[1:]},{rating},{time}\n" for user, item, time, rating, _ in ROWS]
    write(folder / "ratings.csv", "".join(["userId,movieId,rating,timestamp\n", *lines]))
    with (folder / "movies.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["movieId", "title", "genres"])
        writer.writerows([item[1:], f"{title} (1999)", "(no genres listed)"] for item, title in TITLES.items())


def recbole(folder: Path) -> None:
    lines = [f"{user}\t{item}\t{rating}\t{time}\n" for user, item, time, rating, _ in ROWS]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    write(folder / "home.inter", "".join([header, *lines]))
    lines = [f"{item}\t{title}\tHome Bath\n" for item, title in TITLES.items()]
    write(folder / "home.item", "".join(["item_id:token\ttitle:token_seq\tcategories:token_seq\n", *lines]))


def columns_csv(folder: Path) -> None:
    with (folder / "interactions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user_id", "item_id", "timestamp", "rating", "review"])
        writer.writerows(ROWS)
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item_id", "title"])
        writer.writerows(TITLES.items())


def tables() -> dict[str, pa.Table]:
    names = ("user_id", "item_id", "timestamp", "rating", "review")
    return {
        "interactions": pa.table(dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True))),
        "items": pa.table({"item_id": list(TITLES), "title": list(TITLES.values())}),
    }


def columns_parquet(folder: Path) -> None:
    for name, table in tables().items():
        pq.write_table(table, folder / f"{name}.parquet")


def datasets_folder(folder: Path) -> None:
    DatasetDict({name: Dataset(table) for name, table in tables().items()}).save_to_disk(str(folder))


def pod(folder: Path) -> None:
    maps = {
        "id2user": {"1": "U1", "2": "U2", "3": "U3"},
        "id2item": {str(number): item for number, item in enumerate(TITLES, start=1)},
    }
    write(folder / "datamaps.json", json.dumps(maps))
    write(folder / "sequential.txt", "1 1 2\n2 1 3\n3 2\n")
    write(folder / "negative.txt", "1 3\n2 2\n3 1 3\n")
    sentences = [{"user": 1, "item": 1, "explanation": "smells of mint", "feature": "mint"}]
    write(folder / "explanation.json", json.dumps({"train": sentences, "val": [], "test": sentences}))


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "amazon-2014": ("amazon-2014", amazon_2014),
    "amazon-2018": ("amazon-2018", amazon_2018),
    "amazon-2023": ("amazon-2023", amazon_2023),
    "amazon-2023-ratings": ("amazon-2023-ratings", amazon_2023_ratings),
    "movielens-1m": ("movielens-1m", movielens_1m),
    "movielens": ("movielens", movielens),
    "recbole": ("recbole", recbole),
    "columns, CSV": ("columns", columns_csv),
    "columns, Parquet": ("columns", columns_parquet),
    "datasets": ("datasets", datasets_folder),
    "pod": ("pod", pod),
}
"""For each kind of folder the name of its format, and what writes one."""
