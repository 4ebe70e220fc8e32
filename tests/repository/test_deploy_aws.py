"""docs/deploy-aws.md: its policies give what the code needs and no more, and its sums are right."""

import json
import os
import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from runtime.settings import load_settings, setting_names
from schemas.topics import DEAD_LETTERS, TOPICS
from tests.repository.built import K8S, SERVICES, built, kustomize, named
from tests.repository.files import ROOT
from tests.repository.test_manifest_schemas import check

PAGE = (ROOT / "docs" / "deploy-aws.md").read_text(encoding="utf-8")
BLOCKS: list[dict[str, Any]] = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", PAGE, re.M | re.S)]
SAMPLES = ROOT / "tests" / "unit" / "ingest" / "samples"
REGION = "eu-central-1"
BUCKET, OBJECTS = "arn:aws:s3:::images", "arn:aws:s3:::images/*"


def statements(block: dict[str, Any]) -> list[dict[str, Any]]:
    policy = block.get("Policy", block)
    found: list[dict[str, Any]] = policy.get("Statement", [])
    return found


def actions(statement: dict[str, Any]) -> set[str]:
    given = statement["Action"]
    return {given} if isinstance(given, str) else set(given)


def of_roles() -> list[dict[str, Any]]:
    """The statements of what a role may do."""
    return [one for block in BLOCKS for one in statements(block) if "Principal" not in one]


def test_a_role_may_do_what_the_code_does_and_no_more() -> None:
    granted = {(action, one["Resource"]) for one in of_roles() for action in actions(one)}
    queue = "arn:aws:sqs:eu-central-1:111122223333:sightline-events"
    # As the SQS receiver's docstring says; S3 asks the first two of whoever calls GetObject, HeadObject, ListObjectsV2.
    receiver = {
        (f"sqs:{name}", queue)
        for name in re.findall(
            r"sqs:(\w+)",
            (ROOT / "services/ingest/sqs.py").read_text(encoding="utf-8").split('"""')[1],
        )
    }
    keda = ("sqs:GetQueueAttributes", queue)
    assert granted == receiver | {keda, ("s3:ListBucket", BUCKET), ("s3:GetObject", OBJECTS)}
    called = set(re.findall(r"(?:_connected\(\)|_client|client)\.(\w+)\(", _source("stores/s3.py")))
    operations = called - {"close", "generate_presigned_url"}
    assert operations == {"list_objects_v2", "get_object"}, "another call may need another right"


def _source(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", [block for block in BLOCKS if statements(block)])
def test_no_policy_gives_everything_or_to_everybody(block: dict[str, Any]) -> None:
    for one in statements(block):
        assert one["Effect"] == "Allow"
        assert not any("*" in action for action in actions(one))
        assert one.get("Resource") != "*"
        if "Principal" in one:
            assert one["Principal"] != "*"
            assert one["Condition"], "whoever gets in without one may be anybody's bucket or pod"


def test_the_bucket_s_events_reach_the_queue_that_takes_them() -> None:
    (queue,) = [block for block in BLOCKS if "VisibilityTimeout" in block]
    (notification,) = [block for block in BLOCKS if "QueueConfigurations" in block]
    (wired,) = notification["QueueConfigurations"]
    (send,) = statements(queue)
    assert wired["QueueArn"] == send["Resource"]
    assert send["Condition"]["ArnEquals"]["aws:SourceArn"] == BUCKET
    assert wired["Events"] == ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"]
    assert int(queue["MessageRetentionPeriod"]) == 14 * 24 * 3600


def test_the_queue_s_attributes_are_all_text_as_sqs_wants_them(tmp_path: Path) -> None:
    (queue,) = [block for block in BLOCKS if "VisibilityTimeout" in block]
    (command,) = re.findall(r"""--attributes "\$\(jq -c '(.+)' queue\.json\)"$""", PAGE, re.MULTILINE)
    assert command == ".Policy |= tojson"
    attributes: dict[Any, str] = queue | {"Policy": json.dumps(queue["Policy"])}
    with mock_aws():
        client = boto3.client("sqs", region_name=REGION, aws_access_key_id="k", aws_secret_access_key="s")
        url = client.create_queue(QueueName="sightline-events", Attributes=attributes)["QueueUrl"]
        made = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert json.loads(made["Policy"]) == queue["Policy"]


def test_the_page_speaks_of_one_region_and_one_account() -> None:
    assert set(re.findall(r"\b[a-z]{2}-[a-z]+-\d\b", PAGE.partition("## What it costs")[0])) == {REGION}
    assert set(re.findall(r"\b\d{12}\b", PAGE)) == {"111122223333"}


@pytest.mark.parametrize("sample", ["eventbridge_created.json", "eventbridge_deleted.json"])
def test_the_pattern_takes_what_ingest_reads(sample: str) -> None:
    (pattern,) = [block for block in BLOCKS if "detail-type" in block]
    event = json.loads((SAMPLES / sample).read_text(encoding="utf-8"))
    assert event["source"] in pattern["source"]
    assert event["detail-type"] in pattern["detail-type"]
    assert "name" in event["detail"]["bucket"]


def test_a_role_trusts_a_service_account_that_exists() -> None:
    (trust,) = [one for block in BLOCKS for one in statements(block) if "Federated" in one.get("Principal", {})]
    (subject,) = [value for name, value in trust["Condition"]["StringEquals"].items() if name.endswith(":sub")]
    _, _, namespace, account = subject.split(":")
    assert named(built("base"), "ServiceAccount", account)["metadata"]["namespace"] == namespace
    for service in SERVICES:
        assert service in PAGE


def test_ingest_scales_by_the_queue_where_the_topic_stays_empty(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    example = yaml.safe_load(text.replace(REGION, "ap-south-1"))
    overlay = example | {"resources": ["../../base"]}
    folders = {key: [os.path.relpath(K8S / "overlays" / "x" / one, tmp_path) for one in overlay[key]]
               for key in ("resources", "components")}  # fmt: skip
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay | folders), encoding="utf-8")
    found = subprocess.run([kustomize(), "build", str(tmp_path)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    objects = list(yaml.safe_load_all(found.stdout))
    scaled = named(objects, "ScaledObject", "ingest")
    check(scaled)
    check(named(objects, "TriggerAuthentication", "sqs"))
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "aws-sqs-queue"
    assert trigger["metadata"]["queueURLFromEnv"] in setting_names()
    assert trigger["metadata"]["awsRegion"] == "ap-south-1"
    assert trigger["authenticationRef"]["name"] == "sqs"


def test_the_settings_of_the_page_exist_and_can_work() -> None:
    given = dict(re.findall(r"^    (SIGHTLINE_\w+)=(\S+)$", PAGE, re.MULTILINE))
    settings = load_settings(given)
    assert settings.ingest.sqs.queue_url.endswith("/sightline-events")
    assert settings.kafka.security_protocol == "SASL_SSL"
    assert len(given) >= 7


def test_the_brokers_take_the_largest_records_and_remember_offsets_longer_than_records() -> None:
    (block,) = re.findall(r"^```properties\n(.*?)^```", PAGE, re.M | re.S)
    properties = dict(line.split("=") for line in block.split())
    assert int(properties["message.max.bytes"]) >= max(topic.max_message_bytes for topic in TOPICS)
    consumed = [topic for topic in TOPICS if topic is not DEAD_LETTERS]
    assert int(properties["offsets.retention.minutes"]) * 60 > max(one.retention.total_seconds() for one in consumed)


def test_the_sums_are_right() -> None:
    rows = re.findall(r"^\| ([^|*]+) \| ([\d .x/]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 10
    for what, arithmetic, dollars in rows:
        assert _worked_out(arithmetic) == Decimal(dollars), what
    (total,) = re.findall(r"^\| \*\*Sum\*\* \| \| \*\*([\d.]+)\*\* \|$", PAGE, re.MULTILINE)
    assert sum(Decimal(dollars) for _, _, dollars in rows) == Decimal(total)


def _worked_out(arithmetic: str) -> Decimal:
    value, operator = Decimal(1), "x"
    for token in arithmetic.split():
        if token in "x/":
            operator = token
        else:
            value = value * Decimal(token) if operator == "x" else value / Decimal(token)
    return value.quantize(Decimal("0.01"))
