"""The child that measures: what dies with it, what goes on without it, and what its parent never does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import invoke
from fatal_bench import FATAL

from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.child import Child
from llamacli.backend.child.process.start import start_child
from llamacli.bench.child.measurement import measure_in_child
from llamacli.bench.child.process import SERVICE, BenchProcess
from llamacli.bench.child.trials import ChildTrials
from llamacli.bench.measure.events import ResultReady, StageStarted
from llamacli.bench.measure.params import BenchResult, BenchTest, MeasurePlan
from llamacli.bench.measure.setup import Setup, TrialSize
from llamacli.bench.tune.params import SettingChoice, TunePlan
from llamacli.bench.tune.session import TuneOutcome, TuneRequest, tune_model
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.system import describe_build
from llamacli.errors import CancelledError, EngineDiedError

QUICK = MeasurePlan(repetitions=2, warmup=False)
LLAMACLI = (sys.executable, "-P", "-m", "llamacli")


def start_fatal(service: str, reads: Sequence[Path], params: ChildParams, *, model: Path | None = None, **_) -> Child:
    return start_child("fatal_bench", reads, params, model=model)


def start_impatient(service: str, reads: Sequence[Path], params: ChildParams, *, model: Path | None = None, **_) -> Child:
    return start_child(service, reads, ChildParams(patience=2), model=model)


def setup(ubatch: int) -> Setup:
    return Setup(model=ModelParams(), context=ContextParams(threads=1, threads_batch=1, n_ubatch=ubatch))


def results(process: BenchProcess, tests: Sequence[BenchTest], plan: MeasurePlan = QUICK) -> list[BenchResult]:
    return [event.result for event in measure_in_child(process, tests, plan) if isinstance(event, ResultReady)]


# --- the same as in this process ---------------------------------------------------------------------------------------

PARENT = """
import sys
from pathlib import Path
from llamacli.cli import main
status = main(sys.argv[1:])
mapped = [name for name in ("libllama", "libggml") if name in Path("/proc/self/maps").read_text()]
sys.exit(f"the parent has mapped {mapped}" if mapped else status)
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not list mapped files")
@pytest.mark.parametrize(
    "words",
    [
        ("-p", "64", "-n", "2", "-t", "1", "-r", "2", "--latency", "--end-to-end", "--parallel", "1"),
        ("tune", "-p", "64", "-n", "4", "-t", "1", "--budget", "1.5", "--no-quantizations"),
        ("roofline", "-p", "16", "-n", "2", "-t", "1"),
        ("quality", "-c", "32", "--windows", "2", "-t", "1"),
        ("history", "--here"),
        ("compare", "last", "last"),
    ],
    ids=lambda words: words[0],
)
def test_the_parent_never_maps_the_native_library(tiny_model: Path, words: tuple[str, ...]) -> None:
    if words[0] == "compare":
        subprocess.run([*LLAMACLI, "bench", "-m", tiny_model, "-p", "8", "-n", "0", "-t", "1", "-r", "2"], check=True)
    model = [] if words[0] in ("history", "compare") else ["-m", str(tiny_model)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", PARENT, "bench", *words, *model], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_child_describes_the_build_of_this_process() -> None:
    with BenchProcess([], Canceller()) as process:
        build = process.build()
    here = describe_build()
    assert (build.commit, build.compiler, build.folder) == (here.commit, here.compiler, here.folder)
    assert [(one.name, one.features) for one in build.backends] == [(one.name, one.features) for one in here.backends]


def test_what_a_test_gives_arrives_whole(tiny_model: Path) -> None:
    test = BenchTest(model=str(tiny_model), n_prompt=16, n_gen=5, n_threads=1, workload="latency")
    loaded: list[float] = []
    with BenchProcess([tiny_model], Canceller()) as process:
        process.on_load = loaded.append
        (result,) = results(process, [test], MeasurePlan(repetitions=3))
    assert result.test == test
    assert [len(sample.steps_ns) for sample in result.samples] == [5, 5, 5]
    assert result.model is not None
    assert result.model.n_params > 0
    assert result.warmups >= 2
    assert loaded


# --- death --------------------------------------------------------------------------------------------------------------


def test_a_test_that_kills_its_process_has_failed_and_all_others_are_measured(tiny_model: Path) -> None:
    sizes = (32, FATAL, 128, FATAL, 256)
    tests = [BenchTest(model=str(tiny_model), n_prompt=16, n_threads=1, n_ubatch=size) for size in sizes]
    with BenchProcess([tiny_model], Canceller(), start=start_fatal) as process:
        found = results(process, tests)
    assert [result.test.n_ubatch for result in found] == list(sizes)
    assert [len(result.samples) for result in found] == [2, 0, 2, 0, 2]
    assert {result.error for result in found if result.test.n_ubatch == FATAL} == {"the engine died (SIGABRT)"}
    assert {result.error for result in found if result.test.n_ubatch != FATAL} == {None}


def test_a_process_that_was_cancelled_is_not_started_again(tiny_model: Path) -> None:
    tests = [BenchTest(model=str(tiny_model), n_prompt=16, n_threads=1, n_ubatch=size) for size in (FATAL, 128)]
    found: list[BenchResult] = []
    with BenchProcess([tiny_model], Canceller(), start=start_fatal) as process:
        events = measure_in_child(process, tests, QUICK)

        def cancelled_at_the_first_repetition() -> None:
            for event in events:
                if isinstance(event, StageStarted) and event.stage == "measure":
                    os.kill(process.child.pid, signal.SIGSTOP)  # so that it dies after it was cancelled
                    process.cancel.set()
                    os.kill(process.child.pid, signal.SIGKILL)
                elif isinstance(event, ResultReady):
                    found.append(event.result)

        with pytest.raises(CancelledError):
            cancelled_at_the_first_repetition()
        assert process.has_died
    assert [(result.test.n_ubatch, "SIGKILL" in str(result.error)) for result in found] == [(FATAL, True)]


def test_a_setup_that_kills_its_process_is_impossible_and_others_are_not(tiny_model: Path) -> None:
    with BenchProcess([tiny_model], Canceller(), start=start_fatal) as process:
        trials = ChildTrials(process, tiny_model, TrialSize(n_prompt=16, n_gen=2))
        assert trials.load(ModelParams()).layers == 3
        assert trials.seconds(setup(128), "prompt") > 0
        with pytest.raises(EngineDiedError, match="SIGABRT"):
            trials.seconds(setup(FATAL), "prompt")
        assert trials.seconds(setup(128), "prompt") > 0
        trials.close()


def test_a_death_that_is_nobodys_fault_costs_no_trial(tiny_model: Path) -> None:
    with BenchProcess([tiny_model], Canceller()) as process:
        trials = ChildTrials(process, tiny_model, TrialSize(n_prompt=16, n_gen=2))
        assert trials.seconds(setup(128), "prompt") > 0
        child = process.child
        threading.Timer(0.2, lambda: os.kill(child.pid, signal.SIGSEGV)).start()
        trials.resize(TrialSize(n_prompt=8, n_gen=2_000))
        deadline = time.monotonic() + 60
        while process.child is child:
            assert time.monotonic() < deadline
            assert trials.seconds(setup(128), "generation") > 0


def test_tuning_goes_on_without_a_value_that_kills(tiny_model: Path) -> None:
    request = TuneRequest(plan=TunePlan(budget=12, n_prompt=256, n_gen=4), types=False)
    with BenchProcess([tiny_model], Canceller(), start=start_fatal) as process:
        *events, outcome = tune_model(process, tiny_model, setup(128), request)
    assert isinstance(outcome, TuneOutcome)
    choice = next(event for event in reversed(events) if isinstance(event, SettingChoice) and event.name == "ubatch-size")
    assert choice.note == f"{FATAL}: the engine died (SIGABRT)"
    assert set(choice.tried) >= {128, 256}


def test_a_rest_longer_than_the_patience_is_no_hang(tiny_model: Path) -> None:
    test = BenchTest(model=str(tiny_model), n_prompt=8, n_threads=1)
    with BenchProcess([tiny_model], Canceller(), start=start_impatient) as process:
        (result,) = results(process, [test], MeasurePlan(repetitions=1, warmup=False, delay=4))
    assert (result.error, len(result.samples)) == (None, 1)


def test_the_service_that_is_forked_at_the_start_is_the_one_that_measures() -> None:
    from llamacli.cli import _SERVICES

    assert _SERVICES["bench"] == SERVICE


# --- the program ---------------------------------------------------------------------------------------------------------


def killed(model: Path, sizes: str, number: int, after: bytes) -> tuple[int, list[dict], str]:
    """What `bench` makes of it when its child gets a signal: the status, the rows, and standard error."""
    options = ["-t", "1", "-p", sizes, "-n", "0", "-r", "4", "--no-warmup", "--delay", "0.3", "--progress", "-o", "json"]
    process = subprocess.Popen([*LLAMACLI, "bench", "-m", model, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = b""
    while after not in said:
        piece = os.read(process.stderr.fileno(), 65536)
        assert piece, said
        said += piece
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), number)
    out, rest = process.communicate(timeout=60)
    return process.returncode, json.loads(out), (said + rest).decode()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to find the child")
def test_a_row_has_failed_when_the_child_dies_and_the_others_are_there(tiny_model: Path) -> None:
    status, rows, said = killed(tiny_model, "8,16", signal.SIGABRT, b"pp16: repetition 3/4")
    assert [(row["test"], row["error"], row["repetitions"]) for row in rows] == [
        ("pp8", None, 4),
        ("pp16", "the engine died (SIGABRT)", 2),
    ]
    assert (status, said.splitlines()[-1]) == (6, "llamacli: error: 1 of 2 tests failed")
    assert "stored as run 1" in said
    (listed,) = json.loads(invoke("bench", "history", "--json").stdout)["data"]
    assert listed["interrupted"] is False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to find the child")
@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        (signal.SIGSEGV, 7, "the engine died (SIGSEGV) (this model file is probably damaged: llamacli info --check "),
        (signal.SIGKILL, 4, "the engine was killed (SIGKILL), probably because memory ran out: it "),
    ],
)
def test_a_death_without_any_result_has_its_own_status(tiny_model: Path, number: int, status: int, says: str) -> None:
    ended, rows, said = killed(tiny_model, "8", number, b"repetition 1/4")
    assert (ended, len(rows), rows[0]["repetitions"]) == (status, 1, 0)
    assert says in said.splitlines()[-1]
    assert "Traceback" not in said
