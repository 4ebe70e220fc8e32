"""The sizing guide is computed, says what the program computes, and its arithmetic is that of a pocket calculator."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.blocks import ROOT, filled, table
from benchmarks.load import report
from benchmarks.load.record import Measured, read_measured
from benchmarks.simulation.autoscaler import ScalingTerms
from benchmarks.simulation.scenarios import Fleet, Scenario, play
from benchmarks.sizing.arithmetic import embedders, flow, nodes_for_writing, stock
from benchmarks.sizing.assumptions import PATH, Assumptions, Trust, read_assumptions
from benchmarks.sizing.tables import BLOCKS

SCALE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
LOAD = (ROOT / "docs" / "load.md").read_text(encoding="utf-8")
QUICK = {name: block for name, block in BLOCKS.items() if name != "scenarios"}
TODO = "`python -m benchmarks.sizing` writes it again"


@pytest.fixture(scope="module")
def measured() -> Measured:
    return read_measured()


@pytest.fixture(scope="module")
def told(measured: Measured) -> Assumptions:
    return read_assumptions(measured)


def test_the_guide_says_what_the_program_computes() -> None:
    assert filled(SCALE, QUICK) == SCALE, TODO


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_guide_says_what_the_simulation_finds() -> None:
    assert filled(SCALE, {"scenarios": BLOCKS["scenarios"]}) == SCALE, TODO


def test_the_load_page_says_what_was_measured(measured: Measured) -> None:
    blocks = {name: lambda block=block: block(measured) for name, block in report.BLOCKS.items()}
    assert filled(LOAD, blocks) == LOAD, "`python -m benchmarks.load.report` writes it again"


def test_what_was_measured_lost_nothing(measured: Measured) -> None:
    run = measured.run
    assert run.images == len(run.uploaded) == len(run.indexed) == 2000
    assert not run.problems
    assert all(done > born for born, done in zip(run.uploaded, run.indexed, strict=True))
    assert (ROOT / "docs" / "images" / "load.webp").stat().st_size < 400_000


def test_every_assumption_says_how_sure_it_is_and_from_where(told: Assumptions) -> None:
    sources = [one.source for one in told.numbers.values()] + [kind.source for kind in told.embedders]
    assert all(len(source) > 5 and source in SCALE for source in sources)
    assert {one.trust for one in told.numbers.values()} == set(Trust)
    assert all(f"| {trust.value} |" in SCALE for trust in Trust)


def test_a_hundred_million_a_day_by_hand(told: Assumptions) -> None:
    card = next(kind for kind in told.embedders if kind.title == "ViT-L-14 on A100")
    one = embedders(1e8, told, card)
    # 1,157 a second, three times that, and each card 70 % full: 218.4.
    assert one.pods == 16
    # Half as many again, four consumers each, in dozens.
    assert one.partitions == 96
    assert one.month_at_peak == pytest.approx(16 * 3.0 * 730)
    assert one.month_following == pytest.approx(1e8 / 86_400 / 218.4 * 3.0 * 730)
    flows = flow(1e8, told, 768)
    assert flows.peak == pytest.approx(3472.2, rel=1e-4)
    assert flows.store_bytes == pytest.approx(3472.2 * told["picture"], rel=1e-4)
    assert nodes_for_writing(1e8, told) == 3
    in_bits = stock(1e8, told, 512, quantised=True)
    assert in_bits.memory == pytest.approx(1e8 * (256 + 159 + 700))
    assert stock(1e8, told, 512, quantised=False).memory == pytest.approx(1e8 * (512 * 4 * 1.5 + 700))
    # 111.5 GB in two copies, three quarters of each node: 277 GiB.
    assert (in_bits.nodes, in_bits.node) == (3, 128)
    assert stock(1e6, told, 512, quantised=True).node == 8


def test_a_billion_a_day_does_not_fit_on_processors(told: Assumptions) -> None:
    possible = {kind.title: embedders(1e9, told, kind).possible for kind in told.embedders}
    assert possible == {
        "ViT-B-32 on 2 processors": False,
        "ViT-B-32 on A100": True,
        "ViT-L-14 on A100": True,
        "ViT-L-14 on H200": True,
    }


@given(st.floats(1e3, 1e10), st.floats(1.0, 100.0))
def test_more_images_never_need_less(images: float, times: float) -> None:
    told = read_assumptions(read_measured())
    for kind in told.embedders:
        few, many = embedders(images, told, kind), embedders(images * times, told, kind)
        assert few.pods <= many.pods
        assert few.partitions <= many.partitions
        assert few.partitions >= few.pods * kind.consumers
        assert few.month_following <= few.month_at_peak * 1.001 or few.pods == 1
    small, large = flow(images, told, 512), flow(images * times, told, 512)
    assert small.month <= large.month
    assert small.brokers <= large.brokers
    for quantised in (False, True):
        kept, more = (
            stock(images, told, 768, quantised=quantised),
            stock(images * times, told, 768, quantised=quantised),
        )
        assert kept.nodes * kept.node <= more.nodes * more.node
        assert kept.memory < more.memory * 1.001


def test_another_price_in_the_file_is_another_price_in_the_table(measured: Measured, tmp_path: Path) -> None:
    text = PATH.read_text(encoding="utf-8")
    dearer = tmp_path / "assumptions.toml"
    dearer.write_text(text.replace("price = 4.50", "price = 9.00"), encoding="utf-8")
    usual, other = read_assumptions(measured), read_assumptions(measured, dearer)
    assert embedders(1e9, other, other.embedders[-1]).month_at_peak == pytest.approx(
        2 * embedders(1e9, usual, usual.embedders[-1]).month_at_peak
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [('trust = "assumed"', 'trust = "certain"'), ("value = 3.0", 'value = 3.0\nmeasured = "run.images"')],
)
def test_an_assumption_that_makes_no_sense_is_refused(
    measured: Measured, tmp_path: Path, change: str, error: str
) -> None:
    broken = tmp_path / "assumptions.toml"
    broken.write_text(PATH.read_text(encoding="utf-8").replace(change, error, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"certain|give a value"):
        read_assumptions(measured, broken)


FLEET = Fleet(
    name="some",
    mean=10.0,
    rate=20.0,
    lanes=2,
    batch_records=64,
    partitions=16,
    pods=1,
    scaling=ScalingTerms(lag_a_pod=100, most=8, pod_start=30.0),
)


def test_a_rise_scales_the_fleet_and_is_cleared(measured: Measured) -> None:
    rise = Scenario(name="rise", rise=6.0, rise_seconds=300.0, lasts=900.0)
    grown = play(FLEET, rise, measured)
    assert 3 <= grown.most_pods <= 8
    assert grown.rebalances > 0
    assert grown.paused > 0
    assert 0 < grown.cleared < 900
    fixed = play(replace(FLEET, scaling=replace(FLEET.scaling, most=1)), rise, measured)
    assert fixed.most_lag > grown.most_lag
    assert fixed.late > grown.late
    ready = play(replace(FLEET, pods=8, scaling=replace(FLEET.scaling, least=8)), rise, measured)
    assert ready.late < 0.01 < grown.late
    assert ready.p99 < 5 < grown.p99


def test_a_death_is_felt_less_among_many(measured: Measured) -> None:
    death = Scenario(name="death", dies=True, lasts=200.0)
    alone = play(replace(FLEET, pods=2, scaling=replace(FLEET.scaling, least=2, most=2)), death, measured)
    among_many = play(replace(FLEET, pods=8, scaling=replace(FLEET.scaling, least=8)), death, measured)
    assert alone.late > 2 * among_many.late > 0


def test_a_block_is_filled_between_its_marks_and_must_be_there_once() -> None:
    page = "before\n<!-- begin one -->\nold\n<!-- end one -->\nafter\n"
    assert filled(page, {"one": lambda: "new\n"}) == page.replace("old", "new")
    with pytest.raises(ValueError, match="two is there 0 times"):
        filled(page, {"two": lambda: ""})


def test_a_table_aligns_numbers_to_the_right() -> None:
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n|---|---:|\n| x | 1 |"


def test_no_number_of_the_guide_s_prose_contradicts_the_settings() -> None:
    assert "1,024" in SCALE
    assert re.search(r"every 30 s", SCALE)
