"""The shape of Strimzi's resources (kafka.strimzi.io/v1), as far as deploy/k8s uses them, as JSON schemas.

Strimzi's own generator, as far as it can be had by Maven, knows the version before, v1beta2, which the tests use as
well. v1 leaves out what was deprecated there; what is not written down here is refused.
"""

from typing import Any

Schema = dict[str, Any]


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _list(items: Schema, least: int = 1) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer", "minimum": 1}
_YES_OR_NO: Schema = {"type": "boolean"}
_CONFIG: Schema = {"type": "object", "additionalProperties": {"type": ["string", "integer", "boolean"]}}
_RESOURCES = _object(["requests", "limits"], requests=_CONFIG, limits=_CONFIG)
_SECURITY = _object(
    [],
    runAsNonRoot=_YES_OR_NO,
    seccompProfile=_object(["type"], type=_TEXT),
    allowPrivilegeEscalation=_YES_OR_NO,
    readOnlyRootFilesystem=_YES_OR_NO,
    capabilities=_object(["drop"], drop=_list(_TEXT)),
)
_PART = _object(["securityContext"], securityContext=_SECURITY)
_SCRAM = _object(["type"], type={"const": "scram-sha-512"})
_ACL = _object(
    ["resource", "operations"],
    resource={
        "oneOf": [
            _object(
                ["type", "name", "patternType"],
                type={"enum": ["topic", "group", "transactionalId"]},
                name=_TEXT,
                patternType={"enum": ["literal", "prefix"]},
            ),
            _object(["type"], type={"const": "cluster"}),
        ]
    },
    operations=_list(
        {
            "enum": [
                "Read",
                "Write",
                "Delete",
                "Alter",
                "Describe",
                "All",
                "IdempotentWrite",
                "ClusterAction",
                "Create",
                "AlterConfigs",
                "DescribeConfigs",
            ]
        }
    ),
    host=_TEXT,
    type={"enum": ["allow", "deny"]},
)
_OPERATOR = _object([], resources=_RESOURCES)

SPECS: dict[str, Schema] = {
    "KafkaTopic": _object([], partitions=_NUMBER, replicas=_NUMBER, topicName=_TEXT, config=_CONFIG),
    "KafkaUser": _object(
        [], authentication=_SCRAM, authorization=_object(["type", "acls"], type={"const": "simple"}, acls=_list(_ACL))
    ),
    "KafkaNodePool": _object(
        ["replicas", "roles", "storage"],
        replicas=_NUMBER,
        roles=_list({"enum": ["controller", "broker"]}),
        storage=_object(
            ["type", "volumes"],
            type={"const": "jbod"},
            volumes=_list(
                _object(
                    ["id", "type", "size"],
                    id={"type": "integer"},
                    type={"const": "persistent-claim"},
                    size=_TEXT,
                    kraftMetadata={"const": "shared"},
                    deleteClaim=_YES_OR_NO,
                )
            ),
        ),
        resources=_RESOURCES,
        template=_object([], pod=_PART, kafkaContainer=_PART),
    ),
    # No `version` nor `metadataVersion`: an operator refuses all but the few that its release supports.
    "Kafka": _object(
        ["kafka"],
        kafka=_object(
            ["listeners"],
            listeners=_list(
                _object(
                    ["name", "port", "type", "tls"],
                    name={"type": "string", "pattern": "^[a-z0-9]{1,11}$"},
                    port={"type": "integer", "minimum": 9092},
                    type={"const": "internal"},
                    tls=_YES_OR_NO,
                    authentication=_SCRAM,
                )
            ),
            authorization=_object(["type"], type={"const": "simple"}),
            config=_CONFIG,
        ),
        entityOperator=_object(
            [],
            topicOperator=_OPERATOR,
            userOperator=_OPERATOR,
            template=_object([], pod=_PART, topicOperatorContainer=_PART, userOperatorContainer=_PART),
        ),
    ),
}


def resource_schema(kind: str) -> Schema:
    """The schema of a whole object."""
    labels = ["labels"] if kind != "Kafka" else []
    metadata: Schema = {"type": "object", "required": ["name", "namespace", *labels]}
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": "kafka.strimzi.io/v1"},
            "kind": {"const": kind},
            "metadata": metadata,
            "spec": SPECS[kind],
        },
        "additionalProperties": False,
    }
