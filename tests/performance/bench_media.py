"""Pictures: encoding and the time to the first token against llama-mtmd-cli, and what sharing a picture saves.

    python tests/performance/bench_media.py MODEL [--projector FILE] [--image FILE] [--pairs 5] [--threads N]

Without a projector one is generated, a vision transformer of 25 million random weights that gives 576 embeddings, and without a
picture one of 640 x 480 pixels. Both programs get the same files. Their time to the first token is what they say of encoding
and of the evaluation of the prompt, without the preparation of the picture, which ours includes.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import interleaved, program
from PIL import Image

from llamacli.engine.chat.message import Message
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.generation.job import Job
from llamacli.engine.media import encoder
from llamacli.engine.media.media import Media, new_image, png
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import tiny

F16 = 1
SIDE, PATCH, WIDTH, LAYERS = 384, 16, 512, 8
ROWS = 32
ONE = GenerationParams(max_tokens=1, sampling=SamplingParams(temperature=0.0))


def write_projector(path: Path, width: int) -> None:
    """Write a projector with random weights that makes embeddings of `width` values."""
    draw = np.random.default_rng(1)

    def tensor(name: str, *shape: int, scale: float = 0.02) -> tiny.Tensor:
        values = draw.standard_normal(int(np.prod(shape)), np.float32) * scale
        if len(shape) == 1:
            return tiny.Tensor(name, shape, values.astype(np.float32).tobytes())
        return tiny.Tensor(name, shape, values.astype(np.float16).tobytes(), F16)

    tensors = [
        tensor("v.patch_embd.weight", PATCH, PATCH, 3, WIDTH), tensor("v.patch_embd.bias", WIDTH),
        tiny.Tensor("v.position_embd.weight", (WIDTH, (SIDE // PATCH) ** 2), bytes(4 * WIDTH * (SIDE // PATCH) ** 2)),
        tensor("mm.0.weight", WIDTH, width), tensor("mm.0.bias", width),
        tensor("mm.1.weight", width, width), tensor("mm.1.bias", width),
    ]  # fmt: skip
    for layer in range(LAYERS):
        for part, columns, rows in (
            ("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH, WIDTH), ("attn_v", WIDTH, WIDTH), ("attn_out", WIDTH, WIDTH),
            ("ffn_up", WIDTH, 4 * WIDTH), ("ffn_down", 4 * WIDTH, WIDTH),
        ):  # fmt: skip
            tensors += [tensor(f"v.blk.{layer}.{part}.weight", columns, rows), tensor(f"v.blk.{layer}.{part}.bias", rows)]
        for part in ("ln1", "ln2"):
            tensors += [tensor(f"v.blk.{layer}.{part}.weight", WIDTH, scale=1.0), tensor(f"v.blk.{layer}.{part}.bias", WIDTH)]
    half = tiny.Typed(tiny.ARRAY, (0.5, 0.5, 0.5), tiny.F32)
    metadata = {
        "general.architecture": "clip", "general.type": "mmproj", "clip.has_vision_encoder": True, "clip.use_gelu": True,
        "clip.projector_type": "janus_pro", "clip.vision.image_size": SIDE, "clip.vision.patch_size": PATCH,
        "clip.vision.embedding_length": WIDTH, "clip.vision.feed_forward_length": 4 * WIDTH, "clip.vision.block_count": LAYERS,
        "clip.vision.projection_dim": width, "clip.vision.attention.head_count": 8,
        "clip.vision.attention.layer_norm_epsilon": 1e-6, "clip.vision.image_mean": half, "clip.vision.image_std": half,
    }  # fmt: skip
    path.write_bytes(tiny.gguf_bytes(metadata, tensors))


def noise(seed: int) -> Media:
    """A picture of random pixels."""
    return new_image(640, 480, random.Random(seed).randbytes(3 * 640 * 480))


def ask(engine: Engine, image: Media, text: str) -> tuple[float, Answer]:
    """Return the seconds to the first token, and the answer."""
    started = time.perf_counter()
    turn = engine.chat_turn([Message("user", (image, text))])
    (answer,) = [event for event in engine.answer(turn, ONE) if isinstance(event, Answer)]
    return time.perf_counter() - started, answer


def encode(engine: Engine, image: Media) -> float:
    """Return the seconds that libmtmd computes for a picture that is prepared."""
    assert engine.encoder is not None
    spent = 0.0

    def timed(context: object, chunk: object, count: int) -> bytes | None:
        nonlocal spent
        started = time.perf_counter()
        rows = native(context, chunk, count)
        spent += time.perf_counter() - started
        return rows

    native, encoder.encode_chunk = encoder.encode_chunk, timed
    try:
        for part in engine.encoder.expand(image):
            if isinstance(part, encoder.Chunk):
                engine.encoder.embeddings(part)
    finally:
        encoder.encode_chunk = native
    return spent


def theirs(model: str, projector: Path, picture: Path, threads: int) -> tuple[float, float]:
    """Return the seconds of encoding and to the first token that llama-mtmd-cli reports."""
    command = [
        program("llama-mtmd-cli"), "-m", model, "--mmproj", projector, "--image", picture, "-p", "What is it?", "-n", "1",
        "--temp", "0", "-t", threads, "-c", "4096", "--no-warmup", "-lv", "4",
    ]  # fmt: skip
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    encoded = sum(map(float, re.findall(r"batch encoding done in (\d+) ms", done.stderr)))
    evaluated = float(re.findall(r"prompt eval time\s*=\s*([\d.]+) ms", done.stderr)[-1])
    return encoded / 1e3, (encoded + evaluated) / 1e3


def rows(engine: Engine, images: list[Media]) -> float:
    """Return the seconds that one row for each picture takes."""
    started = time.perf_counter()
    turns = [engine.chat_turn([Message("user", (image, f"Question {number}?"))]) for number, image in enumerate(images)]
    jobs = (Job(number=number, turn=turn, params=ONE) for number, turn in enumerate(turns))
    assert sum(isinstance(event, Answer) for event in engine.answer_many(jobs, parallel=8)) == len(images)
    return time.perf_counter() - started


def main() -> None:
    """Measure, and print a line for each job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--projector", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        projector = given.projector or Path(folder, "mmproj.gguf")
        if given.projector is None:
            with Engine(Path(given.model), ModelParams(gpu_layers=0)) as engine:
                write_projector(projector, engine.model.n_embd)
        picture = given.image or Path(folder, "noise.png")
        if given.image is None:
            picture.write_bytes(png(noise(0)))
        with Image.open(picture) as opened:
            pixels = opened.convert("RGB")
        params = ModelParams(mmproj=str(projector))
        context = ContextParams(threads=given.threads, n_ctx=4096)
        shades = iter(range(10**6))

        def fresh() -> Media:  # one pixel differs, so that nothing is known of it
            seen = bytearray(pixels.tobytes())
            seen[:3] = next(shades).to_bytes(3, "big")
            return new_image(pixels.width, pixels.height, bytes(seen))

        with Engine(Path(given.model), params, context) as engine:
            other = [theirs(given.model, projector, picture, given.threads) for _ in range(2)][-1]
            print(f"their encoding {other[0] * 1e3:.0f} ms, first token {other[1] * 1e3:.0f} ms")
            files = (given.model, projector, picture, given.threads)
            print("encoding    ", interleaved(lambda: encode(engine, fresh()), lambda: theirs(*files)[0], given.pairs))
            print("first token ", interleaved(lambda: ask(engine, fresh(), "What?")[0], lambda: theirs(*files)[1], given.pairs))
            shared = fresh()
            first = ask(engine, shared, "What is it?")
            again = [ask(engine, shared, f"What is number {number}?") for number in range(given.pairs)]
            usage = again[-1][1].usage
            seconds = statistics.median(one for one, _ in again)
            print(f"next question   {seconds * 1e3:.0f} ms instead of {first[0] * 1e3:.0f}, of {usage.prompt_tokens} tokens "
                  f"{usage.prompt_tokens - usage.cached_tokens} evaluated")  # fmt: skip
        with Engine(Path(given.model), params, ContextParams(threads=given.threads)) as engine:
            apart = rows(engine, [fresh() for _ in range(ROWS)])
            together = rows(engine, [fresh()] * ROWS)
            print(
                f"{ROWS} rows         one picture {together:.2f} s, {ROWS} pictures {apart:.2f} s, ratio {together / apart:.3f}"
            )


if __name__ == "__main__":
    main()
