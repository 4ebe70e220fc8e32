"""Traces by OpenTelemetry: the only module that knows it, loaded only where traces have somewhere to go.

Two kinds of span, after the conventions for messaging (https://opentelemetry.io/docs/specs/semconv/messaging/):

- Of each record one, a child of the span that the record's trace context names; what follows from the record has it for
  its parent. So one trace leads from a notification through every stage to the point that was written.
- Of each batch one, which begins a trace of its own and links to the contexts of all its records: it belongs to all of
  them and to none. Each record's span links back to it. What the worker did to the batch as a whole are its children.

What the stage did for one image becomes children of the record's span, made afterwards from times that are taken
anyway, so that an image that is not sampled costs next to nothing.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from runtime.batch import Publisher, Received
from runtime.in_hand import InHand, Spent
from runtime.observation_settings import TracingSettings
from runtime.release import RELEASE
from runtime.stage import Outcome, Reject
from runtime.tracing import with_traceparent
from schemas.codec import Message
from schemas.headers import known_traceparent

MOST_LINKS = 1000
"""Links of a batch's span: as many as the largest batch has records. OpenTelemetry alone would drop all beyond 128."""
MOST_SPANS = 65_536
"""Spans that wait to be sent: a full batch of the indexer makes a few thousand at once, and has neighbours.
OpenTelemetry alone keeps 2,048. It warns in the log of what it drops."""
SPANS_A_REQUEST = 2048
LEAVE_SECONDS = 5.0
"""What a process that stops waits for the collector."""


class OpenTelemetry:
    """Spans of everything, sent in the background. `system` names the transport: "kafka" or "in_process".

    `environment` tells what of OpenTelemetry's standard variables is set; it reads their values itself.
    """

    def __init__(self, settings: TracingSettings, environment: Mapping[str, str], *, system: str) -> None:
        sampler = None if settings.sample_ratio is None else ParentBased(TraceIdRatioBased(settings.sample_ratio))
        self._provider = TracerProvider(
            resource=_resource(),
            sampler=sampler,
            span_limits=SpanLimits(max_links=MOST_LINKS),
            shutdown_on_exit=False,
        )
        endpoint = f"{settings.endpoint}/v1/traces" if settings.endpoint else None
        sender = _sender(OTLPSpanExporter(endpoint=endpoint), environment)
        self._provider.add_span_processor(sender)
        self._tracer = self._provider.get_tracer("sightline", RELEASE)
        self._afterwards = Afterwards(sender, self._provider)
        self._system = system

    async def __aenter__(self) -> Self:
        """Spans that the collector does not take are dropped."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is left; a collector that does not answer is not waited for long."""
        # A thread of its own: the exporter blocks, and the loop's own threads are waited for at exit.
        try:
            async with asyncio.timeout(2 * LEAVE_SECONDS):
                await asyncio.to_thread(self._provider.force_flush, int(1000 * LEAVE_SECONDS))
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            return

    @contextmanager
    def batch(self, stage: str, hand: InHand) -> Iterator["TracedBatch"]:
        """The spans of a batch and of its records, ended when it is left; an exception marks the batch's."""
        batch = TracedBatch(self._tracer, self._afterwards, self._system, stage, hand)
        try:
            yield batch
        except BaseException as error:
            batch.failed(error)
            raise
        finally:
            batch.end()

    def beginning(self, publisher: Publisher) -> Publisher:
        """A publisher that begins a trace with each message."""
        return _Beginning(self._tracer, publisher)


class TracedBatch:
    """A batch's span and those of its records."""

    def __init__(self, tracer: api.Tracer, afterwards: "Afterwards", system: str, stage: str, hand: InHand) -> None:
        self._afterwards = afterwards
        self._hand = hand
        # Times are taken as seconds of perf_counter, spans want nanoseconds since 1970.
        self._zero = time.time_ns() - int(1e9 * time.perf_counter())
        came = [_context(record) for record in hand.records]
        topic = hand.records[0].topic
        shared = {
            "messaging.system": system,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "sightline.stage": stage,
        }
        self._batch = tracer.start_span(
            f"{stage} batch",
            context=Context(),
            kind=SpanKind.CONSUMER,
            links=[Link(context) for context in came if context is not None],
            attributes=shared | {"messaging.batch.message_count": len(hand.records)},
            start_time=self._at(hand.began),
        )
        back = [Link(self._batch.get_span_context())]
        self._records: dict[str, Span] = {}
        for record, context in zip(hand.records, came, strict=True):
            self._records[record.id] = tracer.start_span(
                f"{stage} process",
                context=Context() if context is None else api.set_span_in_context(NonRecordingSpan(context), Context()),
                kind=SpanKind.CONSUMER,
                links=back,
                attributes=shared
                | {
                    "messaging.destination.partition.id": str(record.partition),
                    "messaging.kafka.offset": record.offset,
                    "messaging.kafka.message.key": (record.key or b"").decode("utf-8", "replace"),
                },
                start_time=self._at(hand.began),
            )

    @property
    def trace_id(self) -> str:
        """Of the batch's span."""
        return api.format_trace_id(self._batch.get_span_context().trace_id)

    def traceparent(self, record: Received) -> bytes:
        """The context of the record's span."""
        return _traceparent(self._records[record.id].get_span_context())

    def finished(self, outcomes: Mapping[str, Outcome]) -> None:
        """Note what became of each record."""
        for one, span in self._records.items():
            outcome = outcomes[one]
            span.set_attribute("sightline.outcome", type(outcome).__name__.lower())
            if isinstance(outcome, Reject):
                span.set_attribute("error.type", outcome.reason.value)
                span.set_status(Status(StatusCode.ERROR, outcome.detail))

    def failed(self, error: BaseException) -> None:
        """The batch was left undone; its records come again, each as another span of the same trace."""
        self._batch.set_attribute("error.type", type(error).__name__)
        self._batch.set_status(Status(StatusCode.ERROR, str(error)))

    def end(self) -> None:
        """End the spans, with children for what was done meanwhile."""
        for spent in self._hand.stretches:
            self._child(self._batch, spent)
        for spent in self._hand.spent:
            self._child(self._batch if spent.item is None else self._records[spent.item], spent)
        for span in (*self._records.values(), self._batch):
            span.end()

    def _child(self, parent: Span, spent: Spent) -> None:
        if parent.is_recording():
            began, ended = self._at(spent.began), self._at(spent.ended)
            self._afterwards.child(parent.get_span_context(), spent.phase.value, began, ended)

    def _at(self, seconds: float) -> int:
        return self._zero + int(1e9 * seconds)


class Afterwards:
    """Hands over spans of what is over already; a quarter of the price of one that is begun, asked about and ended."""

    def __init__(self, sender: SpanProcessor, provider: TracerProvider) -> None:
        self._sender = sender
        self._resource = provider.resource
        self._ids = provider.id_generator
        self._scope = InstrumentationScope("sightline", RELEASE)

    def child(self, parent: SpanContext, name: str, began: int, ended: int) -> None:
        """A child of a sampled span; times in nanoseconds since 1970."""
        own = SpanContext(parent.trace_id, self._ids.generate_span_id(), False, parent.trace_flags, parent.trace_state)
        self._sender.on_end(
            ReadableSpan(
                name,
                context=own,
                parent=parent,
                resource=self._resource,
                start_time=began,
                end_time=ended,
                instrumentation_scope=self._scope,
            )
        )


class _Beginning:
    """Gives each message a span of its own for a parent, over the time until it is acknowledged."""

    def __init__(self, tracer: api.Tracer, publisher: Publisher) -> None:
        self._tracer = tracer
        self._publisher = publisher

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish the messages, each in a trace of its own."""
        spans = [
            self._tracer.start_span(
                "hint",
                context=Context(),
                kind=SpanKind.PRODUCER,
                attributes={"messaging.kafka.message.key": (message.key or b"").decode("utf-8", "replace")},
            )
            for message in messages
        ]
        try:
            await self._publisher.publish(
                [
                    with_traceparent(message, _traceparent(span.get_span_context()))
                    for message, span in zip(messages, spans, strict=True)
                ]
            )
        finally:
            for span in spans:
                span.end()


def _sender(exporter: SpanExporter, environment: Mapping[str, str]) -> BatchSpanProcessor:
    # What the standard variables say wins; a request must not be larger than the queue, so they go together.
    if environment.get(OTEL_BSP_MAX_QUEUE_SIZE):
        return BatchSpanProcessor(exporter)
    own = None if environment.get(OTEL_BSP_MAX_EXPORT_BATCH_SIZE) else SPANS_A_REQUEST
    return BatchSpanProcessor(exporter, max_queue_size=MOST_SPANS, max_export_batch_size=own)


def _resource() -> Resource:
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win, where they are set.
    found = Resource.create({"service.version": RELEASE})
    unnamed = str(found.attributes["service.name"]).startswith("unknown_service")
    return found.merge(Resource({"service.name": "sightline"})) if unnamed else found


def _context(record: Received) -> SpanContext | None:
    came = known_traceparent(record.headers)
    if came is None:
        return None
    _, trace, span, flags = came.decode("ascii").split("-")
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _traceparent(context: SpanContext) -> bytes:
    trace, span = api.format_trace_id(context.trace_id), api.format_span_id(context.span_id)
    return f"00-{trace}-{span}-{context.trace_flags:02x}".encode()
