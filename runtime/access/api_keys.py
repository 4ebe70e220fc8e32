"""API keys at rest: a JSON file that holds, of each key, its name, its scopes and the SHA-256 of its text."""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from runtime.access.scopes import Scope
from schemas.errors import ConfigurationError

PREFIX = "sightline_"
"""Every key begins so, which people and scanners of leaked secrets recognise."""
SECRET_BYTES = 32
FILE = "api-keys.json"

KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


class ApiKey(BaseModel):
    """What is kept of a key. `hash` is the SHA-256 of its whole text, in hexadecimal digits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: KeyName
    scopes: frozenset[Scope] = Field(min_length=1)
    hash: str = Field(pattern="^[0-9a-f]{64}$", repr=False)
    created: AwareDatetime
    expires: AwareDatetime | None = None

    @property
    def digest(self) -> bytes:
        """The 32 bytes of the hash."""
        return bytes.fromhex(self.hash)

    def expired(self, now: datetime) -> bool:
        """Whether it is no longer accepted."""
        return self.expires is not None and now >= self.expires


class KeyFile(BaseModel):
    """The file as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[ApiKey, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> "KeyFile":
        names = [key.name for key in self.keys]
        if len(set(names)) < len(names):
            raise ValueError("two keys have the same name")
        return self


def digest_of(text: str) -> bytes:
    """The 32 bytes by which the text of a key is known."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def make_key(
    name: str, scopes: Sequence[Scope], *, expires: datetime | None = None, now: datetime | None = None
) -> tuple[str, ApiKey]:
    """A new key: its text, which is kept nowhere, and what is kept of it. Raises `ConfigurationError`."""
    text = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    try:
        key = ApiKey(
            name=name,
            scopes=frozenset(scopes),
            hash=digest_of(text).hex(),
            created=now or datetime.now(UTC),
            expires=expires,
        )
    except ValidationError as error:
        fields = ", ".join(str(one["loc"][0]) for one in error.errors())
        raise ConfigurationError(
            f"this cannot be a key ({fields}): a name has up to 64 letters, digits and . _ @ -, and a key at least "
            f"one scope of {', '.join(Scope)}"
        ) from None
    return text, key


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file. Raises `FileNotFoundError`, and `ConfigurationError` for one that cannot be used."""
    try:
        return KeyFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError(
            f"the API keys in {path} cannot be read ({error.strerror}); let this user read the file"
        ) from None
    except ValidationError as error:
        # Never the input: a person may have pasted a key where its hash belongs.
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(
            f"{path} holds no API keys as `sightline keys new` writes them ({place}: {first['msg']}); mend it, or "
            "remove it and make new keys"
        ) from None


def write_keys(path: Path, keys: Sequence[ApiKey]) -> None:
    """Put the keys in place of a file, at once and for this user alone. Raises `ConfigurationError`."""
    content = KeyFile(keys=tuple(keys)).model_dump(mode="json")
    for one in content["keys"]:
        one["scopes"] = sorted(one["scopes"])
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(content, stream, indent=2)
                stream.write("\n")
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _not_writable(path, error) from None


@contextmanager
def keys_to_change(path: Path) -> Iterator[list[ApiKey]]:
    """The keys of a file, as a list that is written back at the end; nobody else changes it meanwhile.

    A file that is not there has no keys. Raises `ConfigurationError`.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock.open("w")
    except OSError as error:
        raise _not_writable(path, error) from None
    with held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            keys = list(read_keys(path))
        except FileNotFoundError:
            keys = []
        yield keys
        write_keys(path, keys)


def _not_writable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path} cannot be written ({error.strerror}); name another file with SIGHTLINE_ACCESS__KEYS_FILE"
    )
