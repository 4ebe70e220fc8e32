"""Apache Kafka: one node that is broker and controller (KRaft), topics made only by those who ask."""

import subprocess
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from deploy.stack.cache import java, kafka_jars
from deploy.stack.errors import StackError
from deploy.stack.process import Process, find, free_port, spawn, wait_until_listening

PREFERRED_PORT = 9092

_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=3
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.segment.bytes=67108864
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""

_LOGGING = """rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=INFO
"""

# A heap for development; the first tier of the compiler alone halves the time to start.
_JVM = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


@dataclass(frozen=True)
class KafkaServer:
    """A running broker; `address` is what SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS wants."""

    address: str
    process: Process

    def stop(self) -> None:
        """Stop it; what it stored stays in its folder."""
        self.process.stop()

    def kill(self) -> None:
        """Kill it, as a machine that loses power does."""
        self.process.stop(patience=0.0)


def start_kafka(folder: Path, *, port: int = 0) -> KafkaServer:
    """Start Kafka with its state in `folder`, or find it running there. The port is 0 for any, or a preference.

    Raises `StackError` when Java or Maven is missing or the broker does not come up.
    """
    folder = folder.resolve() / "kafka"
    properties = folder / "server.properties"
    running = find("kafka", folder)
    if running is None:
        runtime, jars = java(), kafka_jars()
        chosen = _recorded_port(properties) or port
        _configure(folder, properties, free_port(chosen), runtime, jars)
        running = spawn(
            "kafka",
            [
                runtime,
                *_JVM,
                f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
                "-cp",
                f"{jars}/*",
                "kafka.Kafka",
                str(properties),
            ],
            folder,
        )
    port = _recorded_port(properties)
    wait_until_listening(running, port)
    return KafkaServer(f"127.0.0.1:{port}", running)


def _configure(folder: Path, properties: Path, port: int, runtime: str, jars: Path) -> None:
    # A restart finds its data and keeps it; only the ports may have to change.
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    properties.write_text(_PROPERTIES.format(port=port, controller=free_port(), data=data))
    (folder / "log4j2.properties").write_text(_LOGGING)
    if (data / "meta.properties").exists():
        return
    cluster = new_cluster_id()
    done = subprocess.run(
        [runtime, *_JVM, "-cp", f"{jars}/*", "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StackError(f"Kafka could not format its storage in {data}: {(done.stdout + done.stderr)[-1000:]}")


def new_cluster_id() -> str:
    """A random UUID as Kafka writes it: 22 characters of base64url, the first of them no hyphen.

    Kafka's tools would take a hyphen for the beginning of an option; Kafka's own `Uuid.randomUuid` draws again as well.
    """
    while (cluster := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return cluster


def _recorded_port(properties: Path) -> int:
    if not properties.exists():
        return 0
    for line in properties.read_text().splitlines():
        if line.startswith("advertised.listeners="):
            return int(line.rpartition(":")[2])
    return 0
