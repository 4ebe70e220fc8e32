"""Make the bucket `images`, and have its notifications written onto Kafka. Run again, it changes nothing.

For an S3 server that knows Kafka as a target, such as MinIO; deploy/compose.yaml and this overlay run it in the image
of ingest, which has boto3. The environment names the server (AWS_ENDPOINT_URL_S3) and the credentials.
"""

import os

import boto3

BUCKET = "images"
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]


def main() -> None:
    """Make both. NOTIFICATION_TARGET names another target than the Kafka of MinIO that is called PRIMARY."""
    target = os.environ.get("NOTIFICATION_TARGET", "arn:minio:sqs::PRIMARY:kafka")
    s3 = boto3.client("s3", region_name="us-east-1")
    if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET)
    wired = {"QueueArn": target, "Events": EVENTS}
    s3.put_bucket_notification_configuration(
        Bucket=BUCKET,
        NotificationConfiguration={"QueueConfigurations": [wired]},  # type: ignore[list-item]
    )
    print(f"bucket {BUCKET}: {', '.join(EVENTS)} go to {target}")


if __name__ == "__main__":
    main()
