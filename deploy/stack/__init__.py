"""Real servers for tests and developers: Apache Kafka and an S3 server whose notifications reach it.

`python -m deploy.stack up|down|env`. Nothing needs root or containers: Kafka's jars come by Maven, the
S3 server (versitygw) by `go install`, both pinned and cached once under `${SIGHTLINE_CACHE:-~/.cache/sightline}`.
"""

from deploy.stack.errors import StackError
from deploy.stack.kafka import KafkaServer, start_kafka
from deploy.stack.s3 import S3Server, start_minio, start_versitygw

__all__ = ["KafkaServer", "S3Server", "StackError", "start_kafka", "start_minio", "start_versitygw"]
