"""Ingest: the topic that stores write to, the webhook, and SQS, all around one stage."""

from cli.access import asks_for_keys
from cli.assembly import Assembly, Service
from cli.patterns import key_patterns
from runtime.access.browsers import is_loopback
from runtime.lifecycle import Component
from schemas.topics import IMAGE_EVENTS, NOTIFICATIONS
from services.ingest.metrics import IngestMetrics
from services.ingest.sqs import SqsReceiver
from services.ingest.stage import NotificationStage, decode_notification
from services.ingest.webhook import WebhookReceiver


async def wire(assembly: Assembly) -> None:
    """Add ingest to a process."""
    parts = assembly.parts
    settings = parts.settings
    metrics = IngestMetrics(parts.registry)
    stage = NotificationStage(
        settings.ingest.buckets, key_patterns(settings).wants, settings.limits, metrics=metrics, log=parts.log
    )
    worker = await assembly.consume(
        Service.INGEST, NOTIFICATIONS, stage, decode_notification, out=IMAGE_EVENTS, consumers=1
    )
    token = settings.ingest.webhook.token.get_secret_value()
    loopback, with_keys = is_loopback(settings.host), asks_for_keys(settings)
    if token or loopback or with_keys:
        webhook = WebhookReceiver(
            worker,
            token=token,
            loopback=loopback,
            with_keys=with_keys,
            max_bytes=settings.limits.notification_bytes,
            log=parts.log,
        )
        assembly.routers.append(webhook.router)
        assembly.groups[Service.INGEST].append(Component("webhook", webhook.run))
    else:
        parts.log.info("webhook_off", "POST /events is off; set SIGHTLINE_INGEST__WEBHOOK__TOKEN to take notifications")
    if settings.ingest.sqs.queue_url:
        receiver = SqsReceiver(
            settings.ingest.sqs.queue_url,
            worker,
            metrics=metrics,
            log=parts.log,
            wait_seconds=settings.ingest.sqs.wait_seconds,
        )
        assembly.groups[Service.INGEST].append(Component("sqs", receiver.run))
