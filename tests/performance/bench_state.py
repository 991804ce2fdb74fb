"""Time to the first token with a saved state and without, interleaved, as fresh processes.

    python tests/performance/bench_state.py MODEL [--pairs 5] [--tokens 1800]

The time is that of `llamacli run` from its start to the first byte on standard output. Ratios below 1 mean that the state saves
time.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import peers

WORDS = "the model reads a long text about rivers and mountains before it answers a short question "


def first_byte(model: Path, prompt: Path, *extra: str) -> float:
    """Return the seconds until the answer begins."""
    command = [*peers.LLAMACLI, "run", "-m", str(model), "--raw", "-f", str(prompt), "-n", "2", "-c", "4096",
               "--ignore-eos", "--temp", "0", *extra]  # fmt: skip
    started = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        seconds = time.perf_counter() - started
        process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds


def main() -> None:
    """Print the size of the state and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=lambda text: Path(text).resolve())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=1800, help="approximate length of the prompt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prompt, state = Path(folder) / "prompt.txt", Path(folder) / "prompt.state"
        words = (WORDS * (options.tokens // len(WORDS.split()) + 1)).split()
        prompt.write_text(" ".join(words[: options.tokens]))
        first_byte(options.model, prompt, "--save-state", str(state))
        result = peers.interleaved(
            lambda: first_byte(options.model, prompt, "--load-state", str(state)),
            lambda: first_byte(options.model, prompt),
            options.pairs,
        )
        print(f"state {state.stat().st_size / 2**20:.1f} MiB; seconds to the first token, with it and without: {result}")


if __name__ == "__main__":
    main()
