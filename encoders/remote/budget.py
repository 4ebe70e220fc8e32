"""What may be spent in a month, counted before it is spent, and remembered over restarts."""

import fcntl
import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from encoders.remote.clock import Clock
from encoders.remote.options import RemoteOptions
from schemas.errors import ConfigurationError


@dataclass(frozen=True)
class Spent:
    """Requests that may have been billed, images and texts alike, in a calendar month (UTC, as 2026-01)."""

    month: str
    images: int = 0
    dollars: float = 0.0


class Budget:
    """Thread-safe; where there is a ledger file, safe between the processes of one machine too.

    A request is counted before it is sent, and given back only when the service's answer says that it did nothing:
    what was sent and never answered counts, and so does every attempt that is made again.
    """

    def __init__(self, options: RemoteOptions) -> None:
        self._images, self._dollars = options.budget_images, options.budget_dollars
        self._price = options.dollars_per_image
        self._clock: Clock = options.clock
        self._ledger = options.ledger
        self._lock = threading.Lock()
        self._spent = Spent(self._month())

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._images is not None or self._dollars is not None

    def spend(self) -> None:
        """Count one request. Raises `ConfigurationError` when the budget does not reach for it."""
        self._change(1)

    def give_back(self) -> None:
        """One request did nothing after all."""
        self._change(-1)

    def spent(self) -> Spent:
        """This month's sum."""
        return self._change(0)

    def _change(self, requests: int) -> Spent:
        with self._lock:
            if self._ledger is None:
                self._spent = self._changed(self._spent, requests)
                return self._spent
            try:
                return self._change_file(self._ledger, requests)
            except OSError as error:
                if self.limited:
                    raise ConfigurationError(
                        f"the budget cannot be kept, since {self._ledger} cannot be written ({error.strerror}); make "
                        "the folder of SIGHTLINE_DATA_DIR writable, or name another"
                    ) from error
                self._ledger = None
                self._spent = self._changed(self._spent, requests)
                return self._spent

    def _change_file(self, path: Path, requests: int) -> Spent:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self._read(path)
            after = self._changed(before, requests)
            if after != before:
                # Replaced as a whole, since a kill in the middle must not lose the sum.
                new = path.with_suffix(".new")
                new.write_text(json.dumps(asdict(after)), encoding="utf-8")
                new.replace(path)
            return after

    def _read(self, path: Path) -> Spent:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            return Spent(str(value["month"]), int(value["images"]), float(value["dollars"]))
        except FileNotFoundError:
            return Spent(self._month())
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{path}, which says what remote models have cost this month, cannot be read ({error}); delete it to "
                "begin a new count"
            ) from error

    def _changed(self, spent: Spent, requests: int) -> Spent:
        month = self._month()
        if spent.month != month:
            spent = Spent(month)
        images = max(0, spent.images + requests)
        dollars = max(0.0, round(spent.dollars + requests * self._price, 9))
        if requests > 0 and self._images is not None and images > self._images:
            raise _over(f"{self._images:,} images", "SIGHTLINE_REMOTE__BUDGET_IMAGES", spent)
        if requests > 0 and self._dollars is not None and dollars > self._dollars + 1e-9:
            raise _over(f"${self._dollars:,.2f}", "SIGHTLINE_REMOTE__BUDGET_DOLLARS", spent)
        return Spent(month, images, dollars)

    def _month(self) -> str:
        return self._clock.now().strftime("%Y-%m")


def _over(budget: str, setting: str, spent: Spent) -> ConfigurationError:
    return ConfigurationError(
        f"the budget of {budget} a month for remote models is spent: {spent.images:,} requests, "
        f"${spent.dollars:,.2f} in {spent.month} (UTC). What was indexed stays; raise {setting}, or wait for the next "
        "month, and start again"
    )
