"""What a draft model gains: answers of one process without drafts, and with those of a draft model.

    python tests/performance/bench_draft_model.py MODEL [--draft-model DRAFT] [--pairs 3] [-n 128] [--times 5]

Without DRAFT there are two comparisons. In the first MODEL drafts for a copy with so many times its layers, of which the
others add nothing: the same text, and every guess is right; that is the most that can be gained. In the second a copy of MODEL
that has only the first of its layers drafts for MODEL: most guesses are wrong, and the ratio must be about 1. Answers are
interleaved, and their texts must be equal. Ratios below 1 mean that drafts save time.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import peers

sys.path.insert(0, str(peers.ROOT / "tests/support"))

import tiny

from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.gguf.arrays import read_numbers, read_strings
from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.layout import TENSOR_TYPES
from llamacli.gguf.model import read_files
from llamacli.gguf.source import FileSource

TASKS = {
    "chat": "Once upon a time, in a small town by the sea,",
    "essay": "The history of glass begins with",
    "code": "def parse_numbers(text):\n    lines = text.split()\n",
    "questions": "Question: what is a clock?\nAnswer: it shows the time.\nQuestion: what is a river?\nAnswer:",
}
_ADDING = ("attn_output.weight", "ffn_down.weight")
"""The tensors by which a layer adds to what it gets."""


def copy_with_layers(model: Path, path: Path, layers: int) -> Path:
    """Write a copy of a model with fewer layers, or with more that add nothing, and return its path."""
    header = read_files(model).header
    before = header.integer(f"{header.architecture}.block_count") or 0
    numbers = {kind.name: number for number, kind in TENSOR_TYPES.items()}
    with FileSource(model) as source:
        metadata = {key: _typed(source, header, entry.type, entry.value) for key, entry in header.metadata.items()}
        metadata[f"{header.architecture}.block_count"] = tiny.Typed(tiny.U32, layers)
        tensors = [
            tiny.Tensor(one.name, one.shape, source.read(one.offset, one.size), numbers[one.type.name])
            for one in header.tensors
        ]
    kept = [one for one in tensors if not one.name.startswith("blk.")]
    for layer in range(layers):
        prefix = f"blk.{layer % before}."
        for one in tensors:
            if one.name.startswith(prefix):
                rest = one.name.removeprefix(prefix)
                data = bytes(len(one.data)) if layer >= before and rest in _ADDING else one.data
                kept.append(dataclasses.replace(one, name=f"blk.{layer}.{rest}", data=data))
    path.write_bytes(tiny.gguf_bytes(metadata, kept))
    return path


def _typed(source: FileSource, header: Header, kind: int, value: Any) -> tiny.Typed:
    if not isinstance(value, Lazy):
        return tiny.Typed(kind, value)
    if value.element is None:
        return tiny.Typed(tiny.STRING, source.read(value.offset, value.size))
    read = read_strings if value.element == tiny.STRING else read_numbers
    return tiny.Typed(tiny.ARRAY, tuple(read(source, header, value)), value.element)


def compare(title: str, target: Path, draft: Path, pairs: int, length: int) -> None:
    """Print the time of each task without drafts and with a draft model."""
    context = ContextParams(n_ctx=1024)
    with Engine(target, ModelParams(draft_model=str(draft)), context) as engine:
        _answer(engine, "Hello", 8, 0)  # what is cold at first is no part of it
        for name, prompt in TASKS.items():
            times: dict[str, list[float]] = {"off": [], "-md": []}
            drafted = accepted = 0
            for pair in range(pairs):
                texts = set()
                for kind, drafts in (("-md", None), ("off", 0)):  # not the other way round: answers are drafted from, too
                    answer = _answer(engine, f"({pair}) {prompt}", length, drafts)
                    times[kind].append(answer.timings.predicted_ms / answer.timings.predicted_n)
                    drafted, accepted = drafted + answer.timings.draft_n, accepted + answer.timings.draft_n_accepted
                    texts.add(answer.content)
                assert len(texts) == 1, "the texts differ"
            ratio = statistics.median(a / b for a, b in zip(times["-md"], times["off"], strict=True))
            off, on = (statistics.median(found) for found in times.values())
            print(
                f"{title:12} {name:10} {off:7.2f} to {on:7.2f} ms a token  {ratio:6.3f}  {accepted} of {drafted} drafted",
                flush=True,
            )


def _answer(engine: Engine, prompt: str, length: int, draft: int | None) -> Answer:
    sampling = SamplingParams(temperature=0, ignore_eos=True)
    params = GenerationParams(max_tokens=length, sampling=sampling, draft=draft)
    (found,) = [one for one in engine.answer(engine.text_turn(prompt), params) if isinstance(one, Answer)]
    return found


def main() -> None:
    """Print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--draft-model", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    if options.draft_model is not None:
        compare("draft model", options.model, options.draft_model, options.pairs, options.n)
        return
    header = read_files(options.model).header
    layers = header.integer(f"{header.architecture}.block_count") or 1
    with tempfile.TemporaryDirectory() as folder:
        slow = copy_with_layers(options.model, Path(folder) / "slow.gguf", layers * options.times)
        compare("always right", slow, options.model, options.pairs, options.n)
        slow.unlink()
        small = copy_with_layers(options.model, Path(folder) / "small.gguf", max(1, layers // 15))
        compare("mostly wrong", options.model, small, options.pairs, options.n)


if __name__ == "__main__":
    main()
