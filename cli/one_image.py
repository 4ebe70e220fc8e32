"""What each kind of process can do for one image: show it, explain it, have it looked at again."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cli.intake_rules import SettingsRules
from cli.originals import KnownStores, SourceStores, make_originals, make_thumbnails
from runtime.settings import Settings
from services.search.one_image.parts import OneImage
from services.search.one_image.retry import Hints

if TYPE_CHECKING:
    from cli.embedded import EmbeddedPipeline


def one_image_of_pipeline(pipeline: "EmbeddedPipeline") -> OneImage:
    """For `sightline up`: its own source, and the queue that reconcile uses."""
    settings, store = pipeline.parts.settings, pipeline.source.store
    originals = make_originals(settings, SourceStores(store))
    watch = pipeline.watch
    return OneImage(
        originals=originals,
        thumbnails=make_thumbnails(settings, originals),
        hints=Hints(
            pipeline.parts.tracing.beginning(pipeline.events.publisher()),
            before=None if watch is None else watch.settle_later,
        ),
        rules=SettingsRules(
            settings,
            follows=(store.source, store.bucket, pipeline.source.prefix),
            waiting_for=pipeline.waiting_for,
        ),
    )


def one_image_of_settings(
    settings: Settings,
    stores: KnownStores,
    *,
    hints: Hints | None = None,
    waiting_for: Callable[[], Sequence[str]] = lambda: (),
) -> OneImage:
    """For a search service, and for commands: whatever bucket or folder the index names, within what is allowed."""
    originals = make_originals(settings, stores)
    return OneImage(
        originals=originals,
        thumbnails=make_thumbnails(settings, originals),
        hints=hints,
        rules=SettingsRules(settings, waiting_for=waiting_for),
    )
