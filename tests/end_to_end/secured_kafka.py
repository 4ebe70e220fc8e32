"""A real broker that lets in whom the manifests name, with the rights that they give and no others."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from deploy.stack.cache import java, kafka_jars
from deploy.stack.kafka import new_cluster_id
from deploy.stack.process import Process, free_port, spawn, wait_until_listening

PASSWORD = "of-the-test"
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=INSIDE://127.0.0.1:{inside},OUTSIDE://127.0.0.1:{outside},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=INSIDE://127.0.0.1:{inside},OUTSIDE://127.0.0.1:{outside}
inter.broker.listener.name=INSIDE
controller.listener.names=CONTROLLER
listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.outside.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
"""
_JVM = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class SecuredKafka:
    """A broker with two doors: `address` asks for a user and a password, `inside` is for making topics and rights."""

    def __init__(self, folder: Path, users: Iterable[str]) -> None:
        inside, outside, controller = free_port(), free_port(), free_port()
        self.address, self.inside = f"127.0.0.1:{outside}", f"127.0.0.1:{inside}"
        properties = folder / "server.properties"
        folder.mkdir(parents=True, exist_ok=True)
        properties.write_text(
            _PROPERTIES.format(inside=inside, outside=outside, controller=controller, data=folder / "data")
        )
        runtime, classes = java(), f"{kafka_jars()}/*"
        cluster = new_cluster_id()
        format_ = [
            runtime,
            *_JVM,
            "-cp",
            classes,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster,
            "-c",
            str(properties),
        ]
        for user in users:
            format_ += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={PASSWORD}]"]
        subprocess.run(format_, check=True, capture_output=True)
        command = [runtime, *_JVM, "-cp", classes, "kafka.Kafka", str(properties)]
        self.process: Process = spawn("kafka", command, folder)
        wait_until_listening(self.process, outside)

    async def allow(self, users: Iterable[dict[str, Any]]) -> None:
        """Give the rights of KafkaUser objects."""
        creations = [
            (
                _RESOURCES[acl["resource"]["type"]],
                acl["resource"]["name"],
                _PATTERNS[acl["resource"]["patternType"]],
                f"User:{user['metadata']['name']}",
                "*",
                _OPERATIONS[operation],
                _ALLOW,
            )
            for user in users
            for acl in user["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
        ]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.inside)
        await admin.start()
        try:
            answer = await admin._send_request(_CreateAcls(creations))
        finally:
            await admin.close()
        assert {code for code, _ in answer.results} == {0}, answer.results


# https://kafka.apache.org/protocol.html: the numbers of resource types, patterns, operations and permissions.
_RESOURCES = {"topic": 2, "group": 3}
_PATTERNS = {"literal": 3, "prefix": 4}
_OPERATIONS = {"Read": 3, "Write": 4, "Describe": 8}
_ALLOW = 3


class _CreateAclsResponse(Response):  # type: ignore[misc]
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("results", Array(("error_code", Int16), ("error_message", String("utf-8"))))
    )


class _CreateAclsStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = _CreateAclsResponse
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission_type", Int8),
            ),
        )
    )


class _CreateAcls(Request[_CreateAclsStruct]):  # type: ignore[misc]
    API_KEY = 30

    def __init__(self, creations: list[tuple[Any, ...]]) -> None:
        self._creations = creations

    def build(self, request_struct_class: type[_CreateAclsStruct]) -> _CreateAclsStruct:
        return request_struct_class(creations=self._creations)
