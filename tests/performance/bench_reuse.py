"""What `llamacli run` need not do again: the time of whole processes with the prompt cache and drafts, and without.

    python tests/performance/bench_reuse.py MODEL [--pairs 5] [--tokens 1650] [--only cache|drafts|json|prompts|rows|texts]

Runs are interleaved, greedy, and their texts must be equal. Ratios below 1 mean that the reuse saves time. `texts` compares the
texts of 200 prompts of all kinds with and without drafts and caches; `--slice 0:50` takes a part of them, also of `prompts`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import peers

_QUESTIONS, _ALONE = 32, 4
"""Questions on one document, and how many of them are asked alone, each in a process of its own, for the time of all."""

WORDS = "the model reads a long text about rivers and mountains before it answers a short question "
COPIED = "\n".join(f"def area_{i}(width, height):\n    return width * height + {i}\n" for i in range(12))
TASKS = {
    "copy a file": (COPIED + "\n" + COPIED[:200], 200),
    "repeat a list": ("\n".join(f"{i}. item number {i} of the list" for i in range(1, 25)) + "\n1. item", 200),
    "chat": ("Once upon a time, in a small town by the sea,", 120),
    "essay": ("The history of glass begins with", 120),
}
KEYS = (
    "customer_identification_number", "shipping_address_line_one", "shipping_address_line_two",
    "preferred_delivery_time_window", "is_international_shipment", "total_amount_in_euro_cents",
)  # fmt: skip
RECORD = f"Make up a customer's order record as JSON with the keys {', '.join(KEYS)}."
SCHEMA = {
    "type": "object",
    "properties": dict(zip(KEYS, (
        {"type": "integer"}, {"type": "string", "maxLength": 30}, {"type": "string", "maxLength": 20},
        {"enum": ["morning", "afternoon", "evening"]}, {"type": "boolean"}, {"type": "integer"},
    ), strict=True)),
    "required": list(KEYS),
    "additionalProperties": False,
}  # fmt: skip


def run(arguments: list[str], cache: Path, stdin: str = "") -> tuple[float, str]:
    """Return the seconds of a process and its standard output."""
    environ = {**os.environ, "LLAMACLI_CACHE_DIR": str(cache), "LLAMACLI_PROMPT_CACHE": "on"}
    started = time.perf_counter()
    done = subprocess.run(
        [*peers.LLAMACLI, "run", *arguments], env=environ, input=stdin, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, done.stdout


def show(name: str, times: dict[str, list[float]], base: str, unit: str = "s") -> None:
    """Print the medians, and the median of the ratios to `base`."""
    for kind, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, times[base], strict=True))
        print(f"{name:16} {kind:10} {statistics.median(seconds):8.3f} {unit}  {ratio:6.3f}", flush=True)


def bench_cache(model: Path, pairs: int, tokens: int, folder: Path) -> None:
    """Compare a prompt without the cache, for the first time with it, and again; and the process with a prompt of one word."""
    text = " ".join((WORDS * (tokens // 15 + 1)).split()[:tokens])
    for n in (1, 32):
        times: dict[str, list[float]] = {"off": [], "first": [], "again": [], "short": []}
        common = ["-m", str(model), "--raw", "--temp", "0", "-n", str(n), "--ignore-eos"]
        for pair in range(pairs):
            cache = folder / f"cache-{n}-{pair}"
            texts = set()
            for kind, flags in (("off", ["--no-prompt-cache"]), ("first", []), ("again", [])):
                seconds, shown = run([*common, *flags], cache, stdin=f"{pair} {text}")
                times[kind].append(seconds)
                texts.add(shown)
            assert len(texts) == 1, "the texts differ"
            times["short"].append(run([*common, "Hello"], cache)[0])
            shutil.rmtree(cache)
        show(f"cache, -n {n}", times, "off")


def bench_drafts(model: Path, pairs: int, folder: Path) -> None:
    """Compare generation with drafts and without, by the program's own clock."""
    for name, (prompt, n) in TASKS.items():
        times: dict[str, list[float]] = {"off": [], "auto": []}
        for _ in range(pairs):
            texts = set()
            for kind, measured in times.items():
                flags = ["--draft", kind, "--no-prompt-cache", "--raw", "--temp", "0", "-n", str(n), "--ignore-eos", "--json"]
                document = json.loads(run(["-m", str(model), *flags], folder, stdin=prompt)[1])
                measured.append(document["timings"]["predicted_ms"] / 1e3)
                texts.add(document["choices"][0]["text"])
            assert len(texts) == 1, "the texts differ"
        show(name, times, "off")


def bench_json(model: Path, pairs: int, folder: Path) -> None:
    """Compare JSON of a schema with drafts and without, in both layouts, with free text: milliseconds for a character."""
    kinds = {"free": [], "off": ["--draft", "off"], "auto": [], "compact off": ["--draft", "off", "--json-compact"],
             "compact auto": ["--json-compact"]}  # fmt: skip
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(pairs):
        texts = {}
        for kind, flags in kinds.items():
            held = [] if kind == "free" else ["-j", json.dumps(SCHEMA)]
            common = ["-m", str(model), "--no-prompt-cache", "--temp", "0", "-n", "200", "--json", *held, *flags, RECORD]
            document = json.loads(run(common, folder)[1])
            texts[kind] = document["choices"][0]["message"]["content"]
            times[kind].append(document["timings"]["predicted_ms"] / 1e3 / len(texts[kind]))
        assert texts["off"] == texts["auto"], "the texts differ"
        assert texts["compact off"] == texts["compact auto"], "the texts differ"
    for base in ("free", "off", "compact off"):
        show(f"JSON, to {base}", {kind: [1e3 * one for one in found] for kind, found in times.items()}, base, "ms")


_NAMES = ("glass", "rivers", "a clock", "the moon", "bread", "ships", "a garden", "trade", "music", "snow")
_KINDS = (
    "The history of {} begins with",
    "def parse_{}(text):\n    lines = text.split()\n",
    "1. {}\n2. {}s\n3.",
    '[{"name": "{}", "size": 1}, {"name": "{}", "size": 2}, {"name"',
    "| name | value |\n|---|---|\n| {} | 1 |\n| {} | 2 |\n|",
    "Repeat: I like {} and I like {} too. I like {} and I",
    "Question: what is {}?\nAnswer:",
    "Dear Sir or Madam,\n\nI am writing to you about {}, which",
    "<ul>\n<li>{}</li>\n<li>more {}</li>\n<li>",
    "name,kind,price\n{},new,10\n{},old,20\n",
    "Translate to French: I have seen {}.\nFrench: J'ai vu",
    "A poem about {}:\n\nO {},",
    "User: Tell me about {}.\nAssistant: Certainly!",
    "import os\n\nclass Store:\n    def get(self, name='{}'):\n        return self.items[name]\n\n    def set(self, name='{}'",
    "# {}\n\n## Summary\n\n- {} is\n- {} has\n-",
    "Text: {} was found, and {} was lost.\nSummary:",
    "SELECT name, size FROM things WHERE name = '{}'\nUNION\nSELECT name, size FROM",
    "2 + 2 = 4\n3 + 3 = 6\n4 + 4 = 8\n5 + 5 =",
    "Old: We sell {} and {} here.\nNew, in capitals: WE SELL",
    "Once upon a time there was {}. Every day {} said: good morning. One day",
)


def prompts() -> list[str]:
    """Return 200 prompts: stories, code, lists, JSON, tables, letters, and texts to be repeated or changed."""
    return [kind.replace("{}", name) for name in _NAMES for kind in _KINDS]


def bench_prompts(model: Path, part: slice, rounds: int) -> None:
    """Compare many answers with drafts and without, by turns greedy and seeded, in one process; medians of the ratios.

    Drafts are made from earlier answers, too: so each has an engine of its own, and each round slightly other prompts.
    """
    from llamacli.engine.engine import Engine
    from llamacli.engine.events import Answer
    from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams

    ratios, totals, accepted = [], [0.0, 0.0], 0
    context = ContextParams(n_ctx=512)
    with Engine(model, context=context) as plain, Engine(model, context=context) as drafting:
        for number, prompt in list(enumerate(prompts()))[part]:
            sampling = SamplingParams(temperature=0.0 if number % 2 else 0.8, seed=number, ignore_eos=True)
            found = []
            for turn in range(rounds):
                seconds, texts = {}, set()
                pair = ((plain, 0), (drafting, None))
                for engine, draft in pair if (number + turn) % 2 else pair[::-1]:
                    params = GenerationParams(max_tokens=40, sampling=sampling, draft=draft)
                    events = engine.answer(engine.text_turn(f"({turn}) {prompt}"), params)
                    (answer,) = [one for one in events if isinstance(one, Answer)]
                    seconds[draft] = answer.timings.predicted_ms / 1e3
                    accepted += answer.timings.draft_n_accepted
                    texts.add(answer.content)
                assert len(texts) == 1, f"the texts of {prompt!r} differ"
                found.append(seconds[None] / seconds[0])
                totals = [totals[0] + seconds[None], totals[1] + seconds[0]]
            ratios.append((statistics.median(found), prompt))
    ratios.sort()
    found = [ratio for ratio, _ in ratios]
    print(f"{len(ratios)} prompts: all {totals[0] / totals[1]:.3f}, median {statistics.median(found):.3f}, ", end="")
    print(f"9 of 10 below {found[len(found) * 9 // 10]:.3f}; {accepted} tokens accepted; slowest:", flush=True)
    for ratio, prompt in ratios[:-6:-1]:
        print(f"  {ratio:.3f} {prompt!r}", flush=True)


def compare_texts(model: Path, part: slice, folder: Path) -> None:
    """Compare greedy and seeded texts: plain, with drafts on what is in memory, and after a prompt that came from the disk."""
    from llamacli.backend.prompt_cache import CachedPrompts
    from llamacli.engine.engine import Engine
    from llamacli.engine.events import Answer
    from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
    from llamacli.store.prompt_cache.cache import PromptCache

    context, store, count, restored, drafted = ContextParams(n_ctx=1024), PromptCache(folder / "texts", 1 << 30), 0, 0, 0
    with Engine(model, context=context) as writer, Engine(model, context=context) as reader:
        for number, prompt in list(enumerate(prompts()))[part]:
            turn = writer.text_turn(f"{number}. {COPIED[: 600 + 5 * number]}\n\n{prompt}")
            for temperature in (0.0, 0.8):
                sampling, texts = SamplingParams(temperature=temperature, seed=number, ignore_eos=True), []
                for engine, draft in ((writer, 0), (writer, None), (reader, None)):
                    params = GenerationParams(max_tokens=32, sampling=sampling, draft=draft)
                    cached = CachedPrompts(engine, store, "")
                    events = cached.answer(turn, (), partial(engine.answer, turn, params))
                    (answer,) = [one for one in events if isinstance(one, Answer)]
                    cached.close()
                    texts.append(answer.content)
                    restored += answer.usage.restored_tokens
                    drafted += answer.timings.draft_n
                count += 1
                assert len(set(texts)) == 1, f"the texts of {prompt!r} differ at temperature {temperature}: {texts}"
    print(f"{count} texts are equal; {drafted:,} tokens were drafted, {restored:,} came from the disk", flush=True)


def bench_rows(model: Path, pairs: int, tokens: int, folder: Path) -> None:
    """Compare 32 questions on one document: each alone evaluated, shared, and the next day."""
    text = " ".join((WORDS * (tokens // 15 + 1)).split()[:tokens])
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"{text} Question {i}: why?"}) + "\n" for i in range(_QUESTIONS)))
    times: dict[str, list[float]] = {"alone": [], "shared": [], "next day": []}
    common = ["-m", str(model), "--temp", "0", "-n", "8", "--ignore-eos"]
    for pair in range(pairs):
        cache = folder / f"rows-{pair}"
        alone = [run([*common, "--no-prompt-cache", f"{text} Question {i}: why?"], cache) for i in range(_ALONE)]
        times["alone"].append(sum(seconds for seconds, _ in alone) * _QUESTIONS / _ALONE)
        for kind in ("shared", "next day"):
            seconds, out = run([*common, "--input", str(rows)], cache)
            times[kind].append(seconds)
            texts = [json.loads(line)["text"] for line in out.splitlines()]
            assert texts[:_ALONE] == [shown.removesuffix("\n") for _, shown in alone], "the texts differ"
    show("32 questions", times, "alone")


def main() -> None:
    """Print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=1650)
    parser.add_argument("--only", choices=("cache", "drafts", "json", "prompts", "rows", "texts"))
    parser.add_argument("--slice", type=lambda text: slice(*map(int, text.split(":"))), default=slice(None))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in (None, "cache"):
            bench_cache(options.model, options.pairs, options.tokens, folder)
        if options.only in (None, "drafts"):
            bench_drafts(options.model, options.pairs, folder)
        if options.only in (None, "json"):
            bench_json(options.model, options.pairs, folder)
        if options.only in (None, "prompts"):
            bench_prompts(options.model, options.slice, options.pairs)
        if options.only in (None, "rows"):
            bench_rows(options.model, max(1, options.pairs // 2), options.tokens, folder)
        if options.only in (None, "texts"):
            compare_texts(options.model, options.slice, folder)


if __name__ == "__main__":
    main()
