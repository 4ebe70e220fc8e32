from collections.abc import Mapping

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from runtime.batch import Received
from runtime.kafka.lane import KafkaBatch, Lane, LaneTerms
from runtime.kafka.metrics import KafkaMetrics
from runtime.log import Log
from tests.unit.runtime.stages import Recorder, ScriptedStage, worker_for


class Committing:
    """A consumer of which only the commits matter."""

    def __init__(self) -> None:
        self.commits: list[Mapping[TopicPartition, int]] = []

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.commits.append(offsets)


def _lane(registry: CollectorRegistry) -> Lane:
    terms = LaneTerms(
        topic="t",
        metrics=KafkaMetrics.make(registry),
        log=Log("test"),
        commit_deadline=1.0,
        revoke_patience=1.0,
        remedy="Wait",
        failed=lambda error: None,
    )
    return Lane(worker_for(ScriptedStage(), Recorder()), terms)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 10**12)), min_size=1, max_size=50))
def test_what_is_committed_is_after_the_last_record_of_each_partition_of_the_batch(at: list[tuple[int, int]]) -> None:
    records = [Received("t", partition, offset, None, b"") for partition, offset in at]
    offsets = KafkaBatch(records, Committing(), _lane(CollectorRegistry())).offsets()
    assert {one.partition for one in offsets} == {partition for partition, _ in at}
    for one, offset in offsets.items():
        assert offset - 1 == max(o for partition, o in at if partition == one.partition)


async def test_a_batch_that_the_group_went_on_without_is_not_committed_even_if_its_partitions_came_back() -> None:
    registry, consumer = CollectorRegistry(), Committing()
    batch = KafkaBatch([Received("t", 0, 7, None, b"")], consumer, _lane(registry))
    batch.lost = True
    await batch.done()
    assert consumer.commits == []
    labels = {"topic": "t", "kind": "revoked"}
    assert registry.get_sample_value("sightline_kafka_commit_failures_total", labels) == 1


async def test_a_batch_that_is_done_is_committed_once_with_its_own_offsets() -> None:
    consumer = Committing()
    lane = _lane(CollectorRegistry())
    batch = KafkaBatch([Received("t", 0, 7, None, b""), Received("t", 0, 8, None, b"")], consumer, lane)
    await batch.done()
    assert consumer.commits == [{TopicPartition("t", 0): 9}]
    assert lane.committed == {TopicPartition("t", 0): 9}


async def test_a_rebalance_is_counted_by_those_whose_partitions_it_took() -> None:
    registry = CollectorRegistry()
    lane = _lane(registry)

    def counted() -> list[float]:
        series = [{"topic": "t", "kind": kind} for kind in ("revoked", "assigned")]
        return [registry.get_sample_value("sightline_kafka_rebalances_total", one) or 0 for one in series]

    await lane.on_partitions_revoked(set())
    await lane.on_partitions_assigned(set())
    assert counted() == [0, 0]
    await lane.on_partitions_revoked(set())
    await lane.on_partitions_assigned({TopicPartition("t", 0)})
    assert counted() == [0, 1]
    await lane.on_partitions_revoked({TopicPartition("t", 0)})
    await lane.on_partitions_assigned(set())
    assert counted() == [1, 1]
