"""How long a large file of ratings takes to read, and how much memory.

    python benchmarks/reading.py --interactions 10000000 [--folder DIR]

Writes ratings and movies in the form of MovieLens 20M to 32M (not timed), and reads them with `load_corpus`. The last
line of standard output is one JSON object, `{"interactions", "seconds", "max_rss_gib"}`. The memory is the most that
was resident in the reading process, with the libraries (about 0.45 GiB) and the pages of files mapped into it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

RATINGS_OF_A_USER = 160
MOVIES = 80_000
_STEP = 499
"""Coprime to the number of movies, so that no user meets one twice."""
_CHUNK = 1_000_000


def main() -> None:
    """Write, read in a process of its own, and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to put the files; a temporary folder where not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        write_files(Path(name), arguments.interactions)
        # What the writing took must not count, so the reading starts from nothing.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(json.dumps(pool.apply(read_files, (name,))))


def write_files(folder: Path, interactions: int) -> None:
    """Write `ratings.csv` and `movies.csv`."""
    random = np.random.default_rng(0)
    users = -(-interactions // RATINGS_OF_A_USER)
    first = random.integers(0, MOVIES, users)
    columns = [("userId", pa.int64()), ("movieId", pa.int64()), ("rating", pa.float64()), ("timestamp", pa.int64())]
    schema = pa.schema(columns)
    options = pa.csv.WriteOptions(quoting_style="none")
    with pa.csv.CSVWriter(folder / "ratings.csv", schema, write_options=options) as writer:
        for start in range(0, interactions, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, interactions))
            user, place = np.divmod(rows, RATINGS_OF_A_USER)
            movie = (first[user] + place * _STEP) % MOVIES + 1
            rating, when = random.integers(1, 11, len(rows)) / 2, random.integers(800_000_000, 1_700_000_000, len(rows))
            values = (user + 1, movie, rating, when)
            writer.write_table(pa.table(dict(zip(schema.names, values, strict=True)), schema=schema))
    movies = (f'{movie},"Movie, {movie} (1999)",Comedy|Drama\n' for movie in range(1, MOVIES + 1))
    with (folder / "movies.csv").open("w", encoding="utf-8") as file:
        file.write("movieId,title,genres\n")
        file.writelines(movies)


def read_files(folder: str) -> dict[str, float]:
    """Read them and measure."""
    from peft_pod.corpus import load_corpus

    start = time.perf_counter()
    corpus = load_corpus("movielens", folder)
    seconds = time.perf_counter() - start
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"interactions": len(corpus.interactions), "seconds": round(seconds, 1), "max_rss_gib": round(rss, 2)}


if __name__ == "__main__":
    main()
