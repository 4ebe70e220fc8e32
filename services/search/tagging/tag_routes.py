"""`/tag/...`: the tags of photos on the service's own disk, with the paths and fields of a photo tagger."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.search.access import caller_of
from services.search.answers import TagCount, json_response
from services.search.body import read_json
from services.search.limits import SearchLimits
from services.search.openapi import json_body
from services.search.problems import Problem, ProblemKind
from services.search.tagging.photo_tagging import PhotoTagging
from services.search.tagging.tag_directory import DirectoryTagging
from services.search.tagging.tag_jobs import DirectoryJob, JobState

DEFAULT_TOP_K = 4
DEFAULT_EXTENSIONS = (".jpg", ".jpeg", ".png")
MOST_EXTENSIONS = 32

_JOB = "/tag/directory/0f8fad5b-d9cb-469f-a165-70867728950e"


class _TagBody(BaseModel):
    tags: list[str] = Field([], description="The tags to choose among; none: the default ones.")
    top_k: int = Field(DEFAULT_TOP_K, ge=1, description="So many tags a photo, at most as many as there are.")

    @field_validator("tags", mode="before")
    @classmethod
    def _none_given(cls, value: object) -> object:
        return [] if value is None else value


class TagImageBody(_TagBody):
    """A photo by its path on this machine."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"image_path": "/photos/1.jpg", "tags": ["cat", "landscape"], "top_k": 4}}
    )

    image_path: str = Field(min_length=1, max_length=4096)


class TagDirectoryBody(_TagBody):
    """A folder by its path on this machine; sub-folders count too."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "directory_path": "/photos",
                "tags": ["cat", "landscape"],
                "file_extensions": list(DEFAULT_EXTENSIONS),
                "top_k": 4,
            }
        }
    )

    directory_path: str = Field(min_length=1, max_length=4096)
    file_extensions: list[Annotated[str, Field(min_length=1, max_length=20)]] = Field(
        list(DEFAULT_EXTENSIONS), max_length=MOST_EXTENSIONS, description="Endings of file names, in any case."
    )


class TagImageAnswer(BaseModel):
    """The best tags of a photo, each with its probability, and when it was taken; or the reason why it has none."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "image_path": "/photos/1.jpg",
                "tags": [["landscape", 0.8945], ["beach", 0.0731]],
                "exif_datetime": "2024:05:15 14:30:22",
                "error": None,
            }
        }
    )

    image_path: str
    tags: list[tuple[str, float]]
    exif_datetime: str | None = Field(description="By the camera's clock, as EXIF writes it.")
    error: str | None


class TagDirectoryAnswer(BaseModel):
    """That a folder is going to be tagged."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "message": f"25 photos are being tagged in the background; GET {_JOB} says how far it is.",
                "directory": "/photos",
                "files_count": 25,
            }
        }
    )

    message: str
    directory: str
    files_count: int


class DirectoryJobAnswer(BaseModel):
    """How far a folder is: `stored` photos have their tags in the index, `read` in `results`, `failed` have none.

    `tags` counts the tags of the first two, most frequent first.
    """

    id: UUID
    directory: str
    state: JobState
    files_count: int
    stored: int
    read: int
    failed: int
    detail: str | None
    tags: list[TagCount]
    results: list[TagImageAnswer]


class ResultOptions(BaseModel):
    """Which results of a job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str | None = Field(None, description="Only photos with this tag.")
    limit: int = Field(100, ge=1, le=1000, description="At most so many results.")
    offset: int = Field(0, ge=0, le=1_000_000, description="How many results to pass over.")


def tag_router(photos: PhotoTagging, folders: DirectoryTagging, limits: SearchLimits) -> APIRouter:
    """The routes of tagging."""
    router = APIRouter(prefix="/tag", tags=["tag"])

    @router.post("/image", summary="Tag a photo", response_model=TagImageAnswer, openapi_extra=json_body(TagImageBody))
    async def tag_image(request: Request) -> Response:
        """The best tags of a photo on the service's disk. What is wrong with the photo itself is its `error`.

        The path must lie in the folder that `sightline up` keeps indexed, or in one of SIGHTLINE_TAGS__ROOTS; a
        relative one begins there.
        """
        _require_json(request)
        body = await read_json(request, TagImageBody, limits.json_bytes)
        photo = await photos.one(body.image_path, body.tags, body.top_k)
        return json_response(photo.as_json(body.image_path))

    @router.post(
        "/directory",
        summary="Tag all photos of a folder, in the background",
        response_model=TagDirectoryAnswer,
        openapi_extra=json_body(TagDirectoryBody),
    )
    async def tag_directory(request: Request) -> Response:
        """Answers at once with the number of photos. Where the folder is indexed, its images get these tags, which
        needs the scope `admin` besides: ask `/v1/images?tag=cat` and `/v1/tags`. Of the others GET
        /tag/directory/{id} has the tags; `Location` names it.
        """
        _require_json(request)
        body = await read_json(request, TagDirectoryBody, limits.json_bytes)
        caller = caller_of(request)
        job = await folders.start(body.directory_path, body.tags, body.file_extensions, body.top_k, caller)
        where = f"/tag/directory/{job.id}"
        verb = "photo is" if job.files_count == 1 else "photos are"
        answer = json_response(
            {
                "message": f"{job.files_count} {verb} being tagged in the background; GET {where} says how far it is.",
                "directory": body.directory_path,
                "files_count": job.files_count,
            }
        )
        answer.headers["Location"] = where
        return answer

    @router.get("/directory/{id}", summary="How far a folder is", response_model=DirectoryJobAnswer)
    async def directory_job(
        job: Annotated[UUID, Path(alias="id", description="As POST /tag/directory named it.")],
        options: Annotated[ResultOptions, Query()],
    ) -> Response:
        """How many photos of a folder are tagged, how often each tag was given, and the tags of those not indexed."""
        return json_response(_job_json(folders.jobs.get(job), options))

    return router


def _job_json(job: DirectoryJob, options: ResultOptions) -> dict[str, Any]:
    wanted = (
        (path, photo)
        for path, photo in job.results
        if options.tag is None or any(tag.tag == options.tag for tag in photo.tags)
    )
    chosen = list(wanted)[options.offset : options.offset + options.limit]
    counted = sorted(job.counts.items(), key=lambda item: (-item[1], item[0]))
    return {
        "id": str(job.id),
        "directory": job.directory,
        "state": job.state.value,
        "files_count": job.files_count,
        "stored": job.stored,
        "read": job.read,
        "failed": job.failed,
        "detail": job.detail,
        "tags": [{"tag": tag, "count": count} for tag, count in counted],
        "results": [photo.as_json(path) for path, photo in chosen],
    }


def _require_json(request: Request) -> None:
    # A page of another site cannot send this type without asking first, and nobody tells it that it may.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(
            415,
            ProblemKind.UNSUPPORTED_BODY,
            f"A body of type {kind[:60] or '(none given)'} is not understood.",
            "Send JSON with `Content-Type: application/json`.",
        )
