"""Greedy answers about pictures, compared with those of llama.cpp's own program of the same tree.

`tests/performance/bench_media.py` builds it; without it these tests are skipped.
"""

from __future__ import annotations

import array
import os
import random
import subprocess
from pathlib import Path

import pytest
from tiny_vision import COLOURS, Kind, Seeing, VisionModel

from llamacli.engine.chat.message import Message
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.media.media import Media, new_image, new_sound, png, wav
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams

PROGRAM = Path(os.environ.get("LLAMACLI_BENCH_PEERS", Path(__file__).parents[3] / "build/peers"), "bin/llama-mtmd-cli")
TOKENS = 24
PIXELS = (b"\xff\0\0", b"\0\xff\0", b"\0\0\xff")

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="llama-mtmd-cli is not built")


def theirs(files: VisionModel, folder: Path, images: list[Media], text: str, expected: str) -> str:
    named = []
    for number, image in enumerate(images):
        path, option = folder / str(number), "--image" if image.kind == "image" else "--audio"
        path.write_bytes(png(image) if image.kind == "image" else wav(image))
        named += [option, path]
    command = [
        PROGRAM, "-m", files.model, "--mmproj", files.projector, *named, "-p", text, "-n", str(TOKENS), "--temp", "0",
        "-t", "1", "--no-warmup", "-c", "2048",
    ]  # fmt: skip
    answer = ""
    for _ in range(8):  # it may end before the thread that prints has printed everything
        done = subprocess.run([*map(str, command)], capture_output=True, check=True, stdin=subprocess.DEVNULL)
        answer = max(answer, done.stdout.decode("utf-8", "replace").strip(), key=len)
        if answer == expected:
            break
    return answer


def ours(files: VisionModel, images: list[Media], text: str) -> str:
    """The answer with control tokens, as their program shows it, and with their kernels: others may break a tie otherwise."""
    params = GenerationParams(max_tokens=TOKENS, logprobs=0, sampling=SamplingParams(temperature=0.0))
    model = ModelParams(mmproj=str(files.projector), kernels="upstream")
    with Engine(files.model, model, ContextParams(threads=1)) as engine:
        turn = engine.chat_turn([Message("user", (*images, text))])
        (answer,) = [event for event in engine.answer(turn, params) if isinstance(event, Answer)]
        pieces = engine.pieces([token.id for token in answer.tokens])
    return b"".join(pieces).replace(b"\0", b"").decode("utf-8", "replace").strip()  # C does not print zeros


def noise(seed: int, width: int, height: int) -> Media:
    return new_image(width, height, random.Random(seed).randbytes(3 * width * height))


@pytest.mark.parametrize("kind", ["idefics3", "qwen2vl", "gemma3"])
@pytest.mark.parametrize("seed", [3, 5])
@pytest.mark.parametrize("sizes", [[(64, 48)], [(33, 70), (200, 20)], [(1, 1)]], ids=str)
def test_random_weights(kind: Kind, seed: int, sizes: list[tuple[int, int]], seeing: Seeing, tmp_path: Path) -> None:
    files, images = seeing(kind, seed), [noise(number, *size) for number, size in enumerate(sizes)]
    answer = ours(files, images, "What is it?")
    assert answer == theirs(files, tmp_path, images, "What is it?", answer)


@pytest.mark.parametrize("seconds", [1, 33])
def test_sound(seconds: int, seeing: Seeing, tmp_path: Path) -> None:
    draw = random.Random(seconds)
    samples = array.array("f", (draw.uniform(-0.5, 0.5) for _ in range(16000 * seconds))).tobytes()
    sounds = [new_sound(16000, samples)]
    answer = ours(seeing("ultravox", 3), sounds, "What?")
    assert answer == theirs(seeing("ultravox", 3), tmp_path, sounds, "What?", answer)


@pytest.mark.parametrize("kind", ["idefics3", "qwen2vl", "gemma3"])
@pytest.mark.parametrize(("colour", "pixel"), [*zip(COLOURS, PIXELS, strict=True)])
def test_colours(kind: Kind, colour: str, pixel: bytes, seeing: Seeing, tmp_path: Path) -> None:
    images = [new_image(50, 30, pixel * 1500)]
    assert ours(seeing(kind), images, "Which?") == theirs(seeing(kind), tmp_path, images, "Which?", colour) == colour
