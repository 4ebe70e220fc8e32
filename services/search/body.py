"""Request bodies, read as they stream in and refused as soon as they are too large.

An image is taken from a multipart form by the field's name alone: with or without a file name, under
any content type. That is why the form is not left to the framework, which decodes a field without a
file name as text and would lose the bytes.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from services.search.limits import SearchLimits
from services.search.problems import Problem, ProblemKind, bad_parameter, bad_parameters, validation_errors

M = TypeVar("M", bound=BaseModel)

DISCARD_BYTES = 256 * 1024 * 1024
DISCARD_SECONDS = 5.0
"""How much of a body that is too large is read and thrown away before the answer. A server that closes
a connection with unread bytes resets it, and most clients then report the reset, not the answer."""

_FORM_EXAMPLE = "Send it like `curl -F image=@photo.jpg`."


async def read_json(request: Request, model: type[M], limit: int) -> M:
    """The body as JSON of a model. Raises `Problem` 413 beyond `limit` bytes, 400 for no JSON, 422 naming the field."""
    body = bytearray()
    async for chunk in _chunks(request, limit):
        body += chunk
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        if errors[0]["type"] == "json_invalid":
            raise Problem(
                400, ProblemKind.BAD_BODY, f"The body is no JSON: {errors[0]['msg']}", "Send JSON in UTF-8."
            ) from None
        raise bad_parameters(validation_errors(errors)) from None


@dataclass(frozen=True)
class FormFile:
    """The bytes of a field, and the file name that came with it; empty if none did."""

    data: bytes
    name: str


@dataclass(frozen=True)
class Form:
    """A multipart form with a picture; `texts` are the other fields that were sent, by their names."""

    file: FormFile
    texts: Mapping[str, str]


async def read_form_file(
    request: Request, name: str, limit: int, *, also: Sequence[str] = (), strict: bool = True
) -> FormFile:
    """The one field of a multipart form, called `name` or as `also` says. Its content type is ignored.

    Raises `Problem` 413 when the body exceeds `limit` bytes, 400 for a malformed form, 422 naming
    the field that is missing, repeated or, where `strict`, not known.
    """
    return (await read_form(request, name, limit, also=also, strict=strict)).file


async def read_form(
    request: Request,
    name: str,
    limit: int,
    *,
    also: Sequence[str] = (),
    texts: Sequence[str] = (),
    strict: bool = True,
) -> Form:
    """A picture and the fields of text beside it. Raises as `read_form_file` does, and `Problem` 422 for no UTF-8."""
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise _malformed("its Content-Type names no boundary")
    form = _Form((name, *also), tuple(texts), strict)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.on_part_begin,
                "on_header_field": form.on_header_field,
                "on_header_value": form.on_header_value,
                "on_header_end": form.on_header_end,
                "on_headers_finished": form.on_headers_finished,
                "on_part_data": form.on_part_data,
                "on_end": form.on_end,
            },
        )
        async for chunk in _chunks(request, limit):
            parser.write(chunk)
    except FormParserError as error:
        raise _malformed(str(error)) from None
    if not form.complete:
        raise _malformed("it ends before its closing boundary")
    if form.file is None:
        raise bad_parameter(name, f"the form has no such field. Send it like `curl -F {name}=@photo.jpg`.")
    return Form(
        FormFile(bytes(form.file), form.file_name), {field: _text(field, form.sent[field]) for field in form.sent}
    )


def too_large_image(limits: SearchLimits) -> Problem:
    """The problem of an image beyond the limit, in a body that is not."""
    return Problem(
        413,
        ProblemKind.BODY_TOO_LARGE,
        f"The image is larger than {limits.image_bytes} bytes.",
        "Send a smaller version of it: models look at a few hundred pixels.",
        limit_bytes=limits.image_bytes,
    )


async def _chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    announced = request.headers.get("content-length", "")
    stream = request.stream()
    if announced.isdigit() and int(announced) > limit:
        # A client that waits for "100 Continue" has sent nothing yet, and reads the answer instead.
        if request.headers.get("expect", "").lower() != "100-continue":
            await _discard(stream)
        raise _too_large(limit)
    seen = 0
    async for chunk in stream:
        seen += len(chunk)
        if seen > limit:
            await _discard(stream)
            raise _too_large(limit)
        yield chunk


async def _discard(stream: AsyncIterator[bytes]) -> None:
    discarded = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            async for chunk in stream:
                discarded += len(chunk)
                if discarded > DISCARD_BYTES:
                    return


@dataclass
class _Form:
    """Keeps the bytes of the wanted fields while the parser walks through the form."""

    wanted: tuple[str, ...]
    texts: tuple[str, ...] = ()
    strict: bool = True
    complete: bool = False
    file: bytearray | None = None
    file_name: str = ""
    sent: dict[str, bytearray] = field(default_factory=dict)
    _header: bytearray = field(default_factory=bytearray)
    _header_value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _reading: bytearray | None = None

    def on_part_begin(self) -> None:
        self._disposition = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header.clear()
        self._header_value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        self._reading = bytearray()
        if name in self.wanted:
            if self.file is not None:
                raise bad_parameter(name, "it was sent more than once; one image can be searched for at a time")
            self.file = self._reading
            self.file_name = options.get(b"filename", b"").decode("utf-8", "replace")
        elif name in self.texts:
            if name in self.sent:
                raise bad_parameter(name, "it was sent more than once")
            self.sent[name] = self._reading
        elif self.strict:
            known = ", ".join(f"`{one}`" for one in (self.wanted[0], *self.texts))
            raise bad_parameter(
                name[:60] or "(a field without a name)",
                f"the form may have {known} only; options are query parameters, like ?limit=5",
            )
        else:
            self._reading = None

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._reading is not None:
            self._reading += data[start:end]

    def on_end(self) -> None:
        self.complete = True


def _text(name: str, data: bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise bad_parameter(name, "it is no text in UTF-8") from None


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        ProblemKind.BODY_TOO_LARGE,
        f"The body is larger than the {limit} bytes that are read here.",
        "Send less, or a smaller version of the image: models look at a few hundred pixels.",
        limit_bytes=limit,
        headers={"Connection": "close"},
    )


def _malformed(what: str) -> Problem:
    return Problem(400, ProblemKind.BAD_BODY, f"The multipart form cannot be read: {what}.", _FORM_EXAMPLE)
