"""The texts of `llamacli run`, of its rows and of `llamacli serve` for the same prompts, with the most probable tokens.

    python tests/performance/equal_texts.py MODEL [--prompts 50] [-n 48] [--kernels own]

Each prompt is answered by a `run` of its own, in rows side by side, and by a server that gets all of them at once. The command
fails if any two texts differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import peers
from bench_serve import serving

from llamacli.bench.quality.text import shipped_text

AT_ONCE = 8


def prompts(count: int) -> list[str]:
    """Return prompts of different lengths: questions about lines of the shipped text."""
    lines = [line for line in shipped_text().data.decode().splitlines() if line.isascii() and 40 < len(line) < 400]
    step = max(1, len(lines) // count)
    return [f"What does this mean? {' '.join(lines[step * n : step * n + 1 + n % 4])}" for n in range(count)]


def single(options: list[str], prompt: str) -> str:
    """Return the answer of a process of its own."""
    return peers.run([*peers.LLAMACLI, "run", *options, "--", prompt]).output.rstrip("\n")


def rows(options: list[str], asked: list[str]) -> list[str]:
    """Return the answers of rows side by side."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"prompt": prompt}) + "\n" for prompt in asked)
        file.flush()
        how = ("--input", file.name, "--parallel", str(AT_ONCE))
        output = peers.run([*peers.LLAMACLI, "run", *options, *how]).output
    return [json.loads(line)["text"] for line in output.splitlines()]


def served(model: Path, kernels: str, length: int, asked: list[str]) -> list[str]:
    """Return the answers of a server that gets all prompts at once."""
    port = peers.free_port()
    options = ("--port", str(port), "--parallel", str(AT_ONCE), "--kernels", kernels)
    with serving([*peers.LLAMACLI, "serve", "-m", str(model), *options], port), ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda prompt: _ask(port, prompt, length), asked))


def _ask(port: int, prompt: str, length: int) -> str:
    document = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": length}
    url, headers = f"http://127.0.0.1:{port}/v1/chat/completions", {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)
    with urllib.request.urlopen(request) as response:
        answer: Any = json.load(response)
    return str(answer["choices"][0]["message"]["content"])


def main() -> None:
    """Print how many texts are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("-n", type=int, default=48)
    parser.add_argument("--kernels", default="own")
    given = parser.parse_args()
    model, asked = given.model.resolve(), prompts(given.prompts)
    options = ["-m", str(model), "--temp", "0", "-n", str(given.n), "--kernels", given.kernels]
    alone = [single(options, prompt) for prompt in asked]
    others = {"rows": rows(options, asked), "server": served(model, given.kernels, given.n, asked)}
    failed = False
    for name, texts in others.items():
        different = [number for number, pair in enumerate(zip(alone, texts, strict=True)) if pair[0] != pair[1].rstrip("\n")]
        print(
            f"{name}: {len(asked) - len(different)} of {len(asked)} texts are those of single runs", different or "", flush=True
        )
        failed |= bool(different)
    sys.exit(failed)


if __name__ == "__main__":
    main()
