"""Shards: every row in one of them, and a merge that proves it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Result, invoke
from odd_server import Script, answered, odd_server, refused

from llamacli.batch.shard import Shard, parse_shard, shard_of_job
from llamacli.batch.shard_record import record_path
from llamacli.errors import UsageError

ROWS = 23


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_every_row_is_in_one_shard(count: int) -> None:
    shards = [Shard(place, count) for place in range(1, count + 1)]
    for number in range(ROWS):
        assert sum(shard.takes(number) for shard in shards) == 1


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "a/b", "1/3/5", "-1/3", "1/9999999", "٣/٤ "])
def test_other_shards_are_refused(text: str) -> None:
    with pytest.raises((ValueError, UsageError)):
        parse_shard(text)


@pytest.mark.parametrize(
    ("values", "shard"),
    [
        (("3", "8"), "3/8"), (("0", "8", "0"), "1/8"), (("7", "8", "0"), "8/8"), (("20", "3", "10", "5"), "3/3"),
        (("9", "8"), None), (("", "8"), None), (("1", ""), None), (("x", "8"), None), (("11", "3", "10", "5"), None),
    ],
)  # fmt: skip
def test_a_job_of_an_array_knows_its_shard(values: tuple[str, ...], shard: str | None) -> None:
    names = ("ID", "COUNT", "MIN", "STEP")
    environ = {f"SLURM_ARRAY_TASK_{name}": value for name, value in zip(names, values, strict=False)}
    if shard is None:
        with pytest.raises(UsageError):
            shard_of_job(environ)
    else:
        assert str(shard_of_job(environ)) == shard


def run(*arguments: str, script: Script | None = None) -> Result:
    with odd_server(script or Script([answered("An answer.")])) as address:
        return invoke("run", "--url", address, *arguments)


def answer(folder: Path, place: int, *arguments: str, script: Script | None = None) -> Result:
    rows = folder / "rows.jsonl"
    if not rows.exists():
        rows.write_text("".join(json.dumps({"prompt": f"row {number}"}) + "\n" * (1 + number % 2) for number in range(ROWS)))
    out = str(folder / f"{place}.jsonl")
    return run("--input", str(rows), "--shard", f"{place}/3", "--output", out, *arguments, script=script)


def files(folder: Path, count: int = 3) -> list[str]:
    return [str(folder / f"{place}.jsonl") for place in range(1, count + 1)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for place in (1, 2, 3):
        done = answer(tmp_path, place)
        assert done.status == 0, done.stderr
    return tmp_path


def test_merged_shards_are_the_whole_run(shards: Path) -> None:
    for number, order in enumerate(itertools.permutations(files(shards))):
        out = shards / f"all{number}.jsonl"
        done = invoke("run", "--merge", str(out), *order)
        assert (done.status, done.stdout) == (0, ""), done.stderr
        assert f"{ROWS} rows of 3 shards" in done.stderr
    whole = shards / "whole.jsonl"
    assert run("--input", str(shards / "rows.jsonl"), "--output", str(whole)).status == 0
    rows = [json.loads(line)["row"] for line in whole.read_text().splitlines()]
    assert [json.loads(line)["row"] for line in (shards / "all0.jsonl").read_text().splitlines()] == rows
    assert len(rows) == ROWS


def test_a_table_can_be_merged(shards: Path) -> None:
    assert invoke("run", "--merge", str(shards / "all.csv"), *files(shards)).status == 0
    assert len((shards / "all.csv").read_text().splitlines()) == ROWS + 1


def test_the_jobs_of_an_array_answer_all_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("\n".join(map(str, range(ROWS))))
    with odd_server(Script([answered("Yes.")])) as address:
        for job in (1, 2, 3):
            environ = {"SLURM_ARRAY_TASK_ID": str(job), "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"}
            words = ("--input", str(tmp_path / "rows.txt"), "--shard", "auto", "--output", str(tmp_path / f"{job}.jsonl"))
            assert invoke("run", "--url", address, *words, environ=environ).status == 0
    assert invoke("run", "--merge", str(tmp_path / "all.jsonl"), *files(tmp_path)).status == 0
    rows = [json.loads(line)["row"] for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert rows == list(range(ROWS))


def drop_line(shards: Path) -> None:
    path = shards / "2.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def double_line(shards: Path) -> None:
    path = shards / "2.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[0])


def foreign_line(shards: Path) -> None:
    path = shards / "2.jsonl"
    path.write_text(path.read_text() + (shards / "1.jsonl").read_text().splitlines(keepends=True)[0])


def torn_line(shards: Path) -> None:
    path = shards / "2.jsonl"
    path.write_text(path.read_text()[:-5])


def other_input(shards: Path) -> None:
    with (shards / "rows.jsonl").open("a") as file:
        file.write('{"prompt": "new"}\n')
    (shards / "2.jsonl").unlink()
    assert answer(shards, 2).status == 0


def unfinished(shards: Path) -> None:
    record_path(shards / "2.jsonl").unlink()


def altered_record(shards: Path) -> None:
    record_path(shards / "2.jsonl").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop_line, "its record says"), (double_line, "twice"), (foreign_line, "not of shard"), (torn_line, "not a result"),
        (other_input, "different inputs"), (unfinished, "not a finished shard"), (altered_record, "not the record"),
    ],
)  # fmt: skip
def test_what_is_not_complete_is_not_merged(shards: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(shards)
    done = invoke("run", "--merge", str(shards / "all.jsonl"), *files(shards))
    assert done.status == 2
    assert said in done.stderr
    assert not (shards / "all.jsonl").exists()


def test_missing_and_doubled_shards_are_named(shards: Path) -> None:
    one, two, three = files(shards)
    missing = invoke("run", "--merge", str(shards / "all.jsonl"), one, three)
    assert (missing.status, "missing: 2/3" in missing.stderr) == (2, True)
    (shards / "copy.jsonl").write_text(Path(one).read_text())
    record_path(shards / "copy.jsonl").write_text(record_path(Path(one)).read_text())
    doubled = invoke("run", "--merge", str(shards / "all.jsonl"), one, two, three, str(shards / "copy.jsonl"))
    assert (doubled.status, "the same shard, 1/3" in doubled.stderr) == (2, True)


def test_a_shard_that_was_broken_off_has_no_record_until_it_is_resumed(tmp_path: Path) -> None:
    record = record_path(tmp_path / "1.jsonl")
    broken = answer(tmp_path, 1, "--fail-fast", "--parallel", "1", script=Script([answered("Yes."), refused(400)]))
    assert (broken.status, record.exists()) == (6, False)
    again = answer(tmp_path, 1, "--resume")
    assert (again.status, record.exists()) == (6, True)  # the row that failed stays
    for place in (2, 3):
        answer(tmp_path, place)
    merged = invoke("run", "--merge", str(tmp_path / "all.jsonl"), *files(tmp_path))
    assert merged.status == 6
    assert "1 failed" in merged.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--shard", "1/2", "hi"), ("--shard", "1/2", "--input", "x.jsonl"), ("--merge", "out.jsonl"),
        ("--shard", "1/2", "--input", "x.jsonl", "--output", "x.csv"), ("--merge", "out.jsonl", "--input", "x.jsonl", "a"),
        ("--shard", "auto", "--input", "x.jsonl", "--output", "y.jsonl"), ("--merge", "x.jsonl", "a"), ("a", "b"),
    ],
)  # fmt: skip
def test_combinations_that_make_no_sense_are_refused(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.jsonl").write_text('"hi"\n')
    done = invoke("run", *arguments)
    assert (done.status, done.stdout) == (2, ""), done.stderr
