from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from runtime.dead_letters import BudgetPolicy, DeadLetterBudgetExceeded
from runtime.retry import BatchAbandoned
from runtime.stage import Done, Emit, Item, Outcome, Reject
from schemas.dead_letter import RejectReason
from schemas.errors import DependencyUnavailable
from schemas.events import ImageEvent
from schemas.headers import TRACEPARENT, header
from tests.unit.runtime.stages import FakeBatch, Recorder, ScriptedStage, event, received, stage_metrics, worker_for


async def test_a_batch_is_published_then_dead_lettered_and_marked_done_last() -> None:
    recorder = Recorder()

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        return {
            items[0].id: Emit((items[0].event,)),
            items[1].id: Reject(RejectReason.DECODE_FAILED, "broken", (event("verdict"),)),
            items[2].id: Done(),
        }

    batch = FakeBatch([received(key, n) for n, key in enumerate("abc")], recorder)
    await worker_for(ScriptedStage(answer), recorder).handle(batch)
    assert recorder.calls == ["publish", "dead_letters", "done"]
    assert recorder.keys() == ["a", "verdict"]
    assert [(letter.reason, letter.object, letter.origin.offset) for letter in recorder.letters] == [
        (RejectReason.DECODE_FAILED, "s3://b/b", 1)
    ]
    assert recorder.letters[0].original == batch.records[1].value


async def test_an_undecodable_record_is_dead_lettered_and_the_others_go_on() -> None:
    recorder = Recorder()
    bad = replace(received("x", 1), value=b"\xff not json")
    await worker_for(ScriptedStage(), recorder).handle(FakeBatch([received("a", 0), bad, received("c", 2)], recorder))
    assert recorder.keys() == ["a", "c"]
    assert [letter.original for letter in recorder.letters] == [b"\xff not json"]
    assert recorder.letters[0].reason is RejectReason.MALFORMED_RECORD


async def test_an_outage_is_waited_out_without_dead_letters() -> None:
    recorder, tries = Recorder(), 0
    registry = CollectorRegistry()

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        nonlocal tries
        tries += 1
        if tries < 4:
            assert not recorder.calls
            raise DependencyUnavailable("s3", "b did not answer", "Look at the store")
        return {item.id: Emit((item.event,)) for item in items}

    batch = FakeBatch([received("a", 0)], recorder)
    await worker_for(ScriptedStage(answer), recorder, metrics=stage_metrics(registry)).handle(batch)
    assert recorder.calls == ["publish", "done"]
    labels = {"stage": "scripted", "dependency": "s3"}
    assert registry.get_sample_value("sightline_retries_total", labels) == 3
    assert registry.get_sample_value("sightline_waiting_for_dependency", labels) == 0


async def test_a_batch_that_was_taken_away_while_waiting_is_left_undone() -> None:
    recorder = Recorder()
    batch = FakeBatch([received("a", 0)], recorder)

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        batch.abandoned = True
        raise DependencyUnavailable("s3", "away", "wait")

    with pytest.raises(BatchAbandoned):
        await worker_for(ScriptedStage(answer), recorder).handle(batch)
    assert recorder.calls == []


async def test_a_bug_in_the_stage_leaves_the_batch_undone_and_reaches_the_caller() -> None:
    recorder = Recorder()

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await worker_for(ScriptedStage(answer), recorder).handle(FakeBatch([received("a", 0)], recorder))
    assert recorder.calls == []


@pytest.mark.parametrize("answered", [[], [0], [0, 1, 2]])
async def test_a_stage_that_answers_for_other_items_than_it_was_asked_is_a_bug(answered: list[int]) -> None:
    recorder = Recorder()

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        return {f"image-events/0/{n}": Done() for n in answered}

    batch = FakeBatch([received("a", 0), received("b", 1)], recorder)
    with pytest.raises(RuntimeError, match="unanswered"):
        await worker_for(ScriptedStage(answer), recorder).handle(batch)
    assert not batch.is_done


async def test_a_flood_of_rejects_stops_before_it_is_written() -> None:
    recorder = Recorder()

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        return {item.id: Reject(RejectReason.DECODE_FAILED, "all broken") for item in items}

    worker = worker_for(ScriptedStage(answer), recorder, budget=BudgetPolicy(share=0.5, window=20, least=10))
    await worker.handle(FakeBatch([received("a", n) for n in range(5)], recorder))
    written = len(recorder.letters)
    with pytest.raises(DeadLetterBudgetExceeded, match="bad release"):
        await worker.handle(FakeBatch([received("a", n) for n in range(20)], recorder))
    assert len(recorder.letters) == written == 5


async def test_events_of_other_buckets_do_not_spend_the_budget() -> None:
    recorder = Recorder()

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        return {item.id: Reject(RejectReason.BUCKET_NOT_ALLOWED, "not ours") for item in items}

    worker = worker_for(ScriptedStage(answer), recorder, budget=BudgetPolicy(window=20, least=10))
    await worker.handle(FakeBatch([received("a", n) for n in range(40)], recorder))
    assert len(recorder.letters) == 40


async def test_a_tolerant_budget_only_warns() -> None:
    recorder = Recorder()

    def answer(items: Sequence[Item[ImageEvent]]) -> Mapping[str, Outcome]:
        return {item.id: Reject(RejectReason.DECODE_FAILED, "all broken") for item in items}

    worker = worker_for(ScriptedStage(answer), recorder, budget=BudgetPolicy(window=20, least=10, stop=False))
    await worker.handle(FakeBatch([received("a", n) for n in range(40)], recorder))
    assert len(recorder.letters) == 40


async def test_the_trace_of_a_record_goes_on_in_what_it_causes() -> None:
    recorder = Recorder()
    record = received("a", 0)
    await worker_for(ScriptedStage(), recorder).handle(FakeBatch([record], recorder))
    came, sent = header(record.headers, TRACEPARENT), header(recorder.messages[0].headers, TRACEPARENT)
    assert came is not None
    assert sent is not None
    assert came.split(b"-")[1] == sent.split(b"-")[1]
    assert came != sent


async def test_an_empty_batch_is_nothing() -> None:
    recorder = Recorder()
    await worker_for(ScriptedStage(), recorder).handle(FakeBatch([], recorder))
    assert recorder.calls == []
