"""The tables of `docs/results.md`: a YAML file a run, a command that makes them, JSON results, and a page from these.

python -m benchmarks.quality [RUN ...] [--table NAME] --data-root DIR
python -m benchmarks.quality --page
python -m benchmarks.quality --curves RUN
"""

from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
RUNS = FOLDER / "runs"
RESULTS = FOLDER / "results"
PAGE_SOURCE = FOLDER / "page.md"
PAGE = ROOT / "docs" / "results.md"
