"""How many runs at a time, on what; a ticket says all that another process needs."""

import os
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from harness.catalog import DataCatalog
from harness.launch import Slots, _Launch, find_slots
from harness.plan import choose, plan
from harness.ray_trials import _gpus, _require_answer, _require_room
from harness.record import RunFolder
from harness.run import _Job, run
from harness.settings import How, Outcome, Settings
from harness.worker import Ticket, compute
from protocols.errors import ReIDError
from protocols.registry import select

TINY = [SimpleNamespace(spec=SimpleNamespace(preset="tiny"))] * 8
PAPER = [SimpleNamespace(spec=SimpleNamespace(preset="paper"))] * 8


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores and GPUs."""

    def set_to(cores, gpus):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)

    return set_to


@pytest.mark.parametrize(
    ("cores", "gpus", "how", "planned", "device", "expected"),
    [
        (4, 0, How(), TINY, "auto", (4, 1, 0, 1, True)),
        (4, 0, How(), TINY[:1], "auto", (1, 1, 0, 1, False)),
        (1, 0, How(), TINY, "auto", (1, 1, 0, 1, False)),
        (4, 0, How(), PAPER, "auto", (1, 4, 0, 1, False)),
        (4, 0, How(cpus_per_run=2), PAPER, "auto", (2, 2, 0, 1, True)),
        (4, 0, How(workers=0), TINY, "auto", (0, 1, 0, 1, False)),
        (4, 0, How(workers=1), TINY, "auto", (1, 1, 0, 1, True)),
        (2, 0, How(workers=6), TINY, "auto", (6, 1, 0, 1, True)),
        (16, 2, How(), PAPER, "auto", (2, 8, 1, 1, True)),
        (16, 2, How(gpus_per_run=0.5), PAPER, "auto", (4, 4, 0.5, 1, True)),
        (16, 4, How(gpus_per_run=2), PAPER, "auto", (2, 8, 2, 2, True)),
        (16, 4, How(), TINY, "cpu", (8, 1, 0, 1, True)),
        (4, 0, How(gpus_per_run=2), TINY, "cpu", (2, 2, 0, 2, True)),
        (16, 0, How(workers=4), PAPER, "auto", (4, 4, 0, 1, True)),
        (16, 2, How(gpus_per_run=0.6), PAPER, "auto", (2, 8, 0.6, 1, True)),
        (16, 2, How(workers=1), PAPER, "auto", (1, 16, 1, 1, True)),
        (16, 4, How(gpus_per_run=0), TINY, "auto", (8, 1, 0, 1, True)),
    ],
)
def test_slots(machine, cores, gpus, how, planned, device, expected):
    machine(cores, gpus)
    slots = find_slots(how, planned, device)
    assert (slots.workers, slots.cpus, slots.gpus, slots.processes, slots.ray) == expected


@pytest.mark.parametrize(
    ("how", "device", "said"),
    [
        (How(gpus_per_run=1), "auto", "this machine has 0 GPUs"),
        (How(gpus_per_run=2), "auto", "--device cpu"),
        (How(gpus_per_run=1.5), "auto", "expected a part of 1"),
        (How(cpus_per_run=64), "auto", "this machine has 4 cores"),
        (How(workers=0, address="auto"), "auto", "--workers 0"),
    ],
)
def test_what_there_is_not_is_told(machine, how, device, said):
    machine(4, 0)
    with pytest.raises(ReIDError, match=said):
        find_slots(how, TINY, device)


@pytest.mark.parametrize("how", [How(workers=4), How(workers=3, gpus_per_run=0.5)])
def test_more_workers_than_gpus_have_room_for_are_refused(machine, how):
    machine(16, 1)
    with pytest.raises(ReIDError, match="room for"):
        find_slots(how, PAPER, "auto")


@pytest.mark.parametrize(
    ("workers", "each", "expected"), [(4, 0.5, 2), (3, 0.6, 3), (2, 2, 4), (3, 1, 3), (2, 0, 0)]
)
def test_whole_gpus_for_workers(workers, each, expected):
    assert _gpus(workers, each) == expected


def test_a_run_that_was_busy_and_that_nobody_comes_to_again_is_given_up(tmp_path):
    one = SimpleNamespace(title="a run", spec=SimpleNamespace(id="0123456789ab"))
    said = []
    screen = SimpleNamespace(say=said.append, finished=lambda *_: None)
    launched = _Launch(None, Settings(tmp_path), screen, {one.spec.id: 1.0}, lambda outcome: None)
    rounds = []

    def compute(left, wait):
        rounds.append(wait)
        if not wait:
            launched.note(Outcome(one.spec.id, one.title, busy=True))

    launched.rounds({one.spec.id: one}, compute)
    assert rounds == [False] + [True] * (len(rounds) - 1) and len(rounds) <= 5
    assert said[0] == "Waiting for 1 run of another command."
    assert "a run: its process died" in said[-1]


def test_an_address_where_nobody_answers_is_refused_at_once():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(ReIDError, match="No Ray cluster answers"):
        _require_answer(address)


def test_the_address_may_come_from_the_environment(machine, monkeypatch):
    machine(4, 0)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert find_slots(How(workers=0), TINY, "auto").address is None
    slots = find_slots(How(), TINY, "auto")
    assert (slots.address, slots.workers, slots.ray) == ("10.0.0.1:6379", None, True)


def _planned(standins, out, *names):
    catalog = DataCatalog(standins, out / ".verified")
    chosen = choose(names, "tiny", {})
    return plan(chosen, select("MA->D"), [3], catalog, None, out), catalog


def test_a_ticket_opens_to_what_it_was_made_of(standins, tmp_path):
    for one in _planned(standins, tmp_path, "muva", "colour-histogram")[0]:
        catalog = DataCatalog(standins)
        settings = Settings(tmp_path / "runs", loader_workers=1, threads=2)
        ticket = Ticket.of(one, catalog, settings)
        again = Ticket.model_validate_json(ticket.model_dump_json())
        opened, there = again.open()
        assert opened == one
        assert again.settings == settings.absolute()
        assert (opened.part_masks is None) == (one.part_masks is None)
        assert there.root == catalog.root.absolute()


def test_a_machine_with_other_images_computes_nothing(standins, tmp_path):
    (one,), catalog = _planned(standins, tmp_path, "colour-histogram")
    other = one.spec.model_copy(update={"sources": {"MA": "0" * 16}})
    ticket = Ticket.of(replace(one, spec=other), catalog, Settings(tmp_path))
    outcome = compute(ticket.model_dump_json(), wait=True)
    assert "is not what was planned with" in outcome.failures[0]
    assert not list(tmp_path.glob("*/run.json"))


@pytest.mark.parametrize("change", [{"weights": ("sha256:0",)}, {"method_version": "0"}])
def test_a_machine_with_other_weights_or_code_computes_nothing(standins, tmp_path, change):
    (one,), catalog = _planned(standins, tmp_path, "colour-histogram")
    other = replace(one, spec=one.spec.model_copy(update=change))
    ticket = Ticket.of(other, catalog, Settings(tmp_path))
    outcome = compute(ticket.model_dump_json(), wait=True)
    assert "planned with" in outcome.failures[0]
    assert RunFolder(tmp_path, other.spec.id).failed.exists()


def test_a_run_that_can_not_begin_fails_alone_and_in_words(standins, tmp_path, monkeypatch):
    (one,), catalog = _planned(standins, tmp_path, "colour-histogram")
    ticket = Ticket.of(one, catalog, Settings(tmp_path))
    odd = ticket.model_copy(update={"config": {"bins": "no number"}})
    (failure,) = compute(odd.model_dump_json(), wait=True).failures
    assert "ValidationError" in failure and "planned with" not in failure

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.lease._link", full)
    (failure,) = compute(ticket.model_dump_json(), wait=True).failures
    assert "No space left" in failure


def test_what_a_run_has_to_say_names_it_once_in_every_process(standins, tmp_path, monkeypatch):
    (one,), catalog = _planned(standins, tmp_path, "colour-histogram")
    said, kept = [], []

    def damaged(job: _Job) -> None:
        job.progress.say("one image at a time")
        kept.extend(job.progress.live().said)

    monkeypatch.setattr(_Job, "run", damaged)
    run(one, catalog, Settings(tmp_path), say=said.append)
    assert said == [f"{one.title}: one image at a time"]
    assert kept == ["one image at a time"]  # a screen elsewhere puts the title before it


def test_what_an_interrupted_force_has_set_aside_goes_with_any_whole_result(standins, tmp_path):
    (one,), catalog = _planned(standins, tmp_path, "colour-histogram")
    folder = RunFolder(tmp_path, one.spec.id)
    folder.path.mkdir(parents=True)
    folder.spec.write_text("of an earlier training")
    folder.set_aside()
    assert run(one, catalog, Settings(tmp_path)).computed == ["D"]
    assert not folder.replaced.exists()


def test_a_run_that_no_node_of_a_cluster_could_take_is_refused():
    slots = Slots(None, 4, 1.0, address="head:6379")
    small, gone = {"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0}
    nodes = [{"Alive": True, "Resources": small}, {"Alive": False, "Resources": gone}]
    with pytest.raises(ReIDError, match="4 cores and 1 GPUs"):
        _require_room(slots, nodes)
    _require_room(slots, [{"Alive": True, "Resources": gone}])
