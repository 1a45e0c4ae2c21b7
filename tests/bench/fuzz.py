"""Read changed files for some minutes and say what went wrong: ``python tests/bench/fuzz.py``.

Ingest, the journal's reader, the readers of recordings and of cell logs; see `tests.fuzzing`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from flyback.tests.fuzzing import hunt, seeds

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--minutes", type=float, default=10.0)
parser.add_argument("--seed", type=int, default=0, help="number of the first case")
parser.add_argument("--only", default="", help="suffixes of files, such as .json,.journal")
parser.add_argument(
    "--data",
    type=Path,
    default=os.environ.get("FLYBACK_TEST_DATA"),
    help="folder of real files that are changed too (FLYBACK_TEST_DATA)",
)


def main() -> int:
    """Hunt, and return 1 if anything was found."""
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sources = seeds(Path(folder), given.data)
        if given.only:
            sources = [path for path in sources if path.suffix in given.only.split(",")]
        print(f"{len(sources)} files to change", flush=True)
        report = hunt(sources, 60 * given.minutes, given.seed)
    print(f"{report['tried']} changed files read in {given.minutes} minutes")
    for what, (many, number, source) in sorted(report["findings"].items(), key=lambda x: -x[1][0]):
        print(f"  {many} x {what}  (first: case {number}, of {source})")
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
