"""The SQS receiver on moto's server: a queue with visibility timeouts and long polls, over HTTP."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from runtime.retry import RetryPolicy
from schemas.dead_letter import RejectReason
from schemas.errors import ConfigurationError, DependencyUnavailable
from services.ingest.sqs import SqsReceiver
from services.ingest.sqs_queue import sqs_client
from tests.unit.ingest.receiving import Ingest, Kafka, ingest
from tests.unit.ingest.stores import aws, eventbridge, in_sns

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

try:
    from moto.server import ThreadedMotoServer
except ImportError:
    if os.environ.get("CI") == "true":
        raise
    pytest.skip("moto's server is missing: `make install` brings it", allow_module_level=True)

SOON = 20.0
QUICK = RetryPolicy(first=0.01, most=0.05)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(endpoint: str) -> "Iterator[SQSClient]":
    made = boto3.session.Session().client(
        "sqs",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
    )
    yield made
    made.close()


@pytest.fixture
def queue(client: "SQSClient", request: pytest.FixtureRequest) -> str:
    return client.create_queue(QueueName=f"uploads-{abs(hash(request.node.name))}")["QueueUrl"]


class Faulty:
    """A client some of whose calls fail first. `faults` maps a method to what its next calls raise or answer."""

    def __init__(self, client: Any, **faults: list[Any]) -> None:
        self._client = client
        self._faults = faults
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            self.calls.append(name)
            if self._faults.get(name):
                fault = self._faults[name].pop(0)
                if isinstance(fault, Exception):
                    raise fault
                return fault(self._client, arguments)
            return getattr(self._client, name)(**arguments)

        return call


def receiver(made: Ingest, queue: str, client: Any, **more: Any) -> SqsReceiver:
    options: dict[str, Any] = {"wait_seconds": 1, "visibility_seconds": 30, "retry": QUICK} | more
    return SqsReceiver(queue, made.worker, metrics=made.metrics, client=lambda: client, **options)


async def send(client: Any, queue: str, *messages: object) -> None:
    for message in messages:
        body = message if isinstance(message, str) else json.dumps(message)
        await asyncio.to_thread(client.send_message, QueueUrl=queue, MessageBody=body)


async def left(client: Any, queue: str) -> tuple[int, int]:
    """Messages that wait, and messages that someone has received and not deleted."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = await asyncio.to_thread(client.get_queue_attributes, QueueUrl=queue, AttributeNames=names)
    return int(answer["Attributes"][names[0]]), int(answer["Attributes"][names[1]])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await condition():  # noqa: ASYNC110 - a queue behind HTTP has no event to wait for
            await asyncio.sleep(0.02)


class Running:
    """A receiver that runs while the block does, and is stopped as a process would be."""

    def __init__(self, receiver: SqsReceiver) -> None:
        self._receiver = receiver
        self.stop = asyncio.Event()

    async def __aenter__(self) -> "Running":
        self.task = asyncio.create_task(self._receiver.run(self.stop))
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, SOON)


async def test_messages_become_hints_and_are_deleted(client: "SQSClient", queue: str) -> None:
    made = ingest()
    sent = [aws("a b.jpg"), in_sns(aws("c.jpg")), eventbridge("d.jpg"), *(aws(f"{i}.jpg") for i in range(12))]
    await send(client, queue, *sent)
    async with Running(receiver(made, queue, client)):
        await until(lambda: emptied(client, queue))
    assert sorted(made.kafka.keys) == sorted(["a b.jpg", "c.jpg", "d.jpg", *(f"{i}.jpg" for i in range(12))])
    assert made.value("sightline_sqs_messages_total", call="delete") == 15


async def test_nothing_is_deleted_before_kafka_has_acknowledged(client: "SQSClient", queue: str) -> None:
    acknowledged = asyncio.Event()
    arrived = asyncio.Event()

    async def before() -> None:
        arrived.set()
        await acknowledged.wait()

    made = ingest(Kafka(before=before))
    await send(client, queue, aws("a.jpg"))
    async with Running(receiver(made, queue, client)):
        await asyncio.wait_for(arrived.wait(), SOON)
        assert await left(client, queue) == (0, 1)
        acknowledged.set()
        await until(lambda: emptied(client, queue))
    assert made.kafka.keys == ["a.jpg"]


async def test_a_crash_before_the_acknowledgement_delivers_the_message_again(client: "SQSClient", queue: str) -> None:
    def crash() -> None:
        raise RuntimeError("killed before Kafka acknowledged")

    await send(client, queue, aws("a.jpg"))
    broken = receiver(ingest(Kafka(before=crash)), queue, client, visibility_seconds=1)
    with pytest.raises(RuntimeError, match="killed"):
        await asyncio.wait_for(broken.run(asyncio.Event()), SOON)
    made = ingest()

    async def delivered() -> bool:
        # In the moment in which a message is seen again the queue may count it neither as hidden nor as there.
        return bool(made.kafka.keys) and await emptied(client, queue)

    async with Running(receiver(made, queue, client)):
        await until(delivered)
    assert made.kafka.keys == ["a.jpg"]


async def test_poison_goes_to_the_dead_letters_and_is_deleted_with_its_good_neighbours(
    client: "SQSClient", queue: str
) -> None:
    made = ingest()
    await send(client, queue, aws("a.jpg"), "no JSON at all", aws("b.jpg"))
    async with Running(receiver(made, queue, client)):
        await until(lambda: emptied(client, queue))
    assert sorted(made.kafka.keys) == ["a.jpg", "b.jpg"]
    (letter,) = made.kafka.letters
    assert (letter.reason, letter.original) == (RejectReason.MALFORMED_RECORD, b"no JSON at all")
    assert letter.origin.topic == queue.rpartition("/")[2]
    assert letter.origin.timestamp is not None


async def test_stopping_finishes_the_batch_in_hand(client: "SQSClient", queue: str) -> None:
    acknowledged = asyncio.Event()
    arrived = asyncio.Event()

    async def before() -> None:
        arrived.set()
        await acknowledged.wait()

    made = ingest(Kafka(before=before))
    await send(client, queue, aws("a.jpg"))
    async with Running(receiver(made, queue, client)) as running:
        await asyncio.wait_for(arrived.wait(), SOON)
        running.stop.set()
        done, _ = await asyncio.wait([running.task], timeout=0.05)
        assert not done
        acknowledged.set()
    assert made.kafka.keys == ["a.jpg"]
    assert await left(client, queue) == (0, 0)


async def test_stopping_does_not_wait_for_a_long_poll(client: "SQSClient", queue: str) -> None:
    polling = asyncio.Event()
    loop = asyncio.get_running_loop()

    def first(real: Any, arguments: Any) -> Any:
        return real.receive_message(**arguments)

    def second(real: Any, arguments: Any) -> Any:
        loop.call_soon_threadsafe(polling.set)
        return real.receive_message(**arguments | {"WaitTimeSeconds": 5})

    watched = Faulty(client, receive_message=[first, second])
    made = ingest()
    async with Running(receiver(made, queue, watched, wait_seconds=20)) as running:
        await asyncio.wait_for(polling.wait(), SOON)
        started = time.monotonic()
        running.stop.set()
        await asyncio.wait_for(running.task, SOON)
        assert time.monotonic() - started < 4.5
    # What the poll still brings belongs to nobody, and is given back rather than hidden for 30 s.
    await send(client, queue, aws("late.jpg"))
    await until(lambda: counted(made, "release"))
    assert await left(client, queue) == (1, 0)


async def test_a_batch_that_waits_for_kafka_is_given_back_when_the_process_stops(
    client: "SQSClient", queue: str
) -> None:
    tried = asyncio.Event()

    def before() -> None:
        tried.set()
        raise DependencyUnavailable("kafka", "no broker answers", "Start it")

    made = ingest(Kafka(before=before))
    await send(client, queue, aws("a.jpg"))
    async with Running(receiver(made, queue, client)):
        await asyncio.wait_for(tried.wait(), SOON)
    assert await left(client, queue) == (1, 0)
    assert not made.kafka.letters


async def test_messages_stay_hidden_for_as_long_as_kafka_is_away(client: "SQSClient", queue: str) -> None:
    extended = asyncio.Event()
    loop = asyncio.get_running_loop()
    acknowledged = asyncio.Event()

    def extend(real: Any, arguments: Any) -> Any:
        answer = real.change_message_visibility_batch(**arguments)
        if len(watched.calls) > 3:
            loop.call_soon_threadsafe(extended.set)
        return answer

    watched = Faulty(client, change_message_visibility_batch=[extend] * 50)
    made = ingest(Kafka(before=acknowledged.wait))
    await send(client, queue, aws("a.jpg"))
    async with Running(receiver(made, queue, watched, visibility_seconds=1)):
        # Three extensions of half a second each: without them the message would be visible again by now.
        await asyncio.wait_for(extended.wait(), SOON)
        assert await left(client, queue) == (0, 1)
        acknowledged.set()
        await until(lambda: emptied(client, queue))
    assert made.kafka.keys == ["a.jpg"]


async def test_a_deletion_that_fails_is_made_again_for_those_that_are_left(client: "SQSClient", queue: str) -> None:
    asked: list[int] = []

    def partly(real: Any, arguments: Any) -> Any:
        first, *others = arguments["Entries"]
        asked.append(len(arguments["Entries"]))
        answer = real.delete_message_batch(**arguments | {"Entries": others})
        failed = {"Id": first["Id"], "Code": "InternalError", "SenderFault": False}
        return answer | {"Failed": [failed]}

    def last(real: Any, arguments: Any) -> Any:
        asked.append(len(arguments["Entries"]))
        return real.delete_message_batch(**arguments)

    away = EndpointConnectionError(endpoint_url="http://made-up")
    faulty = Faulty(client, delete_message_batch=[away, partly, last])
    made = ingest()
    await send(client, queue, aws("a.jpg"), aws("b.jpg"), aws("c.jpg"))
    async with Running(receiver(made, queue, faulty)):
        await until(lambda: emptied(client, queue))
    assert asked == [3, 1]
    assert sorted(made.kafka.keys) == ["a.jpg", "b.jpg", "c.jpg"]
    assert made.value("sightline_sqs_failures_total", call="delete") == 1


async def test_a_handle_that_has_expired_holds_nothing_up(client: "SQSClient", queue: str) -> None:
    def expired(real: Any, arguments: Any) -> Any:
        faults = [
            {"Id": one["Id"], "Code": "ReceiptHandleIsInvalid", "SenderFault": True} for one in arguments["Entries"]
        ]
        return {"Successful": [], "Failed": faults}

    made = ingest()
    await send(client, queue, aws("a.jpg"))
    async with Running(receiver(made, queue, Faulty(client, delete_message_batch=[expired]), visibility_seconds=1)):
        await until(lambda: emptied(client, queue))
    assert made.kafka.keys == ["a.jpg", "a.jpg"]


async def test_an_outage_of_the_queue_is_waited_out(client: "SQSClient", queue: str) -> None:
    away = EndpointConnectionError(endpoint_url="http://made-up")
    denied = client_error("AccessDenied")
    first = [lambda real, arguments: real.receive_message(**arguments)]
    made = ingest()
    faulty = Faulty(client, receive_message=[away, *first, away, denied, client_error("ServiceUnavailable")])
    await send(client, queue, aws("a.jpg"))
    async with Running(receiver(made, queue, faulty)):
        await until(lambda: counted(made, "receive", name="sightline_sqs_failures_total", least=4))
        await send(client, queue, aws("b.jpg"))
        await until(lambda: emptied(client, queue))
    assert made.kafka.keys == ["a.jpg", "b.jpg"]


async def test_a_missing_queue_ends_the_start_with_a_sentence(client: "SQSClient", queue: str) -> None:
    missing = queue + "-that-nobody-made"
    with pytest.raises(ConfigurationError, match="SIGHTLINE_INGEST__SQS__QUEUE_URL") as caught:
        await receiver(ingest(), missing, client).run(asyncio.Event())
    assert missing in str(caught.value)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (NoCredentialsError(), "AWS_ACCESS_KEY_ID"),
        ("InvalidClientTokenId", "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("AccessDeniedException", "sqs:ReceiveMessage"),
        ("ExpiredToken", "renew"),
    ],
)
async def test_wrong_credentials_end_the_start_with_a_sentence(
    client: "SQSClient", queue: str, error: str | Exception, remedy: str
) -> None:
    raised = client_error(error) if isinstance(error, str) else error
    with pytest.raises(ConfigurationError, match=remedy):
        await receiver(ingest(), queue, Faulty(client, receive_message=[raised])).run(asyncio.Event())


async def test_a_client_that_cannot_be_made_ends_the_start_with_a_sentence(queue: str) -> None:
    def make() -> Any:
        raise ValueError("Invalid endpoint: nonsense")

    made = ingest()
    with pytest.raises(ConfigurationError, match="Invalid endpoint"):
        await SqsReceiver(queue, made.worker, metrics=made.metrics, client=make).run(asyncio.Event())


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-3.amazonaws.com/111122223333/uploads", "eu-west-3"),
        ("https://sqs.us-gov-west-1.amazonaws.com/111122223333/uploads", "us-gov-west-1"),
    ],
)
def test_the_region_is_the_one_that_the_url_names(url: str, region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    made = sqs_client(url, 20)
    assert made.meta.region_name == region
    made.close()


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "made up"}}, "ReceiveMessage")


async def emptied(client: Any, queue: str) -> bool:
    # Twice: a message whose time ends between the two numbers of one answer is in neither.
    return await left(client, queue) == (0, 0) == await left(client, queue)


async def counted(made: Ingest, call: str, *, name: str = "sightline_sqs_messages_total", least: float = 1) -> bool:
    return made.value(name, call=call) >= least
