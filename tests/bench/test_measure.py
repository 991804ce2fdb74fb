"""Measurements with the tiny model: evaluation, rows, failures, cancellation and disturbances."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import sys
import threading
import types
from pathlib import Path

import pytest
import tiny_bert
from kv_cache import cached_positions
from measured_rows import MACHINE

from llamacli.bench.measure.affinity import check_cpus, cpu_flags, thread_ids
from llamacli.bench.measure.events import ResultReady, StageStarted
from llamacli.bench.measure.gpu_energy import gpu_counters
from llamacli.bench.measure.monitor import DisturbanceMonitor, EnergyMeter, machine_notes, mapped_bytes, memory_use
from llamacli.bench.measure.params import BenchResult, BenchTest, MeasurePlan, Repetition, latency
from llamacli.bench.measure.provenance import machine_of
from llamacli.bench.measure.resources import BenchResources
from llamacli.bench.measure.rows import COLUMNS, result_row
from llamacli.bench.measure.run import measure
from llamacli.bench.measure.token_test import TokenTest, load_model, warm_until_stable
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.system import describe_build
from llamacli.errors import CancelledError, CapacityError, ModelFileError, ModelUnsupportedError, UsageError

QUICK = MeasurePlan(repetitions=2, warmup=False)


@pytest.fixture
def base(tiny_model: Path) -> BenchTest:
    return BenchTest(model=str(tiny_model), n_prompt=8, n_threads=1)


def changed(test: BenchTest, **values) -> BenchTest:
    return dataclasses.replace(test, **values)


def results(tests: list[BenchTest], plan: MeasurePlan = QUICK) -> list[BenchResult]:
    found = [event for event in measure(tests, plan) if isinstance(event, ResultReady)]
    return [event.result for event in sorted(found, key=lambda event: event.index)]


# --- evaluation ----------------------------------------------------------------------------------------------------------


def lengths(ready: TokenTest) -> list[int]:
    return [cached_positions(ready._context, sequence) for sequence in range(ready.test.n_parallel)]


def test_a_run_leaves_the_tokens_of_its_test_in_the_cache(base):
    test = changed(base, n_prompt=40, n_gen=3, n_depth=20, n_parallel=3, n_batch=16, workload="latency")
    with load_model(test, CancelFlag()) as model, TokenTest(test, model) as ready:
        for _ in range(3):
            sample = ready.run()
            assert lengths(ready) == [63, 63, 63]
            assert len(sample.steps_ns) == 3
            assert min(sample.steps_ns) > 0
            assert sample.prompt_ns + sum(sample.steps_ns) == pytest.approx(sample.total_ns, rel=0.2, abs=50_000)


def test_a_warm_up_leaves_out_the_depth_and_most_of_the_answer(base):
    test = changed(base, n_prompt=8, n_gen=100, n_depth=20)
    with load_model(test, CancelFlag()) as model, TokenTest(test, model) as ready:
        ready.run()
        assert ready.warm_up() > 0
        assert lengths(ready) == [24]
        ready.run()
        assert lengths(ready) == [128]


def test_depth_is_restored_if_the_cache_cannot_be_truncated(base, monkeypatch):
    test = changed(base, n_prompt=0, n_gen=4, n_depth=12, n_parallel=2)
    with load_model(test, CancelFlag()) as model, TokenTest(test, model) as ready:
        ready._can_truncate = False
        ready.run()
        assert [len(state) > 0 for state in ready._states] == [True, True]
        monkeypatch.setattr(ready, "_measure", lambda *arguments: None)
        ready._restore_depth()
        assert lengths(ready) == [12, 12]


def test_end_to_end_reads_and_generates_the_requested_tokens(base):
    test = changed(base, n_prompt=60, n_gen=6, workload="end-to-end")
    resources = BenchResources(Canceller())
    ready = resources.prepare(test)
    assert len(ready._prompt(ready._words).tokens) == 60
    sample = ready.run()
    assert len(sample.steps_ns) == 5
    assert sample.prompt_ns + sum(sample.steps_ns) <= sample.total_ns
    ready.close()


@pytest.mark.parametrize("draft", [0, None, 4])
def test_end_to_end_with_drafts_and_a_prompt_that_was_read_before(quantized_model, monkeypatch, draft):
    test = BenchTest(model=str(quantized_model), n_prompt=300, n_gen=40, n_threads=1, workload="end-to-end",
                     draft=draft, prompt_cache=True)  # fmt: skip
    found = []
    answer = Engine.answer

    def seen(self, turn, params, **more):
        for event in answer(self, turn, params, **more):
            if isinstance(event, Answer) and params.max_tokens:
                assert params.draft == draft
                found.append(event)
            yield event

    monkeypatch.setattr(Engine, "answer", seen)
    (result,) = results([test])
    assert result.error is None
    assert all(one.usage.restored_tokens >= one.usage.prompt_tokens - 2 for one in found)
    row = result_row(result, MACHINE)
    assert (row["draft"], row["prompt_cache"]) == ({0: "off", None: "auto", 4: "4"}[draft], True)


@pytest.mark.parametrize("kind", ["swa", "recurrent", "hybrid"])
def test_states_that_cannot_be_cut_are_kept_for_end_to_end_tests(memory_models, kind):
    test = BenchTest(
        model=str(memory_models[kind]), n_prompt=300, n_gen=2, n_threads=1, workload="end-to-end", prompt_cache=True
    )
    (result,) = results([test])
    assert result.error is None


def test_a_short_prompt_is_not_kept_for_end_to_end_tests(base):
    (result,) = results([changed(base, n_prompt=60, n_gen=2, workload="end-to-end", prompt_cache=True)])
    assert "more than 128 tokens" in (result.error or "")


def test_end_to_end_needs_room_for_the_template(base):
    (result,) = results([changed(base, n_prompt=2, n_gen=2, workload="end-to-end")])
    assert "the template alone has" in result.error


def test_an_end_to_end_test_that_failed_or_ended_cancels_no_other(base, monkeypatch):
    monkeypatch.setattr("llamacli.bench.measure.run.available_memory", lambda: 1)  # one after the other
    talk = changed(base, n_prompt=60, n_gen=2, workload="end-to-end")
    assert [result.error is None for result in results([changed(talk, n_prompt=2), talk, base])] == [False, True, True]


def test_cancelling_ends_an_end_to_end_test(base):
    cancel = Canceller()
    threading.Timer(0.3, cancel.set).start()
    events = measure([changed(base, n_prompt=60, n_gen=50_000, workload="end-to-end")], QUICK, cancel=cancel)
    with pytest.raises(CancelledError):
        list(events)


@pytest.mark.parametrize("kind", ["idefics3", "qwen2vl", "gemma3"])
def test_a_picture_is_encoded_anew_in_each_repetition(seeing, kind):
    found = seeing(kind)
    test = BenchTest(
        model=str(found.model), mmproj=str(found.projector), workload="image", image="60x40", n_prompt=64, n_gen=3, n_threads=1
    )
    ready = BenchResources(Canceller()).prepare(test)
    samples = [ready.run() for _ in range(3)]
    prompt = ready._prompt(ready._words)
    (image,) = {sample.image_tokens for sample in samples}
    assert len(prompt.tokens) == 64 + image
    assert image == len(ready.engine.expand_media(prompt.media[0][1])) > 5
    assert all(0 < sample.encode_ns < sample.prompt_ns < sample.total_ns for sample in samples)
    assert len({ready._next_picture(number).id for number in range(5)}) == 5
    ready.close()


def test_an_image_test_needs_a_projector(base):
    (result,) = results([changed(base, n_gen=2, workload="image", image="8x8")])
    assert result.error == "this model takes no images"


def test_end_to_end_without_a_template(tiny_base_model):
    (result,) = results([BenchTest(model=str(tiny_base_model), n_prompt=20, n_gen=2, n_threads=1, workload="end-to-end")])
    assert result.error is None


@pytest.mark.parametrize(
    "values",
    [
        {"n_batch": 4, "n_ubatch": 2, "n_prompt": 30},
        {"type_k": "bf16", "type_v": "f32", "flash_attn": "on"},
        {"flash_attn": "off", "load_mode": "none", "repack": False, "no_host": True},
        {"cpu_mask": "0x1", "cpu_strict": True, "poll": 0, "no_op_offload": True, "no_kv_offload": True},
        {"embeddings": True, "n_gen": 2},
        {"devices": ("none",), "split_mode": "none", "load_mode": "mmap"},
    ],
)
def test_every_setting_is_accepted(base, values):
    (result,) = results([changed(base, **values)])
    assert (result.error, len(result.samples)) == (None, 2)


@pytest.mark.parametrize("values", [{}, {"no_kv_offload": True}, {"workload": "end-to-end", "n_gen": 4}])
def test_a_too_large_cache_is_refused_before_its_allocation(base, values):
    (result,) = results([changed(base, n_prompt=2_000_000_000, **values)])
    assert "the KV cache of 20000000" in result.error


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> BenchTest:
    path = tiny_bert.tiny_bert(tmp_path_factory.mktemp("bert") / "bert.gguf")
    return BenchTest(model=str(path), n_prompt=8, n_threads=1)


@pytest.mark.parametrize(
    "values", [{}, {"embeddings": True}, {"n_parallel": 5, "n_batch": 20}, {"n_prompt": 64, "n_parallel": 3, "n_ubatch": 100}]
)
def test_prompts_of_an_encoder_are_measured(bert, values):
    (result,) = results([changed(bert, **values)])
    assert (result.error, len(result.samples)) == (None, 2)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"n_gen": 2}, "does not generate"),
        ({"n_gen": 2, "embeddings": True}, "does not generate"),
        ({"n_gen": 2, "workload": "latency"}, "does not generate"),
        ({"n_prompt": 60, "n_gen": 2, "workload": "end-to-end"}, "does not generate"),
        ({"n_depth": 4}, "does not keep tokens"),
        ({"n_prompt": 65}, "has positions for 64 tokens, but the test has 65"),
        ({"n_prompt": 32, "n_ubatch": 16}, "reads a prompt in a single micro-batch"),
        ({"n_prompt": 1, "n_parallel": 4, "n_ubatch": 2}, "reads a prompt in a single micro-batch"),
    ],
)
def test_tests_impossible_for_an_encoder_fail_and_others_continue(bert, base, values, why):
    failed, other = results([changed(bert, **values), base])
    assert why in failed.error
    assert not failed.samples
    assert other.samples
    assert other.error is None


def test_an_encoder_declared_causal_has_room_for_its_outputs(tmp_path):
    path = tiny_bert.tiny_bert(tmp_path / "bert.gguf", change={"bert.attention.causal": True})
    (result,) = results([BenchTest(model=str(path), n_prompt=8, n_threads=1)])
    assert result.samples
    assert result.error is None


@pytest.mark.parametrize(("mask", "cpus"), [("0x0", [0]), ("0x5", [1, 0, 1]), ("F", [1, 1, 1, 1]), ("0x100", [0] * 8 + [1])])
def test_cpu_masks(mask, cpus):
    assert list(cpu_flags(mask)) == cpus


@pytest.mark.parametrize("mask", ["", "0x", "xyz", "0x" + "f" * 200])
def test_invalid_cpu_masks_are_refused(mask):
    with pytest.raises(UsageError, match="hexadecimal"):
        cpu_flags(mask)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no threads")
def test_a_mask_binds_only_the_threads_of_its_test(base):
    usable = os.sched_getaffinity(0)
    mask = hex(1 << min(usable))
    for result in results([changed(base, cpu_mask=mask, n_threads=2), changed(base, n_threads=2)]):
        assert result.samples
        assert result.error is None
    assert {frozenset(os.sched_getaffinity(thread)) for thread in thread_ids()} == {frozenset(usable)}


def test_masks_with_unusable_cpus_are_refused(base, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {0, 1}, raising=False)
    check_cpus("0x0", cpu_flags("0x0"), strict=True)
    check_cpus("0xf", cpu_flags("0xf"), strict=False)
    for mask, strict, missing in (("0xf", True, "2, 3"), ("0xf00", False, "8, 9, 10, 11")):
        with pytest.raises(UsageError, match=f"{mask} has CPUs that this process may not use: {missing}"):
            check_cpus(mask, cpu_flags(mask), strict=strict)


# --- interleaving --------------------------------------------------------------------------------------------------------


def test_repetitions_are_interleaved(base):
    tests = [base, changed(base, n_prompt=0, n_gen=2)]
    events = list(measure(tests, MeasurePlan(repetitions=3)))
    order = [(event.index, event.number) for event in events if isinstance(event, StageStarted) and event.stage == "measure"]
    assert order == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)]
    first, second = (event.result for event in events if isinstance(event, ResultReady))
    assert (first.test, second.test) == (tests[0], tests[1])
    assert 2 <= first.warmups <= 5


def test_a_failed_test_has_a_row_and_others_continue(base, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and no more")
    tests = [
        changed(base, model=str(broken)),
        changed(base, n_prompt=2_000_000_000),
        changed(base, type_k="q8_0"),
        changed(base, cpu_mask="zebra"),
        base,
    ]
    events = [event for event in measure(tests, QUICK) if isinstance(event, ResultReady)]
    failures = {event.index: event.failure for event in events}
    assert isinstance(failures[0], ModelFileError)
    assert isinstance(failures[1], CapacityError)
    assert isinstance(failures[2], ModelUnsupportedError)
    assert isinstance(failures[3], UsageError)
    assert failures[4] is None
    found = {event.index: event.result for event in events}
    assert "2000000000 tokens" in found[1].error
    assert not found[1].samples
    assert found[4].samples
    assert found[4].error is None


def test_a_test_that_does_not_fit_beside_others_is_tried_alone(base, monkeypatch):
    made: list[int] = []
    prepare = BenchResources.prepare

    def crowded(self, test):
        if test.n_gen and self._contexts:
            raise CapacityError("no room")
        made.append(test.n_gen)
        return prepare(self, test)

    monkeypatch.setattr(BenchResources, "prepare", crowded)
    found = results([base, changed(base, n_gen=1), changed(base, n_gen=2)])
    assert [result.error for result in found] == [None, None, None]
    assert made == [0, 1, 2]


def test_little_memory_makes_groups(base, monkeypatch):
    monkeypatch.setattr("llamacli.bench.measure.run.available_memory", lambda: 1)
    events = list(measure([base, changed(base, n_prompt=4)], QUICK))
    order = [event.index for event in events if isinstance(event, StageStarted) and event.stage == "measure"]
    assert order == [0, 0, 1, 1]


def test_a_failure_in_the_middle_keeps_the_samples_before(base, monkeypatch):
    run, count = TokenTest.run, [0]

    def failing(self):
        count[0] += 1
        if count[0] == 3:
            raise CapacityError("it broke")
        return run(self)

    monkeypatch.setattr(TokenTest, "run", failing)
    (result,) = results([base], MeasurePlan(repetitions=5, warmup=False))
    assert (result.error, len(result.samples)) == ("it broke", 2)


def test_cancelling_keeps_the_results_so_far(base):
    flag, found = Canceller(), []
    events = measure([base, changed(base, n_gen=2)], MeasurePlan(repetitions=100), cancel=flag)

    def cancelled_in_the_third_round() -> None:
        for event in events:
            found.append(event)
            if isinstance(event, StageStarted) and event.stage == "measure" and (event.index, event.number) == (1, 3):
                flag.set()

    with pytest.raises(CancelledError):
        cancelled_in_the_third_round()
    kept = [event.result for event in found if isinstance(event, ResultReady)]
    assert [len(result.samples) for result in kept] == [3, 2]
    assert kept[0].warnings[-1] == "interrupted after 3 repetitions"


def test_until_stable_continues_and_gives_up(base, monkeypatch):
    times = iter([100, 200] * 50)
    monkeypatch.setattr(TokenTest, "run", lambda self: Repetition(total_ns=next(times)))
    (result,) = results([base], MeasurePlan(repetitions=2, warmup=False, until_stable=1, max_repetitions=30))
    assert len(result.samples) == 30
    assert "not stable after 30 repetitions" in result.warnings[-1]
    monkeypatch.setattr(TokenTest, "run", lambda self: Repetition(total_ns=1000))
    (result,) = results([base], MeasurePlan(repetitions=2, warmup=False, until_stable=1))
    assert (len(result.samples), result.warnings) == (5, ())


def test_warming_up_ends_when_times_are_steady():
    class Cold:
        def __init__(self, *times: int) -> None:
            self.times = list(times)

        def warm_up(self) -> int:
            return self.times.pop(0)

    assert warm_until_stable(Cold(1000, 500, 495)) == 3
    assert warm_until_stable(Cold(1000, 1000)) == 2
    assert warm_until_stable(Cold(1, 2, 4, 8, 16)) == 5
    assert warm_until_stable(Cold(1000), seconds=-1) == 1


# --- rows ----------------------------------------------------------------------------------------------------------------


def test_a_row_has_the_cost_of_the_test(base, tiny_model):
    (result,) = results([base], MeasurePlan(repetitions=3))
    row = result_row(result, machine_of(describe_build()))
    assert list(COLUMNS) == [name for name in row if name not in ("samples_ns", "samples_ts")]
    assert row["load_ms"] > 0
    assert memory_use().own / 4 < row["peak_memory"] < 4 * (memory_use().own + memory_use().mapped)
    assert row["model_n_params"] > 0
    assert (row["low_ts"], row["high_ts"]) == pytest.approx((min(row["samples_ts"]), max(row["samples_ts"])), rel=1e-4)
    assert row["avg_ns"] == int(sum(row["samples_ns"]) / 3)


def test_means_are_those_of_llama_bench():
    test = BenchTest(model="m", n_prompt=100, n_parallel=2)
    result = BenchResult(test=test, test_time="", samples=(Repetition(total_ns=10**9), Repetition(total_ns=2 * 10**9)))
    assert result.samples_ts == (200, 100)
    assert (result.avg_ts, result.avg_ns) == (150, 1.5e9)
    assert result.stddev_ts == pytest.approx(70.7107, abs=1e-3)


def test_latency_of_all_tokens():
    samples = tuple(
        Repetition(total_ns=1, prompt_ns=p * 10**6, steps_ns=tuple(range(10**6, 11 * 10**6, 10**6))) for p in (5, 7, 9)
    )
    found = latency(BenchResult(test=BenchTest(model="m", n_gen=10, workload="latency"), test_time="", samples=samples))
    assert (found.ttft_ms, found.p50_ms, found.max_ms) == (7, 5.5, 10)
    assert 9 <= found.p90_ms <= found.p99_ms <= 10
    one = BenchResult(
        test=BenchTest(model="m", n_prompt=1, workload="latency"), test_time="", samples=(Repetition(total_ns=1, prompt_ns=5),)
    )
    assert math.isnan(latency(one).p50_ms)
    assert result_row(one, machine_of(describe_build()))["itl_p50_ms"] is None


def test_mapped_files_are_counted(tiny_model, tmp_path):
    path = tmp_path / "alone.gguf"  # a file that other tests have not mapped
    shutil.copyfile(tiny_model, path)
    with load_model(BenchTest(model=str(path), n_gen=1, load_mode="mmap"), CancelFlag()):
        assert mapped_bytes(path) > 0
    assert mapped_bytes(path) == 0


# --- disturbances --------------------------------------------------------------------------------------------------------

CPU = "sys/devices/system/cpu/cpu0"
QUIET = {
    "proc/stat": "cpu  1000 0 100 9000 0 0 0 0 0 0\n",
    "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 1\nthrottled_usec 100\n",
    f"{CPU}/thermal_throttle/package_throttle_count": "3\n",
    f"{CPU}/cpufreq/scaling_cur_freq": "4000000\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({}, None),
        ({"proc/stat": "cpu  1200 0 100 9000 0 0 0 0 0 0\n"}, "other programs used 1.0 of 2 cores"),
        ({"proc/stat": "cpu  1000 0 100 9000 0 0 0 40 0 0\n"}, "the hypervisor took 10% of the CPU time"),
        ({"sys/fs/cgroup/cpu.stat": "usage_usec 1\nthrottled_usec 500100\n"}, "the CPU quota of this container stopped it 25%"),
        ({f"{CPU}/thermal_throttle/package_throttle_count": "4\n"}, "slowed down because of heat"),
        ({f"{CPU}/cpufreq/scaling_cur_freq": "3000000\n"}, "the CPU's clock fell from 4.0 to 3.0 GHz"),
    ],
)
def test_disturbances_are_reported(tmp_path, monkeypatch, change, warning):
    clock = iter([0.0, 1.0, 1.0, 2.0])
    monkeypatch.setattr("llamacli.bench.measure.monitor.time.monotonic", lambda: next(clock))
    times = type("Times", (), {"user": 1.0, "system": 0.0})
    monkeypatch.setattr("llamacli.bench.measure.monitor.os.times", lambda: times)
    monkeypatch.setattr("llamacli.bench.measure.monitor._TICKS", 100)
    monitor = DisturbanceMonitor(threads=2, cores=2, root=write(tmp_path, QUIET))
    with monitor.observing():
        pass
    with monitor.observing():
        write(tmp_path, change)
    assert len(monitor.warnings()) == (warning is not None)
    assert warning is None or warning in monitor.warnings()[0]


def test_spare_cores_may_be_used_by_others(tmp_path, monkeypatch):
    clock = iter([0.0, 2.0])
    monkeypatch.setattr("llamacli.bench.measure.monitor.time.monotonic", lambda: next(clock))
    monitor = DisturbanceMonitor(threads=2, cores=8, root=write(tmp_path, QUIET))
    with monitor.observing():
        write(tmp_path, {"proc/stat": "cpu  1900 0 100 9000 0 0 0 0 0 0\n"})
    assert monitor.warnings() == ()


def test_without_counters_there_are_no_warnings(tmp_path):
    monitor = DisturbanceMonitor(threads=2, cores=2, root=tmp_path)
    with monitor.observing():
        pass
    assert monitor.warnings() == ()
    assert machine_notes(tmp_path) == []
    assert EnergyMeter(tmp_path).source == ""


def test_notes_about_the_machine(tmp_path):
    write(
        tmp_path,
        {
            f"{CPU}/cpufreq/scaling_governor": "powersave\n",
            f"{CPU}/cpufreq/scaling_driver": "acpi-cpufreq\n",
            "sys/class/power_supply/AC/online": "0\n",
            "proc/loadavg": "900.0 1.0 1.0 1/100 1\n",
        },
    )
    governor, battery, load = machine_notes(tmp_path)
    assert "cpupower frequency-set -g performance" in governor
    assert "battery" in battery
    assert "load 900.0" in load


def test_energy_is_that_of_all_packages(tmp_path):
    rapl = "sys/class/powercap/intel-rapl"
    write(
        tmp_path,
        {
            f"{rapl}:0/name": "package-0\n",
            f"{rapl}:0/energy_uj": "900\n",
            f"{rapl}:0/max_energy_range_uj": "1000\n",
            f"{rapl}:1/name": "package-1\n",
            f"{rapl}:1/energy_uj": "5000000\n",
            f"{rapl}:0:0/name": "core\n",
            f"{rapl}:0:0/energy_uj": "7\n",
        },
    )
    meter = EnergyMeter(tmp_path)
    with meter.metering():
        write(tmp_path, {f"{rapl}:0/energy_uj": "100\n", f"{rapl}:1/energy_uj": "8000000\n"})
    assert meter.source == "RAPL"
    assert meter.joules == pytest.approx(3.0002)


def fake_nvml(millijoules):
    """A module like pynvml; a counter that is None is not supported, as on GPUs before Volta."""

    class NVMLError(Exception):
        pass

    def consumption(handle):
        if millijoules[handle] is None:
            raise NVMLError("not supported")
        return millijoules[handle]

    return types.SimpleNamespace(
        NVMLError=NVMLError, nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: len(millijoules),
        nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetTotalEnergyConsumption=consumption,
    )  # fmt: skip


def test_energy_of_gpus(tmp_path, monkeypatch):
    counts = [1000, None, 5000]
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(counts))
    gpu_counters.cache_clear()
    meter = EnergyMeter(tmp_path, gpus=gpu_counters())
    with meter.metering():
        counts[0], counts[2] = 2500, 6000
    assert (meter.source, meter.joules) == ("NVML", 2.5)
    gpu_counters.cache_clear()


def test_without_nvml_there_are_no_gpu_counters(monkeypatch):
    gpu_counters.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_counters() == ()
    gpu_counters.cache_clear()
    broken = fake_nvml([1])
    monkeypatch.setattr(broken, "nvmlInit", lambda: (_ for _ in ()).throw(broken.NVMLError("no driver")))
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert gpu_counters() == ()
    gpu_counters.cache_clear()
