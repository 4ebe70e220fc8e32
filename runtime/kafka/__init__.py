"""Apache Kafka as a transport: consumer, producer, admin, lag."""
