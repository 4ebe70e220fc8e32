"""The receiver for AWS: a queue that S3, SNS or EventBridge writes to.

A message is deleted only after the worker is done with it. While the worker waits for a dependency the
messages are kept from other receivers; when the process stops meanwhile they are given back at once.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html

Needs sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on the queue, nothing else.
"""

import asyncio
import itertools
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, PartialCredentialsError

from runtime.batch import Received
from runtime.log import Log
from runtime.retry import BatchAbandoned, RetryPolicy
from runtime.worker import Worker
from schemas.errors import ConfigurationError, DependencyUnavailable
from services.ingest.metrics import IngestMetrics, SqsCall
from services.ingest.stage import Notification

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

T = TypeVar("T")

MOST_MESSAGES = 10
"""What one call to SQS may carry."""

_REMEDIES = {
    "QueueDoesNotExist": "create the queue or correct SIGHTLINE_INGEST__SQS__QUEUE_URL and the region",
    "InvalidAddress": "SIGHTLINE_INGEST__SQS__QUEUE_URL must be the whole URL, as `aws sqs get-queue-url` prints it",
    "AccessDenied": "allow sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on it",
    "InvalidClientTokenId": "the access key is unknown: correct AWS_ACCESS_KEY_ID or the profile",
    "UnrecognizedClientException": "the access key is unknown: correct AWS_ACCESS_KEY_ID or the profile",
    "InvalidAccessKeyId": "the access key is unknown: correct AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret is wrong: correct AWS_SECRET_ACCESS_KEY or the profile",
    "ExpiredToken": "the session has expired: renew the credentials",
}
"""Errors that no waiting mends, and what does."""

_SPELLINGS = {
    "AWS.SimpleQueueService.NonExistentQueue": "QueueDoesNotExist",
    "AccessDeniedException": "AccessDenied",
    "ExpiredTokenException": "ExpiredToken",
    "InvalidSignatureException": "SignatureDoesNotMatch",
}


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
                remedy = _remedy(error)
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

    async def _poll(self, queue: "Queue", stop: asyncio.Event, wait: int) -> "Sequence[MessageTypeDef]":
        """Messages, or none once `stop` is set: what a poll that nobody waits for still brings is given back."""
        given_up = threading.Event()

        def work() -> "Sequence[MessageTypeDef]":
            messages = queue.receive(wait, self._visibility_seconds)
            if messages and given_up.is_set():
                queue.release(messages)
            return messages

        poll = _in_daemon_thread(work)
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

    async def _take(self, queue: "Queue", messages: "Sequence[MessageTypeDef]", stop: asyncio.Event) -> None:
        batch = SqsBatch(queue, messages, [self._received(message) for message in messages], stop, self._log)
        keeper = asyncio.create_task(self._keep(queue, messages))
        try:
            await self._worker.handle(batch)
        except BatchAbandoned:
            await asyncio.to_thread(queue.release, messages)
            self._log.info("sqs_released", f"{len(messages)} messages were given back unfinished")
        finally:
            keeper.cancel()

    async def _keep(self, queue: "Queue", messages: "Sequence[MessageTypeDef]") -> None:
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


def sqs_client(queue_url: str, wait_seconds: int) -> "SQSClient":
    """A client by boto3's own chain of credentials, for the region that the queue's URL names where it names one."""
    found = re.match(r"https://sqs[.-]([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com", queue_url)
    client: SQSClient = boto3.session.Session().client(
        "sqs",
        region_name=found[1] if found else None,
        config=Config(connect_timeout=5, read_timeout=wait_seconds + 10, retries={"total_max_attempts": 2}),
    )
    return client


class SqsBatch:
    """Up to ten messages. Those that cannot be deleted yet are tried again, those already deleted are not."""

    def __init__(
        self,
        queue: "Queue",
        messages: "Sequence[MessageTypeDef]",
        records: Sequence[Received],
        stop: asyncio.Event,
        log: Log,
    ) -> None:
        self.records = records
        self._queue = queue
        self._left = list(messages)
        self._stop = stop
        self._log = log

    @property
    def abandoned(self) -> bool:
        """True once the process stops: a batch that waits for a dependency is then given back."""
        return self._stop.is_set()

    async def done(self) -> None:
        """Delete the messages. Raises `DependencyUnavailable` while any is left that could be deleted."""
        try:
            failed = await asyncio.to_thread(self._queue.delete, self._left)
        except (BotoCoreError, ClientError) as error:
            raise self._unavailable(str(error)) from error
        # The sender's fault is a handle that has expired: the message is someone else's by now.
        expired = sum(1 for fault in failed.values() if fault.get("SenderFault"))
        if expired:
            self._log.warning(
                "sqs_handle_expired",
                f"{expired} messages were not deleted in time and come again, which does no harm. "
                "If this is frequent, raise the visibility timeout",
            )
        self._left = [one for i, one in enumerate(self._left) if i in failed and not failed[i].get("SenderFault")]
        if self._left:
            raise self._unavailable(f"{len(self._left)} messages could not be deleted")

    def _unavailable(self, detail: str) -> DependencyUnavailable:
        return DependencyUnavailable("sqs", detail, "Nothing is lost; look at the queue and its permissions")


class Queue:
    """The four calls, each blocking and each counted."""

    def __init__(self, client: "SQSClient", url: str, metrics: IngestMetrics) -> None:
        self._client = client
        self._url = url
        self._metrics = metrics

    def receive(self, wait_seconds: int, visibility_seconds: int) -> "Sequence[MessageTypeDef]":
        """Up to ten messages, after at most `wait_seconds`."""
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=MOST_MESSAGES,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=visibility_seconds,
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        messages = answer.get("Messages", [])
        self._count(SqsCall.RECEIVE, len(messages))
        return messages

    def delete(self, messages: "Sequence[MessageTypeDef]") -> Mapping[int, Mapping[str, Any]]:
        """Delete messages; the failures by their place in `messages`."""
        answer = self._client.delete_message_batch(
            QueueUrl=self._url,
            Entries=[{"Id": str(i), "ReceiptHandle": one["ReceiptHandle"]} for i, one in enumerate(messages)],
        )
        failed: dict[int, Mapping[str, Any]] = {int(one["Id"]): dict(one) for one in answer.get("Failed", [])}
        self._count(SqsCall.DELETE, len(messages) - len(failed))
        self._metrics.sqs_failures.labels(SqsCall.DELETE.value).inc(len(failed))
        return failed

    def extend(self, messages: "Sequence[MessageTypeDef]", seconds: int, call: SqsCall = SqsCall.EXTEND) -> None:
        """Hide messages from other receivers for so long from now; not those that are deleted already."""
        answer = self._client.change_message_visibility_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(i), "ReceiptHandle": one["ReceiptHandle"], "VisibilityTimeout": seconds}
                for i, one in enumerate(messages)
            ],
        )
        self._count(call, len(messages) - len(answer.get("Failed", [])))

    def release(self, messages: "Sequence[MessageTypeDef]") -> None:
        """Give messages back, so that another receiver has them at once. Never fails: they come back anyway."""
        try:
            self.extend(messages, 0, SqsCall.RELEASE)
        except (BotoCoreError, ClientError):
            self._metrics.sqs_failures.labels(SqsCall.RELEASE.value).inc()

    def _count(self, call: SqsCall, messages: int) -> None:
        self._metrics.sqs_messages.labels(call.value).inc(messages)


def _remedy(error: Exception) -> str | None:
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or a role"
    if isinstance(error, NoRegionError):
        return "set AWS_REGION"
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        return _REMEDIES.get(_SPELLINGS.get(code, code))
    return None


def _in_daemon_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """The result of `work`. The thread outlives a cancelled wait, but never keeps the process from ending.

    A long poll cannot be interrupted, and the threads of an executor are waited for at exit: a stop
    would take up to 20 s.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="sqs-poll", daemon=True).start()
    return future
