"""The speed of `tokenize`: in a child against this process, against one call of the C function, and against HF `tokenizers`.

    python tests/performance/bench_tokenize.py [MODEL] [--megabytes 50]

HF `tokenizers` is used if it is installed (`pip install tokenizers`), with a tokenizer made of the model's own tokens and
merges. The text is this repository's source code and documentation, repeated.
"""

from __future__ import annotations

import argparse
import importlib.util
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers

from llamacli.backend.child.tokenizer import Vocabularies
from llamacli.binding.arrays import token_buffer, token_values
from llamacli.binding.library import library
from llamacli.engine.runtime.model import Model
from llamacli.engine.tokenization.documents import BLOCK, Document, checked, chunks_of, text_document
from llamacli.engine.tokenization.tokenizer import Tokenizer
from llamacli.gguf.arrays import read_strings
from llamacli.gguf.source import FileSource
from llamacli.store.models import catalogue

STACK = 1 << 30
"""Bytes."""


def corpus(size: int) -> bytes:
    """Return about `size` bytes of source code and prose."""
    texts = [
        path.read_bytes()
        for pattern in ("llamacli/**/*.py", "tests/**/*.py", "*.md")
        for path in sorted(peers.ROOT.glob(pattern))
    ]
    data = b"\n".join(texts)
    data = (data * (size // len(data) + 1))[:size]
    return data.decode(errors="ignore").encode()


def one_call(model: Model, data: bytes) -> array[int]:
    """Return the tokens of all data from one call of the C function, on one thread."""
    vocabulary = model.vocabulary
    buffer = token_buffer(len(data) + 8)

    def work() -> int:
        return int(library().llama_tokenize(vocabulary.handle, data, len(data), buffer, len(buffer), False, False))

    return token_values(buffer, on_large_stack(work))


def ours(model: Model, data: bytes) -> array[int]:
    """Return the tokens of all data from our tokenizer, on all cores."""
    tokens = array("i")
    for chunk in chunks_of(Tokenizer(model, wrap=False), [checked(blocks_document(data))]):
        tokens += chunk.tokens
    return tokens


def in_child(vocabularies: Vocabularies, data: bytes) -> array[int]:
    """Return the tokens of all data from the tokenizer in a child."""
    tokens = array("i")
    for chunk in chunks_of(vocabularies.tokenizer(wrap=False), [blocks_document(data)]):
        tokens += chunk.tokens
    return tokens


def blocks_document(data: bytes) -> Document:
    """Return a document that is read in blocks, as files are."""
    return Document("text", lambda: (data[start : start + BLOCK] for start in range(0, len(data), BLOCK)))


def on_large_stack(work: Callable[[], int]) -> int:
    """Run `work` on a thread with a stack that is large enough for the recursion of std::regex over the whole text."""
    results: list[int] = []
    before = threading.stack_size(STACK)
    try:
        thread = threading.Thread(target=lambda: results.append(work()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return results[0]


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def hugging_face(model: Model) -> Any:
    """Return a byte-level BPE tokenizer of the model's tokens and merges, with the splitting of the demo model or of GPT-2."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    header = model.header
    pre = header.text("tokenizer.ggml.pre")
    if header.text("tokenizer.ggml.model") != "gpt2" or pre not in ("smollm", "gpt-2"):
        raise SystemExit(f"unsupported pre-tokenizer {pre}: no equivalent for HF tokenizers is implemented here")
    with FileSource(model.path) as source:
        tokens, merges = (
            [text.decode() for text in read_strings(source, header, header.array(f"tokenizer.ggml.{name}"))]
            for name in ("tokens", "merges")
        )
    pairs = [tuple(merge.split(" ", 1)) for merge in merges]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, pairs))
    digits = [pre_tokenizers.Split(Regex(r"\p{N}"), "isolated")] if pre == "smollm" else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=catalogue.DEMO.path)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    data = corpus(int(options.megabytes * 1e6))
    size = len(data) / 1e6
    with Model(options.model, vocab_only=True) as model, Vocabularies([options.model]) as child:
        expected = one_call(model, data)
        print(f"{size:.1f} MB, equal ids: {ours(model, data) == expected}, in a child: {in_child(child, data) == expected}")
        isolated = peers.interleaved(
            lambda: size / timed(lambda: in_child(child, data)), lambda: size / timed(lambda: ours(model, data)), options.pairs
        )
        print(f"MB/s, in a child / in this process             {isolated}")
        result = peers.interleaved(
            lambda: size / timed(lambda: ours(model, data)), lambda: size / timed(lambda: one_call(model, data)), options.pairs
        )
        print(f"MB/s, all cores / one call of llama_tokenize   {result}")
        if importlib.util.find_spec("tokenizers") is None:
            print("HF tokenizers is not installed: pip install tokenizers")
            return
        theirs = hugging_face(model)
        text = data.decode()
        lines = text.splitlines(keepends=True)
        sample = lines[: len(lines) // 50]
        equal = [token for line in theirs.encode_batch(["".join(sample)]) for token in line.ids] == model.vocabulary.tokenize(
            "".join(sample)
        )
        print(f"HF tokenizers returns equal ids: {equal}")
        documents = ["".join(lines[start : start + 400]) for start in range(0, len(lines), 400)]
        whole = peers.interleaved(
            lambda: size / timed(lambda: ours(model, data)), lambda: size / timed(lambda: theirs.encode(text)), options.pairs
        )
        print(f"MB/s, one document / HF encode                {whole}")
        batch = peers.interleaved(
            lambda: (
                size
                / timed(
                    lambda: list(
                        chunks_of(Tokenizer(model, wrap=False), [text_document("", part.encode()) for part in documents])
                    )
                )
            ),
            lambda: size / timed(lambda: theirs.encode_batch_fast(documents)),
            options.pairs,
        )
        print(f"MB/s, {len(documents):,} documents / HF encode_batch_fast   {batch}")


if __name__ == "__main__":
    main()
