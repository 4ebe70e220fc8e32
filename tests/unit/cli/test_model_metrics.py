"""What is shown of a process, its model, and the card that this computes on: a stand-in, since there is none here."""

import time
from typing import Any, cast

import pytest
import torch
from prometheus_client import CollectorRegistry

from cli.model_metrics import watch_model, watch_work
from cli.parts import Parts
from encoders.engine import BatchReport, EncoderEngine
from runtime.log import Log
from runtime.probes import Probes
from runtime.settings import load_settings
from services.embedder.metrics import DeviceMetrics
from tests.unit.cli.stand_ins import StandIn
from tests.unit.runtime.test_probes import Clock, later


class Engine:
    def __init__(self, device: str, full_batch_seconds: float | None = None) -> None:
        self.full_batch_seconds = full_batch_seconds
        self.encoder = StandIn(device=device, dtype="bfloat16")
        self.identity = self.encoder.identity
        self.working: dict[int, int] = {}

    def work(self) -> dict[int, int]:
        return self.working


def shown(device: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    watch_model(cast("EncoderEngine", Engine(device)), registry, Probes(), Log("test"))
    return registry


def test_a_process_says_from_the_first_moment_when_it_started() -> None:
    before = time.time()
    started = Parts.make(load_settings({})).registry.get_sample_value("sightline_process_start_timestamp_seconds")
    assert started is not None
    assert before <= started <= time.time()


@pytest.mark.parametrize(("full_batch_seconds", "allowed"), [(None, 60), (20, 60), (100, 200)])
def test_a_pass_that_is_slow_by_the_warm_up_already_is_no_stall_and_a_longer_one_is(
    full_batch_seconds: float | None, allowed: float, caplog: pytest.LogCaptureFixture
) -> None:
    clock, engine = Clock(), Engine("cpu", full_batch_seconds)
    probes = Probes(stall_seconds=60, heartbeat_seconds=10_000, clock=clock)
    watch_work(cast("EncoderEngine", engine), probes, Log("test"))
    assert ("SIGHTLINE_PROBES__STALL_SECONDS" in caplog.text) == (allowed > 60)
    engine.working[1] = 0
    probes.beat()
    later(probes, clock, allowed - 1)
    assert probes.liveness().ok
    later(probes, clock, 2)
    assert not probes.liveness().ok


def test_the_model_is_named_by_its_labels() -> None:
    labels = {"model": "hashing", "fingerprint": "w-p-bfloat16", "device": "cpu", "dtype": "bfloat16"}
    assert shown("cpu").get_sample_value("sightline_model_info", labels) == 1


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("cuda:0", "cuda"), ("remote", None)])
def test_only_who_has_a_device_tells_its_price_and_its_seconds(device: str, kind: str | None) -> None:
    registry = CollectorRegistry()
    metrics = DeviceMetrics(registry, dollars_per_hour=2.5)
    metrics.watch(cast("EncoderEngine", Engine(device)))
    metrics.forward(BatchReport(images=4, forward=0.5, waited=0.1))
    told = {
        (sample.name, sample.labels.get("device")): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }
    price, seconds = "sightline_device_price_dollars_per_hour", "sightline_device_seconds_total"
    assert told == ({} if kind is None else {(price, None): 2.5, (seconds, kind): 0.5})


@pytest.mark.parametrize("device", ["cpu", "remote"])
def test_without_a_card_nothing_is_said_of_one(device: str) -> None:
    assert not [metric.name for metric in shown(device).collect() if "accelerator" in metric.name]


def test_a_cards_memory_and_use_are_read_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"memory_allocated": 3, "memory_reserved": 5, "utilization": 40}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 80))
    for name in used:
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: used[name])
    registry = shown("cuda:0")

    def memory(kind: str) -> Any:
        return registry.get_sample_value("sightline_accelerator_memory_bytes", {"kind": kind})

    assert [memory(kind) for kind in ("allocated", "reserved", "used", "total")] == [3, 5, 79, 80]
    assert registry.get_sample_value("sightline_accelerator_utilization_ratio") == 0.4
    used["memory_allocated"] = 4
    assert memory("allocated") == 4


def test_a_card_whose_driver_tells_no_use_shows_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def untold(device: str) -> int:
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 80))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5)
    monkeypatch.setattr(torch.cuda, "utilization", untold)
    registry = shown("cuda:0")
    assert registry.get_sample_value("sightline_accelerator_memory_bytes", {"kind": "total"}) == 80
    assert "sightline_accelerator_utilization_ratio" not in {metric.name for metric in registry.collect()}
