"""RPC: nodes that hold a model's layers, and every way in which one is not there."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from rpc import GRAPH_COMPUTE, GRAPH_RECOMPUTE, SET_TENSOR, FailingNode, answering, free_port, running_node

from llamacli.backend.child.engine import ChildEngine, open_engine
from llamacli.backend.child.inspection import Inspector
from llamacli.backend.child.node import NodeParams, NodeProcess
from llamacli.backend.child.params import ChildParams
from llamacli.backend.rpc import ask_node, check_nodes, lost_nodes, split_address
from llamacli.binding.location import find_folder, read_build_info
from llamacli.engine.events import Answer
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import EngineDiedError, EngineError, RemoteError, UsageError

GREEDY = GenerationParams(max_tokens=12, sampling=SamplingParams(temperature=0, ignore_eos=True))
LONG = "a long prompt " * 12


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[str]]:
    """Two nodes."""
    with ExitStack() as stack:
        yield [stack.enter_context(running_node())[0] for _ in range(2)]


def open_on(model: Path, *addresses: str) -> ChildEngine:
    return open_engine(model, ModelParams(rpc=addresses), ContextParams(n_ctx=256, threads=1))


def answer_of(engine: ChildEngine, prompt: str = LONG) -> str:
    *_, answer = engine.answer(engine.text_turn(prompt), GREEDY)
    assert isinstance(answer, Answer)
    return answer.content


# --- a model on nodes -------------------------------------------------------------------------------------------------------


def test_the_greedy_text_is_that_of_this_machine(nodes: list[str], tiny_model: Path) -> None:
    with open_on(tiny_model, *nodes) as there, open_on(tiny_model) as here:
        assert answer_of(there) == answer_of(here) != ""
    with open_on(tiny_model, *nodes) as again:  # the nodes are free for the next program
        assert answer_of(again)


def test_fit_counts_the_devices_of_the_nodes(nodes: list[str], tiny_model: Path) -> None:
    model, context = ModelParams(rpc=tuple(nodes)), ContextParams(n_ctx=256)
    with Inspector(ChildParams(rpc=tuple(nodes)), [tiny_model]) as inspector:
        report = inspector.fit(tiny_model, model, context)
    assert [device.description for device in report.devices if not device.host] == nodes
    assert all(device.weights for device in report.devices)


def test_shares_follow_tensor_split(nodes: list[str], tiny_model: Path) -> None:
    model = ModelParams(rpc=tuple(nodes), tensor_split=(0.0, 1.0))
    with Inspector(ChildParams(rpc=tuple(nodes)), [tiny_model]) as inspector:
        report = inspector.fit(tiny_model, model, ContextParams(n_ctx=256))
    weights = {device.description: device.weights for device in report.devices if not device.host}
    assert not weights.get(nodes[0])
    assert weights[nodes[1]]


# --- nodes that end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "count"),
    [
        pytest.param({SET_TENSOR}, 1, id="at load"),
        pytest.param({GRAPH_COMPUTE}, 2, id="in the prompt"),
        pytest.param({GRAPH_COMPUTE, GRAPH_RECOMPUTE}, 6, id="in the answer"),
    ],
)
def test_a_node_that_is_gone_is_named(nodes: list[str], tiny_model: Path, commands: set[int], count: int) -> None:
    with closing(FailingNode(nodes[0], commands, count)) as failing:
        with pytest.raises(EngineDiedError) as caught, open_on(tiny_model, failing.address, nodes[1]) as engine:
            answer_of(engine)
        assert str(caught.value) == f"the RPC node {failing.address} is gone, and the engine with it"


def test_a_killed_node_is_noticed_and_can_come_back(tiny_model: Path) -> None:
    with running_node() as (address, process), open_on(tiny_model, address) as engine:
        assert answer_of(engine)
        process.close()
        with pytest.raises(EngineDiedError, match=f"the RPC node {address} is gone"):
            answer_of(engine, "another prompt")
        with pytest.raises(RemoteError, match=f"cannot reach the RPC node {address}: Connection refused"):
            engine.revive()


def test_a_busy_node_is_told_from_one_that_is_gone(nodes: list[str]) -> None:
    assert lost_nodes([*nodes, gone := f"127.0.0.1:{free_port()}"]) == [gone]


# --- nodes that are none ----------------------------------------------------------------------------------------------------


def hello(major: int, minor: int) -> bytes:
    return struct.pack("<Q4B24x", 28, major, minor, 0, 0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not an RPC node: it answers something else"),
        (b"", "is not an RPC node: it answers something else"),
        (None, "does not answer, or serves another program"),
    ],
)
def test_what_is_no_node(answer: bytes | None, message: str) -> None:
    with answering(answer) as address, pytest.raises(RemoteError) as caught:
        ask_node(*split_address(address), seconds=0.2)
    assert message in str(caught.value)


def test_another_version_is_told() -> None:
    major, minor, _ = read_build_info(find_folder())["rpc_protocol"]
    for theirs in ((major - 1, minor), (major + 1, 0), (major, minor + 1)):
        with answering(hello(*theirs)) as address, pytest.raises(RemoteError, match="speaks version") as caught:
            check_nodes([address])
        assert f"{theirs[0]}.{theirs[1]}.0 of the protocol, this program {major}.{minor}" in str(caught.value)


@pytest.mark.parametrize("address", ["", ":1", "a:", "a:b", "a:0", "a:65536", "a:1:2", "[::1]:5", "a:-1", "a:1٣"])
def test_malformed_addresses(address: str) -> None:
    with pytest.raises(UsageError, match="is not an address HOST:PORT"):
        split_address(address)


def test_an_address_without_a_port_has_the_usual_one() -> None:
    assert split_address("gpu") == ("gpu", 50052)
    with pytest.raises(UsageError, match="named twice"):
        check_nodes(["gpu", "gpu:50052"])
    with pytest.raises(UsageError, match="there are 17 RPC nodes"):
        check_nodes([f"gpu:{port}" for port in range(1, 18)])
    with pytest.raises(RemoteError, match="no IPv4 address"):
        check_nodes(["no-such-host.invalid"])


# --- the node itself --------------------------------------------------------------------------------------------------------


def test_what_a_node_says_of_itself() -> None:
    with running_node() as (address, process):
        about = process.description
        assert about.address == address
        assert list(about.version) == read_build_info(find_folder())["rpc_protocol"]
        assert [device.free <= device.total for device in about.devices] == [True]
        assert ask_node(*split_address(address)).devices[0].total == about.devices[0].total


@pytest.mark.demo
def test_a_node_keeps_large_tensors_in_its_folder(tmp_path: Path, demo_model: Path) -> None:
    texts = []
    for _ in range(2):
        with running_node(cache=str(tmp_path)) as (address, _), open_on(demo_model, address) as engine:
            texts.append(answer_of(engine))
    assert texts[0] == texts[1]
    assert [path.stat().st_size > 10 << 20 for path in tmp_path.iterdir()] == [True]  # the output's weights


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="unknown device 'CUDA7'"), running_node(devices=("CUDA7",)):
        pass


def test_an_address_that_cannot_be_used() -> None:
    with pytest.raises(EngineError), closing(NodeProcess(NodeParams(host="192.0.2.1", port=1), ChildParams())):
        pass
