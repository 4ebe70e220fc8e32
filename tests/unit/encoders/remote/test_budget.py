import json
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from encoders.remote.budget import Budget
from encoders.remote.options import RemoteOptions
from schemas.errors import ConfigurationError
from tests.unit.encoders.remote.service import FakeClock


def options(**values: Any) -> RemoteOptions:
    return RemoteOptions(**{"clock": FakeClock().clock(), **values})


def test_what_is_spent_is_counted_before_it_is_spent_and_the_end_names_the_setting() -> None:
    budget = Budget(options(budget_images=2))
    budget.spend()
    budget.spend()
    with pytest.raises(ConfigurationError, match=r"2 images a month .* SIGHTLINE_REMOTE__BUDGET_IMAGES"):
        budget.spend()
    budget.give_back()
    budget.spend()
    assert budget.spent().images == 2


def test_dollars_are_counted_by_the_price() -> None:
    budget = Budget(options(budget_dollars=0.0018, dollars_per_image=0.0006))
    for _ in range(3):
        budget.spend()
    with pytest.raises(ConfigurationError, match="SIGHTLINE_REMOTE__BUDGET_DOLLARS"):
        budget.spend()


def test_a_restart_goes_on_counting_and_a_new_month_begins_anew(tmp_path: Path) -> None:
    clock = FakeClock()
    with_ledger = options(budget_images=3, ledger=tmp_path / "data" / "spent.json", clock=clock.clock())
    for _ in range(3):
        Budget(with_ledger).spend()
    with pytest.raises(ConfigurationError, match="2026-03"):
        Budget(with_ledger).spend()
    clock.start += timedelta(days=20)
    Budget(with_ledger).spend()
    assert Budget(with_ledger).spent().images == 1


def test_two_processes_share_one_budget(tmp_path: Path) -> None:
    shared = options(budget_images=100, ledger=tmp_path / "spent.json")
    refused: list[int] = []

    def spend() -> None:
        budget = Budget(shared)
        for at in range(50):
            try:
                budget.spend()
            except ConfigurationError:
                refused.append(at)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 100
    assert Budget(shared).spent().images == 100


def test_a_ledger_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    path.write_text("{")
    with pytest.raises(ConfigurationError, match=r"spent\.json.*delete it"):
        Budget(options(ledger=path)).spend()


def test_without_a_place_for_the_ledger_a_limit_stops_and_no_limit_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = options(ledger=tmp_path / "file" / "spent.json")
    Budget(nowhere).spend()
    with pytest.raises(ConfigurationError, match="SIGHTLINE_DATA_DIR"):
        Budget(replace(nowhere, budget_images=5)).spend()


def test_the_ledger_is_json_that_a_person_can_read(tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    Budget(options(ledger=path, dollars_per_image=0.25)).spend()
    assert json.loads(path.read_text()) == {"month": "2026-03", "images": 1, "dollars": 0.25}
