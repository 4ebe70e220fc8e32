"""What object stores really send, read into what it says happened: AWS S3 and its envelopes (SNS, SQS), EventBridge,
MinIO, RustFS, Ceph RGW and versitygw.
"""

from services.ingest.formats.notification import read_notification
from services.ingest.formats.observation import Ignored, Observation, ObservedChange, Refused

__all__ = ["Ignored", "Observation", "ObservedChange", "Refused", "read_notification"]
