"""The tagging of photos that are named by their paths: taggers, folders, routes, and the work in the background."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastapi import APIRouter

from cli.parts import Parts
from cli.tagging import vocabulary_of
from encoders.engine import EncoderEngine
from encoders.tagger import Tagger
from encoders.vocabulary import DEFAULT_TEMPLATES, Vocabulary
from runtime.lifecycle import Component
from runtime.settings import TagSettings
from services.search.limits import SearchLimits
from services.search.load import BoundedEngine
from services.search.tagging.photo_roots import PhotoRoot, PhotoRoots
from services.search.tagging.photo_tagging import PhotoTagging
from services.search.tagging.tag_directory import DirectoryTagging
from services.search.tagging.tag_routes import tag_router
from stores.folder import FolderStore
from stores.objects import ObjectStore
from stores.vectors import VectorIndex

KEPT_TAGGERS = 32
"""Sets of tags whose vectors are kept: 256 tags of 512 numbers are half a megabyte."""


@dataclass(frozen=True)
class PhotoTags:
    """The routes, what must run for those that work in the background, and the engine with the bound on requests, which
    all other routes are to share.
    """

    router: APIRouter
    component: Component
    engine: BoundedEngine


class Taggers:
    """Taggers for whatever tags are asked for, each set's vectors made once. `()` stands for the settings' tags."""

    def __init__(self, settings: TagSettings, engine: EncoderEngine) -> None:
        self._settings = settings
        self._engine = engine
        self._making = asyncio.Lock()
        self._made: OrderedDict[tuple[str, ...], Tagger] = OrderedDict()

    async def tagger(self, tags: tuple[str, ...], top_k: int) -> Tagger:
        """One that gives an image at most `top_k` of the tags, whatever their score. Raises `TagsImpossible`."""
        if tags not in self._made:
            # One set at a time: whoever sends many must not fill the model's queue with their prompts.
            async with self._making:
                if tags not in self._made:
                    self._made[tags] = await Tagger.build(self._vocabulary(tags), self._engine)
        made = self._made[tags]
        self._made.move_to_end(tags)
        while len(self._made) > KEPT_TAGGERS:
            self._made.popitem(last=False)
        return made.giving(top_k)

    def _vocabulary(self, tags: tuple[str, ...]) -> Vocabulary:
        if not tags:
            return vocabulary_of(self._settings)
        # Letter for letter, unlike in a vocabulary file: each is answered as it was asked.
        templates = self._settings.templates or DEFAULT_TEMPLATES
        return Vocabulary(tags, tuple(tuple(one.replace("{}", tag) for one in templates) for tag in tags))


def folder_of(store: ObjectStore) -> FolderStore | None:
    """The store where it is a folder of this machine."""
    return store if isinstance(store, FolderStore) else None


def make_photo_tags(
    parts: Parts, engine: EncoderEngine, *, index: VectorIndex | None = None, folder: FolderStore | None = None
) -> PhotoTags:
    """Over an entered engine and index; `folder` is the one that the index holds. Raises `ConfigurationError`."""
    settings = parts.settings
    roots = [] if folder is None else [PhotoRoot(folder.root, indexed_as=(folder.source, folder.bucket))]
    roots += [PhotoRoot(Path(root)) for root in settings.tags.roots]
    tagging = partial(PhotoTagging, tagger_for=Taggers(settings.tags, engine).tagger, roots=PhotoRoots(roots))
    # Single photos are waited for, and count against the bound on requests; folders take their time.
    folders = DirectoryTagging(tagging(engine), index)
    bounded = BoundedEngine(engine, settings.access.waiting)
    single = tagging(bounded, image_bytes=settings.limits.object_bytes)
    router = tag_router(single, folders, SearchLimits())
    return PhotoTags(router, Component("tag folders", folders.run), bounded)
