"""Fixtures for every test."""

from tests.servers import kafka, kafka_server, s3_server

__all__ = ["kafka", "kafka_server", "s3_server"]
