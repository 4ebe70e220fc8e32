"""The receiver for AWS: a queue that S3, SNS or EventBridge writes to.

A message is deleted only after the worker is done with it. While the worker waits for a dependency the
messages are kept from other receivers; when the process stops meanwhile they are given back at once.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html

Needs sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on the queue, nothing else.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from runtime.batch import Received
from runtime.log import Log
from runtime.retry import BatchAbandoned, RetryPolicy
from runtime.worker import Worker
from schemas.errors import ConfigurationError
from services.ingest.metrics import IngestMetrics, SqsCall
from services.ingest.sqs_queue import Queue, SqsBatch, remedy_of, sqs_client
from services.ingest.stage import Notification
from stores.threads import DaemonThreads

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef


class SqsReceiver:
    """Takes messages, at most ten at a time, through the worker. Several may run on one queue.

    `client` makes the SQS client, by default `sqs_client`; its read timeout must be longer than `wait_seconds`,
    the length of a long poll (0 to 20). A message that was received is hidden from others for `visibility_seconds`,
    which is extended for as long as the worker has it.
    """

    def __init__(
        self,
        queue_url: str,
        worker: Worker[Notification],
        *,
        metrics: IngestMetrics,
        client: "Callable[[], SQSClient] | None" = None,
        log: Log | None = None,
        wait_seconds: int = 20,
        visibility_seconds: int = 60,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._queue_url = queue_url
        self._worker = worker
        self._make_client = client or (lambda: sqs_client(queue_url, wait_seconds))
        self._metrics = metrics
        self._log = log or Log("sightline.ingest.sqs")
        self._wait_seconds = wait_seconds
        self._visibility_seconds = visibility_seconds
        self._retry = retry or RetryPolicy()
        self._threads = DaemonThreads(1, "sqs-poll")
        # Unlike a count from 0, this names a record across restarts, which dead letters live to see.
        self._offsets = itertools.count(time.time_ns() // 1000)

    async def run(self, stop: asyncio.Event) -> None:
        """Receive until `stop` is set, and finish the batch in hand.

        Raises `ConfigurationError` where the first call shows a missing queue or wrong credentials, and
        whatever must stop the process. Every other error of SQS is waited out, and later ones of those too.
        """
        try:
            queue = Queue(self._make_client(), self._queue_url, self._metrics)
        except (BotoCoreError, ValueError) as error:
            raise self._misconfigured(error, "correct the region, the endpoint or the queue's URL") from error
        failures = 0
        proven = False
        while not stop.is_set():
            try:
                messages = await self._poll(queue, stop, self._wait_seconds if proven else 0)
            except (BotoCoreError, ClientError) as error:
                remedy = remedy_of(error)
                if remedy and not proven:
                    raise self._misconfigured(error, remedy) from error
                delay = self._retry.delay(failures)
                failures += 1
                self._metrics.sqs_failures.labels(SqsCall.RECEIVE.value).inc()
                self._log.warning(
                    "sqs_unavailable",
                    f"{self._queue_url} cannot be read: {error}. {remedy or 'It is tried again'}",
                    attempt=failures,
                    retry_in_seconds=round(delay, 2),
                )
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), delay)
                continue
            failures, proven = 0, True
            if messages:
                await self._take(queue, messages, stop)

    async def _poll(self, queue: Queue, stop: asyncio.Event, wait: int) -> "Sequence[MessageTypeDef]":
        """Messages, or none once `stop` is set: what a poll that nobody waits for still brings is given back."""
        given_up = threading.Event()

        def work() -> "Sequence[MessageTypeDef]":
            messages = queue.receive(wait, self._visibility_seconds)
            if messages and given_up.is_set():
                queue.release(messages)
            return messages

        # A long poll cannot be interrupted: its thread must not be waited for when the process ends.
        poll = asyncio.get_running_loop().run_in_executor(self._threads, work)
        stopped = asyncio.ensure_future(stop.wait())
        waits: list[asyncio.Future[Any]] = [poll, stopped]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if poll.done():
                return poll.result()
            return []
        finally:
            given_up.set()
            stopped.cancel()
            poll.cancel()

    async def _take(self, queue: Queue, messages: "Sequence[MessageTypeDef]", stop: asyncio.Event) -> None:
        batch = SqsBatch(queue, messages, [self._received(message) for message in messages], stop, self._log)
        keeper = asyncio.create_task(self._keep(queue, messages))
        try:
            await self._worker.handle(batch)
        except BatchAbandoned:
            await asyncio.to_thread(queue.release, messages)
            self._log.info("sqs_released", f"{len(messages)} messages were given back unfinished")
        finally:
            keeper.cancel()

    async def _keep(self, queue: Queue, messages: "Sequence[MessageTypeDef]") -> None:
        while True:
            await asyncio.sleep(self._visibility_seconds / 2)
            try:
                await asyncio.to_thread(queue.extend, messages, self._visibility_seconds)
            except (BotoCoreError, ClientError) as error:
                # Then another receiver gets them as well: the same hints twice, which do no harm.
                self._metrics.sqs_failures.labels(SqsCall.EXTEND.value).inc()
                self._log.warning("sqs_extend_failed", f"{self._queue_url}: messages cannot be kept: {error}")

    def _received(self, message: "MessageTypeDef") -> Received:
        sent = message.get("Attributes", {}).get("SentTimestamp", "")
        return Received(
            topic=self._queue_url.rpartition("/")[2] or "sqs",
            partition=0,
            offset=next(self._offsets),
            key=None,
            value=message.get("Body", "").encode("utf-8", "surrogatepass"),
            headers=(("sqs-message-id", message.get("MessageId", "").encode()),),
            timestamp=datetime.fromtimestamp(int(sent) / 1000, UTC) if sent.isdigit() else None,
        )

    def _misconfigured(self, error: Exception, remedy: str) -> ConfigurationError:
        return ConfigurationError(f"the SQS queue {self._queue_url} cannot be read: {error}. To mend it, {remedy}")
