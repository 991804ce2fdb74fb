"""Seconds of an index of a million vectors: exact search, and the update of ten thousand files.

    python tests/performance/bench_index.py [--vectors 1000000] [--dims 384] [--files 10000] [--model FILE] [--folder FOLDER]

The vectors are drawn around a thousand centres, as those of real texts lie in heaps, and are of length 1. The index file is
written once and kept in `--folder`; `--vectors 0` leaves this part out. The search is run in this process: the first of each
question reads the file, the median is of those after it, and each is compared with float32 products of all vectors.

The files are Markdown of a few hundred words. They are added by whole processes of `llamacli embed index add`, with `--model`
(a tiny one is made without it): all of them, none changed, and ten of them changed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from tiny_bert import tiny_bert

from llamacli.retrieval.nearest import nearest
from llamacli.store.vectors.index import VectorIndex

SEARCH_LIMIT, UPDATE_LIMIT = 0.3, 10.0
"""Most seconds of a search, and of an update."""

CENTRES, QUESTIONS, TOP = 1000, 5, 10
WORDS = ("the", "a", "cat", "dog", "sat", "ran", "on", "mat", "red", "blue", "what", "who", "is", "hello", "world")


def draw(generator: np.random.Generator, centres: np.ndarray, count: int) -> np.ndarray:
    """Return vectors of length 1 around centres."""
    rows = centres[generator.integers(0, len(centres), count)]
    rows = rows + generator.standard_normal(rows.shape, np.float32) * np.float32(0.7)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def make_index(path: Path, count: int, dims: int) -> None:
    """Write an index of drawn vectors."""
    generator = np.random.default_rng(1)
    centres = generator.standard_normal((CENTRES, dims), np.float32)
    with VectorIndex(path, create=True) as index:
        index.require({"fingerprint": "drawn", "dimensions": str(dims), "pooling": "mean", "attention": "non-causal"})
        for start in range(index.count(), count, 10_000):
            for number, row in enumerate(draw(generator, centres, min(10_000, count - start)), start):
                index.add(None, f"text {number}", row.astype("<f4").tobytes())
            index.commit()


def measure_search(path: Path, dims: int) -> bool:
    """Print the seconds of exact searches, and whether they find what products of all vectors do."""
    generator = np.random.default_rng(2)
    queries = draw(generator, np.random.default_rng(1).standard_normal((CENTRES, dims), np.float32), QUESTIONS)
    with VectorIndex(path) as index:
        print(f"{index.count():,} vectors of {dims}, {path.stat().st_size / 1e9:.1f} GB")
        times, is_exact = [], True
        for number, query in enumerate(queries):
            seconds = []
            for _ in range(4):
                start = time.perf_counter()
                found = nearest(index, query[None], TOP)
                seconds.append(time.perf_counter() - start)
            times.append(statistics.median(seconds[1:]))
            is_exact &= number > 0 or [name for _, name in found] == all_products(index, query)
            print(f"question {number + 1}: first {seconds[0]:.3f} s, then {times[-1]:.3f} s")
    print(f"median {statistics.median(times):.3f} s (limit {SEARCH_LIMIT}), {'exact' if is_exact else 'NOT EXACT'}")
    return is_exact and statistics.median(times) <= SEARCH_LIMIT


def all_products(index: VectorIndex, query: np.ndarray) -> list[int]:
    """Return the numbers of the nearest texts by float32 products with all vectors."""
    scored = [
        (-float(score), number)
        for numbers, data in index.vectors(query.nbytes)
        for score, number in zip(np.frombuffer(data, "<f4").reshape(len(numbers), -1) @ query, numbers, strict=True)
    ]
    return [number for _, number in sorted(scored)[:TOP]]


def write_files(folder: Path, count: int) -> list[Path]:
    """Write Markdown files of a few hundred words."""
    draw_words = random.Random(3)
    paths = []
    for number in range(count):
        path = folder / f"part{number // 100}" / f"page{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        paragraphs = [" ".join(draw_words.choices(WORDS, k=60)) for _ in range(draw_words.randint(2, 8))]
        path.write_text(f"# page {number}\n\n" + "\n\n".join(paragraphs) + "\n")
        paths.append(path)
    return paths


def measure_update(folder: Path, count: int, model: Path) -> bool:
    """Print the seconds of adding files, of an update without changes, and of one with ten changed files."""
    tree, database = folder / "tree", folder / "tree.db"
    paths = write_files(tree, count)
    database.unlink(missing_ok=True)
    seconds = {"all files": add(database, tree, model), "no change": add(database, tree, model)}
    for path in random.Random(4).sample(paths, 10):
        path.write_text(path.read_text() + "\n\nOne more paragraph, about a blue mat.\n")
    seconds["10 changed"] = add(database, tree, model)
    for name, taken in seconds.items():
        print(f"{count:,} files, {name}: {taken:.2f} s")
    return max(seconds["no change"], seconds["10 changed"]) <= UPDATE_LIMIT


def add(database: Path, tree: Path, model: Path) -> float:
    """Return the seconds of a process that brings the index up to date."""
    start = time.perf_counter()
    command = [sys.executable, "-P", "-m", "llamacli", "embed", "index", "add", database, tree, "-m", model]
    subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Measure, and return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        passed = True
        if options.vectors:
            path = folder / f"{options.vectors}x{options.dims}.db"
            make_index(path, options.vectors, options.dims)
            passed &= measure_search(path, options.dims)
        if options.files:
            passed &= measure_update(folder, options.files, options.model or tiny_bert(folder / "bert.gguf"))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
