"""A load run on the real stack: Kafka, an S3 server, three processes of Sightline, and Prometheus watching them."""
