"""The simulation keeps its images, and more embedders are never slower; what it says of the load run was measured."""

from dataclasses import replace

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.record import Measured, read_measured
from benchmarks.simulation.autoscaler import Autoscaler, ScalingTerms
from benchmarks.simulation.consumers import GroupTimes, StageRates
from benchmarks.simulation.pipeline import Pipeline, Results
from benchmarks.simulation.processor import Processor
from benchmarks.simulation.small_run import compare, lag_off, simulate, slower, stage_rates
from benchmarks.simulation.topics import Cohort, Partition

CLOSE = 0.2
"""What the simulation may be off by."""

EMBEDDER = StageRates(
    name="embedder",
    lanes=2,
    batch_records=16,
    waits=(0.05, 0.1),
    batch_work=0.01,
    image_work=0.02,
    publish=0.01,
    commit=0.01,
)
arrivals = st.lists(
    st.tuples(st.floats(0.0, 20.0), st.integers(1, 60)), min_size=1, max_size=25
).map(sorted)  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> Measured:
    return read_measured()


def total(images: list[tuple[float, int]]) -> int:
    return sum(count for _, count in images)


def fleet(partitions: int, pods: int, *, seed: int = 0, by_chance: bool = False, indexer: bool = False) -> Pipeline:
    """Embedders, each on a processor of its own, and perhaps an indexer behind them."""
    stages = [EMBEDDER]
    topics = [("image-events", partitions)]
    if indexer:
        stages.append(replace(EMBEDDER, name="indexer", lanes=1, image_work=0.001))
        topics.append(("image-embeddings", partitions))
    pipeline = Pipeline(stages, topics, seed=seed, dealt_by_chance=by_chance)
    pipeline.start([[Processor(pipeline.env, 1.0) for _ in range(pods)] for _ in stages])
    return pipeline


def drained(pipeline: Pipeline, images: list[tuple[float, int]]) -> Results:
    pipeline.arrive(images)
    last = pipeline.topics[-1]
    return pipeline.run(when=lambda: last.committed >= total(images) or pipeline.env.now > 10_000)


@settings(deadline=None, max_examples=40)
@given(arrivals, st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_every_image_reaches_the_index_once_and_no_lag_is_negative(
    images: list[tuple[float, int]], partitions: int, pods: int, seed: int
) -> None:
    pipeline = fleet(partitions, pods, seed=seed, by_chance=True, indexer=True)
    pipeline.watch(0.25)
    results = drained(pipeline, images)
    assert results.images == total(images)
    assert all(topic.committed == total(images) and topic.lag == 0 for topic in pipeline.topics)
    assert all(lag >= 0 for lags in results.lags.values() for lag in lags)
    assert all(done > born for born, done, _ in results.done)
    assert all(partition.written == partition.committed for topic in pipeline.topics for partition in topic.partitions)


@settings(deadline=None, max_examples=40)
@given(
    arrivals,
    st.integers(2, 8),
    st.lists(st.tuples(st.floats(0.5, 30.0), st.sampled_from(["join", "leave", "kill"])), max_size=6).map(sorted),
)
def test_no_image_is_lost_while_embedders_come_leave_and_die(
    images: list[tuple[float, int]], partitions: int, changes: list[tuple[float, str]]
) -> None:
    pipeline = fleet(partitions, 2, by_chance=True)
    [group] = pipeline.groups

    def change() -> "simpy.events.ProcessGenerator":
        for at, what in changes:
            yield pipeline.env.timeout(at - pipeline.env.now)
            if what == "join":
                group.join(Processor(pipeline.env, 1.0))
            elif len(group.pods) > 1:
                group.leave() if what == "leave" else group.kill()

    pipeline.env.process(change())
    results = drained(pipeline, images)
    assert results.images == total(images)
    assert pipeline.topics[0].lag == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(50, 1500), st.integers(1, 12), st.integers(1, 5))
def test_one_embedder_more_is_never_slower_and_beyond_the_partitions_no_quicker(
    images: int, partitions: int, pods: int
) -> None:
    batch = EMBEDDER.batch_work + EMBEDDER.batch_records * EMBEDDER.image_work
    # Two batches share a processor, and the last may be begun by either.
    tolerance = 2 * batch + max(EMBEDDER.waits) + EMBEDDER.publish + EMBEDDER.commit
    fewer = drained(fleet(partitions, pods), [(0.0, images)]).last
    more = drained(fleet(partitions, pods + 1), [(0.0, images)]).last
    assert more <= fewer + tolerance
    enough = drained(fleet(partitions, partitions), [(0.0, images)]).last
    beyond = drained(fleet(partitions, partitions + 3), [(0.0, images)]).last
    assert abs(enough - beyond) <= tolerance


def test_twice_the_embedders_take_half_the_time_while_partitions_last() -> None:
    one, two, four = (drained(fleet(12, pods), [(0.0, 4000)]).last for pods in (1, 2, 4))
    assert one == pytest.approx(4000 * EMBEDDER.image_work * (1 + 0.01 / (16 * 0.02)), rel=0.05)
    assert two == pytest.approx(one / 2, rel=0.1)
    assert four == pytest.approx(one / 4, rel=0.15)


def test_a_processor_is_shared_equally_and_gives_no_job_more_than_it_can_use() -> None:
    env = simpy.Environment()
    processor = Processor(env, 2.0)
    ended: dict[str, float] = {}

    def job(name: str, work: float, most: float) -> "simpy.events.ProcessGenerator":
        yield processor.work(work, most)
        ended[name] = env.now

    for name, work, most in (("narrow", 1.0, 0.5), ("wide", 3.0, 2.0), ("short", 0.75, 1.0)):
        env.process(job(name, work, most))
    env.run()
    # 0.5 for the narrow one; the others share 1.5, until the short one ends at 1.0 and the wide one has the rest.
    assert ended["short"] == pytest.approx(1.0)
    assert ended["narrow"] == pytest.approx(2.0)
    assert ended["wide"] == pytest.approx(2.0 + (3.0 - 0.75 - 1.5) / 2.0)
    assert processor.used == pytest.approx(4.75)


def test_jobs_in_order_leave_one_another_what_they_cannot_use() -> None:
    env = simpy.Environment()
    processor = Processor(env, 2.0, {"engine": 1.5}, in_order=("engine",))
    ended: dict[str, float] = {}

    def job(name: str, work: float, most: float, kind: str) -> "simpy.events.ProcessGenerator":
        yield processor.work(work, most, kind)
        ended[name] = env.now

    for name in ("first", "second", "third"):
        env.process(job(name, 1.0, 1.0, "engine"))
    env.process(job("beside", 1.0, 0.5, "other"))
    env.run()
    # One core for the first, half a core for the second until then, and nothing for the third; then half for that.
    assert ended == pytest.approx({"first": 1.0, "second": 1.5, "third": 2.25, "beside": 2.0})


def test_a_killed_embedder_stops_its_partitions_until_the_session_ends_and_its_batch_comes_again() -> None:
    pipeline = fleet(2, 2)
    [group] = pipeline.groups
    pipeline.arrive([(0.0, 64)])
    pipeline.run(0.2)
    group.kill()
    results = pipeline.run(GroupTimes().session - 1)
    assert 0 < results.images < 64
    pipeline.run(GroupTimes().session + 10)
    assert results.images == 64
    assert group.rebalances == 1


def test_the_autoscaler_goes_no_further_than_partitions_and_comes_down_after_the_cooldown() -> None:
    pipeline = fleet(6, 1)
    [group] = pipeline.groups
    terms = ScalingTerms(
        lag_a_pod=50, most=10, poll=5.0, pod_start=10.0, cooldown=60.0, halve_every=30.0, double_every=5.0
    )
    scaler = Autoscaler(pipeline.env, group, terms, cores=1.0)
    pipeline.watch(1.0, group)
    pipeline.arrive([(0.0, 6000)])
    results = pipeline.run(400.0)
    # Six partitions are enough for three pods of two consumers.
    assert max(results.pods) == scaler.most == 3
    emptied = next(
        look for look, lag in zip(results.looks, results.lags["image-events"], strict=True) if look > 1 and not lag
    )
    lower = next(look for look, pods in zip(results.looks, results.pods, strict=True) if look > emptied and pods < 3)
    assert lower >= emptied + 60.0 - 5.0
    assert results.pods[-1] == 1
    assert results.images == 6000


def test_a_partition_gives_records_in_order_and_refuses_to_commit_what_was_not_written() -> None:
    partition = Partition(0)
    for cohort in (Cohort(1.0, 3), Cohort(2.0, 4)):
        partition.append(cohort)
    taken = partition.take(5)
    assert taken == [Cohort(1.0, 3), Cohort(2.0, 2)]
    partition.give_back(taken)
    assert partition.take(100) == [Cohort(1.0, 3), Cohort(2.0, 2), Cohort(2.0, 2)]
    with pytest.raises(ValueError, match="8 committed"):
        partition.commit(8)


def test_a_consumer_hands_out_what_it_fetched_of_a_partition_to_its_end() -> None:
    rates = replace(EMBEDDER, lanes=1, batch_records=2, waits=())
    pipeline = Pipeline([rates], [("image-events", 2)])
    pipeline.start([[Processor(pipeline.env, 1.0)]])
    first, second = pipeline.topics[0].partitions
    born = iter(range(1, 9))
    for partition in (first, first, second, first, second):
        partition.append(Cohort(next(born), 1))
    results = pipeline.run(0.01)
    for partition in (second, first, first):
        partition.append(Cohort(next(born), 1))
    results = pipeline.run(10.0)
    # Of the first partition 1, 2 and 4 were here, of the second 3 and 5; then 6, and 7 and 8.
    assert [round(one) for one, _, _ in results.done] == [1, 2, 4, 3, 5, 7, 8, 6]


def test_the_simulation_reproduces_the_load_run(measured: Measured) -> None:
    results = simulate(measured)
    assert results.images == measured.run.images
    off = {one.name: round(one.off, 3) for one in compare(measured, results)}
    off["lag curve"] = round(lag_off(measured, results), 3)
    assert all(share <= CLOSE for share in off.values()), off


def test_the_simulation_is_told_nothing_of_the_run_but_uploads_and_processors(measured: Measured) -> None:
    blind = measured.run.model_copy(
        update={"indexed": [0.0] * measured.run.images, "lag_looks": [], "drained_at": 0.0, "burst_at": 0.0}
    )
    assert simulate(measured.model_copy(update={"run": blind, "panels": {}})).done == simulate(measured).done


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_a_machine_of_another_speed_does_not_reproduce_the_run(measured: Measured, factor: float) -> None:
    wrong = measured.model_copy(
        update={"run": measured.run.model_copy(update={"burst_cpu": factor * measured.run.burst_cpu})}
    )
    assert any(one.off > CLOSE for one in compare(wrong, simulate(wrong)))


def test_waits_that_are_half_as_long_do_not_reproduce_the_run(measured: Measured) -> None:
    lone = {stage: [one / 2 for one in seconds] for stage, seconds in measured.calibration.lone_seconds.items()}
    wrong = measured.model_copy(update={"calibration": measured.calibration.model_copy(update={"lone_seconds": lone})})
    assert any(one.off > CLOSE for one in compare(wrong, simulate(wrong)))


def test_a_calibration_at_another_speed_of_the_machine_tells_the_same(measured: Measured) -> None:
    one = measured.calibration
    fast = one.model_copy(
        update={
            "upload_cpu": {name: cpu / 1.3 for name, cpu in one.upload_cpu.items()},
            "drain_cpu": {name: cpu / 1.3 for name, cpu in one.drain_cpu.items()},
        }
    )
    other = measured.model_copy(update={"calibration": fast})
    assert slower(other)[1] == pytest.approx(1.3 * slower(measured)[1])
    assert simulate(other).last == pytest.approx(simulate(measured).last, rel=0.01)


def test_rates_come_from_the_calibration(measured: Measured) -> None:
    ingest, embedder, indexer = stage_rates(measured.calibration, measured.setup)
    assert [stage.name for stage in (ingest, embedder, indexer)] == ["ingest", "embedder", "indexer"]
    assert embedder.lanes == measured.setup.consumers
    assert embedder.image_work > indexer.image_work > 0
