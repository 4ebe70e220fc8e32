"""The queue of SQS: its four calls, ten of its messages as a batch, and what to do about its errors."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, PartialCredentialsError

from runtime.batch import Received
from runtime.log import Log
from schemas.errors import DependencyUnavailable
from services.ingest.metrics import IngestMetrics, SqsCall

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

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


class SqsBatch:
    """Up to ten messages. Those that cannot be deleted yet are tried again, those already deleted are not."""

    def __init__(
        self,
        queue: Queue,
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


def sqs_client(queue_url: str, wait_seconds: int) -> "SQSClient":
    """A client by boto3's own chain of credentials, for the region that the queue's URL names where it names one."""
    found = re.match(r"https://sqs[.-]([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com", queue_url)
    client: SQSClient = boto3.session.Session().client(
        "sqs",
        region_name=found[1] if found else None,
        config=Config(connect_timeout=5, read_timeout=wait_seconds + 10, retries={"total_max_attempts": 2}),
    )
    return client


def remedy_of(error: Exception) -> str | None:
    """What mends an error that no waiting does; None for every other."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or a role"
    if isinstance(error, NoRegionError):
        return "set AWS_REGION"
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        return _REMEDIES.get(_SPELLINGS.get(code, code))
    return None
