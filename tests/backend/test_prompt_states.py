"""States on disk that cannot be cut at any token: of sliding windows and recurrent layers, with the same text as without."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_memories

from llamacli.backend.child.engine import ChildEngine, open_engine
from llamacli.backend.child.params import ChildParams
from llamacli.backend.prompt_states import joined
from llamacli.engine.events import Answer
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.prompts.checkpoints import TAIL
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import StateError
from llamacli.store.prompt_cache.block_file import Block
from llamacli.store.prompt_cache.cache import PromptCache

GREEDY = GenerationParams(max_tokens=16, sampling=SamplingParams(temperature=0, ignore_eos=True))
DOCUMENT = " ".join(f"world {i} the weather" for i in range(60))
ALONE = ContextParams(n_ctx=2048, n_ubatch=128, threads=1)
BESIDE = ContextParams(n_ctx=2048, n_ubatch=128, n_seq_max=3, threads=1, invariant=True)


@pytest.fixture(params=tiny_memories.KINDS)
def model(memory_models: dict[str, Path], request: pytest.FixtureRequest) -> Path:
    return memory_models[request.param]


def start(model: Path, context: ContextParams = ALONE, *, kernels: str = "own", prompt_cache: bool = True) -> ChildEngine:
    return open_engine(model, ModelParams(kernels=kernels), context, child=ChildParams(prompt_cache=prompt_cache))


def asked(model: Path, text: str, **how: object) -> Answer:
    with start(model, **how) as engine:
        (answer,) = [one for one in engine.answer(engine.text_turn(text), GREEDY) if isinstance(one, Answer)]
    return answer


def test_another_process_goes_on_from_what_prompts_share(model):
    first = asked(model, DOCUMENT)
    read = first.usage.prompt_tokens - TAIL
    for text, context, least in (
        (DOCUMENT, ALONE, read),
        (DOCUMENT + " and more of it", BESIDE, read),
        (DOCUMENT[:900] + " but another end", ALONE, 128),
    ):
        again = asked(model, text, context=context)
        assert again.usage.cached_tokens == again.usage.restored_tokens >= least
        assert again.content == asked(model, text, prompt_cache=False).content


def test_an_answer_is_not_read_again_either(model):
    with start(model) as engine:
        turn = engine.text_turn(DOCUMENT)
        (first,) = [one for one in engine.answer(turn, GREEDY) if isinstance(one, Answer)]
    longer = f"{DOCUMENT}{first.content} and then"
    again = asked(model, longer)
    assert again.usage.cached_tokens >= first.usage.prompt_tokens - TAIL
    assert again.content == asked(model, longer, prompt_cache=False).content


def test_without_our_kernels_states_are_used_where_batches_end(model):
    first = asked(model, DOCUMENT, kernels="upstream")
    for text in (DOCUMENT, DOCUMENT + " and more of it"):
        again = asked(model, text, kernels="upstream")
        expected = first.usage.prompt_tokens - TAIL if text == DOCUMENT else first.usage.prompt_tokens // 128 * 128
        assert again.usage.cached_tokens == expected
        assert again.content == asked(model, text, kernels="upstream", prompt_cache=False).content


def test_rows_find_the_document_that_others_read(model):
    questions = [f"{DOCUMENT} question {i} of all" for i in range(4)]
    found = []
    for prompt_cache in (True, True, False):
        with start(model, ContextParams(threads=1), prompt_cache=prompt_cache) as engine:
            jobs = (Job(number=i, turn=engine.text_turn(text), params=GREEDY) for i, text in enumerate(questions))
            answers = [one for one in engine.answer_many(jobs, parallel=2) if isinstance(one, Answer)]
        found.append(sorted(answers, key=lambda one: one.index))
    texts = [[one.content for one in answers] for answers in found]
    assert texts[0] == texts[1] == texts[2]
    assert found[0][0].usage.cached_tokens == 0
    assert all(one.usage.cached_tokens > 512 for one in found[1])


def test_damaged_files_are_never_used(model):
    first = asked(model, DOCUMENT)
    for path in PromptCache().folder.rglob("*.state"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    again = asked(model, DOCUMENT)
    assert (again.usage.cached_tokens, again.content) == (0, first.content)


ROWS = [7, [[1, 1, 8]], [[1, 1, 8]]]
BLOCK = Block((1, 2), ROWS, (bytes(32),))


@pytest.mark.parametrize(
    ("form", "blocks"),
    [
        ("rows", [BLOCK, Block((3,), ROWS, (bytes(15),))]),
        ("rows", [BLOCK, Block((3,), [8, *ROWS[1:]], (bytes(16),))]),
        ("rows and state", [BLOCK, Block((3,), [ROWS, 5], (bytes(20),))]),
        ("rows and state", [BLOCK, Block((3,), [ROWS, 50], (bytes(20),))]),
        ("rows and state", [BLOCK, Block((3,), [ROWS], (bytes(20),))]),
        ("rows and window", [BLOCK, Block((3,), [[8, *ROWS[1:]], 4], (bytes(20),))]),
        ("rows and window", [BLOCK]),
        ("state", [Block((3,), ["00" * 7, 4], (bytes(4),))]),
        ("state", [Block((3,), ["00" * 8, 4], (bytes(5),))]),
        ("state", [Block((3,), ["xy" * 8, 4], (bytes(4),))]),
        ("state", [Block((3,), None, (bytes(4),))]),
    ],
)
def test_blocks_that_do_not_fit_together_are_refused(form, blocks):
    with pytest.raises(StateError), joined(blocks, form):
        pass
