"""Keys at rest, and how a running process follows them."""

import json
import os
import stat
import string
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.access.api_keys import PREFIX, ApiKey, digest_of, keys_to_change, make_key, read_keys, write_keys
from runtime.access.key_ring import KeyRing
from runtime.access.scopes import Scope
from runtime.log import Log
from schemas.errors import ConfigurationError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.json"


def add(file: Path, name: str, **more: datetime) -> str:
    text, key = make_key(name, [Scope.SEARCH], **more)
    with keys_to_change(file) as keys:
        keys.append(key)
    return text


def test_a_key_is_recognisable_random_and_kept_nowhere(file: Path) -> None:
    texts = {add(file, f"key-{number}") for number in range(50)}
    assert len(texts) == 50
    for text in texts:
        assert text.startswith(PREFIX)
        random = text.removeprefix(PREFIX)
        assert len(random) * 6 >= 256
        assert set(random) <= set(string.ascii_letters + string.digits + "-_")
        assert random not in file.read_text()
        assert digest_of(text).hex() in file.read_text()
    assert not [text for text in texts if text in repr(read_keys(file))]


def test_the_file_is_for_this_user_alone_and_replaced_as_a_whole(file: Path) -> None:
    old = os.umask(0)
    try:
        add(file, "a")
        first = file.stat()
        file.chmod(0o644)
        add(file, "b")
    finally:
        os.umask(old)
    assert stat.S_IMODE(first.st_mode) == stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_ino != first.st_ino, "whoever reads meanwhile has the old one whole"
    assert [path.name for path in file.parent.iterdir() if path.name.endswith(str(os.getpid()))] == []


def test_two_who_change_it_at_once_lose_nothing(file: Path) -> None:
    threads = [threading.Thread(target=add, args=(file, f"key-{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_keys(file)) == 8


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", fullmatch=True)
times = st.datetimes(timezones=st.just(UTC))


@given(
    st.lists(
        st.builds(
            lambda name, scopes, text, created, expires: ApiKey(
                name=name, scopes=scopes, hash=digest_of(text).hex(), created=created, expires=expires
            ),
            names,
            st.frozensets(st.sampled_from(Scope), min_size=1),
            st.text(),
            times,
            st.none() | times,
        ),
        unique_by=lambda key: key.name,
        max_size=5,
    )
)
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, keys: list[ApiKey]) -> None:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(file, keys)
    assert list(read_keys(file)) == keys


@pytest.mark.parametrize("name", ["", " ", "a b", "-x", "a/b", "x" * 65, "ä", "a\n"])
def test_a_name_that_would_be_hard_to_type_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name has up to 64"):
        make_key(name, [Scope.SEARCH])


def test_a_key_without_scopes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one scope"):
        make_key("x", [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: "",
        lambda content: "{",
        lambda content: "[]",
        lambda content: content.replace('"search"', '"everything"'),
        lambda content: content.replace('"name"', '"title"'),
        lambda content: json.dumps({"keys": json.loads(content)["keys"] * 2}),
    ],
)
def test_a_file_that_is_none_is_named(file: Path, spoil: "object") -> None:
    add(file, "a")
    file.write_text(spoil(file.read_text()))  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match=str(file)):
        read_keys(file)


def test_a_key_pasted_where_its_hash_belongs_is_not_repeated(file: Path) -> None:
    text = add(file, "a")
    file.write_text(file.read_text().replace(digest_of(text).hex(), text))
    with pytest.raises(ConfigurationError) as caught:
        read_keys(file)
    assert text not in str(caught.value)
    assert "hash" in str(caught.value)


# A running process


class Ring:
    def __init__(self, file: Path) -> None:
        self.clock = Clock()
        self.ring = KeyRing(file, Log("test.keys"), clock=self.clock)

    def knows(self, text: str) -> bool:
        """Asked at the next moment at which the file is looked at."""
        self.clock.now += 1
        return self.ring.find(text) is not None


def settle(file: Path) -> None:
    """Date the file back, as if it had lain there for a minute."""
    earlier = file.stat().st_mtime_ns - 60 * 10**9
    os.utime(file, ns=(earlier, earlier))


def test_keys_are_followed_without_a_restart_and_two_are_valid_at_once(file: Path) -> None:
    ring = Ring(file)
    assert ring.ring.load() == 0
    first = add(file, "first")
    assert ring.knows(first)
    settle(file)
    assert ring.knows(first)
    second = add(file, "second")
    assert ring.knows(first)
    assert ring.knows(second)
    with keys_to_change(file) as keys:
        keys[:] = [key for key in keys if key.name != "first"]
    assert not ring.knows(first)
    assert ring.knows(second)


def test_the_file_is_looked_at_once_a_second_and_read_only_when_it_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = add(file, "a")
    settle(file)
    ring = Ring(file)
    assert ring.knows(text)
    reads = looks = 0

    def read(path: Path) -> tuple[ApiKey, ...]:
        nonlocal reads
        reads += 1
        return read_keys(path)

    real = os.stat

    def look(path: Path) -> os.stat_result:
        nonlocal looks
        looks += path == file
        return real(path)

    monkeypatch.setattr("runtime.access.key_ring.read_keys", read)
    monkeypatch.setattr("runtime.access.key_ring.os.stat", look)
    for _ in range(100):
        ring.clock.now += 0.1
        assert ring.ring.find(text)
    assert reads == 0
    assert 9 <= looks <= 10


def test_a_file_dated_in_the_future_is_read_each_time_and_told_of_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = add(file, "a")
    later = file.stat().st_mtime_ns + 3600 * 10**9
    os.utime(file, ns=(later, later))
    ring = Ring(file)
    with caplog.at_level("INFO"):
        assert all(ring.knows(text) for _ in range(5))
    assert [record.__dict__["action"] for record in caplog.records] == ["api_keys_read"]


def test_a_change_within_one_tick_of_the_clock_is_not_missed(file: Path) -> None:
    ring = Ring(file)
    old = add(file, "a")
    dated = file.stat()
    assert ring.knows(old)
    # The same name, size, time and, by a file system that gives it again, number.
    text, key = make_key("a", [Scope.SEARCH], now=read_keys(file)[0].created)
    content = file.read_text().replace(digest_of(old).hex(), key.hash)
    file.write_text(content)
    os.utime(file, ns=(dated.st_mtime_ns, dated.st_mtime_ns))
    assert (file.stat().st_ino, file.stat().st_size) == (dated.st_ino, dated.st_size)
    assert ring.knows(text)
    assert not ring.knows(old)


def test_a_mounted_secret_that_changes_by_its_link_is_followed(tmp_path: Path) -> None:
    texts = {}
    for version in ("1", "2"):
        texts[version] = add(tmp_path / version / "keys.json", "a")
        settle(tmp_path / version / "keys.json")
    link = tmp_path / "..data"
    link.symlink_to("1")
    ring = Ring(link / "keys.json")
    assert ring.knows(texts["1"])
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").replace(link)
    assert ring.knows(texts["2"])
    assert not ring.knows(texts["1"])


@pytest.mark.parametrize("broken", ["", "{", '{"keys": [{}]}', None])
def test_a_broken_file_leaves_the_last_good_keys_and_is_told_of_once(
    file: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    text = add(file, "a")
    ring = Ring(file)
    assert ring.knows(text)
    good = file.read_text()
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
    with caplog.at_level("ERROR"):
        for _ in range(5):
            assert ring.knows(text)
    (told,) = [record for record in caplog.records if record.__dict__["action"] == "api_keys_unreadable"]
    assert str(file) in told.message
    file.write_text(good.replace('"a"', '"b"'))
    assert ring.knows(text)
    caplog.clear()
    file.write_text("{")
    with caplog.at_level("ERROR"):
        assert ring.knows(text)
    assert len(caplog.records) == 1, "a second mishap is told of again"


def test_a_start_with_a_broken_file_is_refused(file: Path) -> None:
    add(file, "a")
    file.write_text("{")
    with pytest.raises(ConfigurationError, match=str(file)):
        KeyRing(file, Log("test")).load()


def test_all_keys_are_compared_whichever_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [add(file, f"key-{number}") for number in range(5)]
    ring = Ring(file)
    assert ring.knows(texts[0])
    compared = 0

    def compare(one: bytes, other: bytes) -> bool:
        nonlocal compared
        compared += 1
        return one == other

    monkeypatch.setattr("runtime.access.key_ring.hmac.compare_digest", compare)
    for text in (texts[0], texts[4], "no key"):
        compared = 0
        ring.ring.find(text)
        assert compared == 5


def test_a_key_works_until_the_moment_that_it_expires() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    _, key = make_key("a", [Scope.SEARCH], expires=now)
    assert not key.expired(now - timedelta(microseconds=1))
    assert key.expired(now)
    assert not make_key("b", [Scope.SEARCH])[1].expired(now + timedelta(days=36500))
