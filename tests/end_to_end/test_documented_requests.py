"""The requests of five systems that Sightline replaces, as their users send them, and the answers that they expect.

One test for each documented request, named after the system and the request; docs/moving.md tells the same in words.
S1 to S4 are asked of one `sightline up FOLDER`, S5's two services are two `sightline serve` processes. A process
refuses every URL that leads to this machine, so URLs that succeed are asked of the same application with an internet of
its own.
"""

import base64
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from prometheus_client import CollectorRegistry

from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from imaging.sample_scenes import Pictures
from imaging.scenes import Background
from runtime.probes import Probes
from services.search.service_app import embedding_app
from tests.end_to_end.running import Running, log_actions, sightline, wait_for
from tests.unit.encoders.tiny_qwen3 import write_qwen3
from tests.unit.search.conftest import client_of
from tests.unit.search.internet import OTHER, answer, images_of, site, small_internet

MODEL, DIMENSION = "sightline-small", 256
WORDS_DIMENSION = 64
SHOWN = {"cat": 3, "dog": 2, "bicycle": 1, "fox": 1}
DEFAULT_TAGS = (
    "cat, dog, car, landscape, party, food, beach, city, children, sport, Victory Day, veterans, celebration, military"
)


def drawing(thing: str, seed: int) -> Image.Image:
    return Pictures().draw([(thing, 1)], Background("blue", "plain"), (320, 240), seed)


def jpeg(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    target = BytesIO()
    image.save(target, "JPEG", exif=b"" if exif is None else exif.tobytes())
    return target.getvalue()


CAT = jpeg(drawing("cat", 99))
ANOTHER_DOG = jpeg(drawing("dog", 98))


@contextmanager
def process(*arguments: str | Path, data_dir: Path, **environment: str) -> Iterator[httpx.Client]:
    """A client of a `sightline` process that says on its own where it listens."""
    with (
        sightline(*arguments, data_dir=data_dir, wait=False, environment={"PORT": "0", **environment}) as running,
        httpx.Client(base_url=said_address(running), timeout=60) as client,
    ):
        wait_for(lambda: client.get("/readyz").status_code == 200, "readiness")
        yield client


def said_address(running: Running) -> str:
    found: list[str] = []

    def said() -> bool:
        text = running.log.read_text()
        assert running.process.poll() is None, text[-3000:]
        found[:] = re.findall(r"\bat (http://\S+)$", text, re.MULTILINE)
        return bool(found)

    wait_for(said, "the address")
    return found[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cats, two dogs, a bicycle and a fox; the first cat's camera knew the time."""
    folder = tmp_path_factory.mktemp("system") / "photos"
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = "2024:05:15 14:30:22"
    for thing, count in SHOWN.items():
        (folder / f"{thing}s").mkdir(parents=True)
        for n in range(count):
            data = jpeg(drawing(thing, n), exif if (thing, n) == ("cat", 0) else None)
            (folder / f"{thing}s" / f"{n}.{'JPG' if n else 'jpg'}").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def up(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`sightline up photos`, once all photos are indexed."""
    data = tmp_path_factory.mktemp("up")
    environment = {"SIGHTLINE_ENCODER__MODEL": MODEL, "SIGHTLINE_ENCODER__DEVICE": "cpu", "PORT": "0"}
    with sightline("up", photos, data_dir=data, environment=environment) as running:
        wait_for(lambda: running.status()["indexed"] == sum(SHOWN.values()), "indexing")
        running.client.base_url = httpx.URL(running.url)
        yield running


@pytest.fixture(scope="module")
def client(up: Running) -> httpx.Client:
    return up.client


@pytest.fixture(scope="module")
def image_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The first of S5's services; nothing of its data folder is needed, and no GPU."""
    with process(
        "serve", "--model", MODEL, data_dir=tmp_path_factory.mktemp("image-service"), SIGHTLINE_HEALTH_STATUS="ok"
    ) as client:
        yield client


@pytest.fixture(scope="module")
def text_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The second: Qwen3, of four layers instead of thirty-six and 64 numbers instead of 2560."""
    folder = write_qwen3(tmp_path_factory.mktemp("models") / "Qwen3-Tiny")
    with process(
        *("serve", "--model", f"qwen3:{folder}"),
        data_dir=tmp_path_factory.mktemp("text-service"),
        SIGHTLINE_HEALTH_STATUS="ok",
        SIGHTLINE_ENCODER__DEVICE="cpu",
    ) as client:
        yield client


@pytest.fixture
async def public() -> AsyncIterator[httpx.AsyncClient]:
    """The same application, model and fetcher, with an internet where pictures.example serves a cat."""
    async with small_internet() as internet, site(answer(CAT)) as pictures, site(answer(b"", "404 Not Found")) as gone:
        internet.put(OTHER, pictures, "pictures.example")
        internet.put("151.101.65.69", gone, "gone.example")
        async with images_of(internet) as urls, EncoderEngine(make_encoder(MODEL, device="cpu")) as engine:
            app = embedding_app(engine, probes=Probes(), registry=CollectorRegistry(), urls=urls)
            async with client_of(app) as client:
                yield client


def is_unit(vector: list[float], dimension: int = DIMENSION) -> bool:
    return len(vector) == dimension and abs(float(np.linalg.norm(vector)) - 1) < 1e-5


def told(body: dict[str, Any], model: str, dimension: int) -> dict[str, Any]:
    """What S5 answers besides the vectors."""
    assert (body["dimension"], body["model"], body["version"]) == (dimension, model, "1.0")
    return {name: value for name, value in body.items() if name not in ("dimension", "model", "version")}


# S1. Catalogue embedding: `POST /embed`, multipart field `image` -> {"embedding": [...]}, L2-normalised


def test_s1_post_embed(client: httpx.Client) -> None:
    response = client.post("/embed", files={"image": ("product.jpg", CAT, "image/jpeg")})
    assert response.status_code == 200
    assert list(response.json()) == ["embedding"]
    assert is_unit(response.json()["embedding"])


# S2. Photo tagger


def test_s2_post_tag_image(client: httpx.Client, photos: Path) -> None:
    path = str(photos / "cats" / "0.jpg")
    response = client.post("/tag/image", json={"image_path": path, "tags": ["dog", "cat", "bicycle"], "top_k": 2})
    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["image_path", "tags", "exif_datetime", "error"]
    assert (body["image_path"], body["exif_datetime"], body["error"]) == (path, "2024:05:15 14:30:22", None)
    (best, score), (_, second) = body["tags"]
    assert best == "cat"
    assert 1 >= score >= second >= 0
    assert score == round(score, 4)


def test_s2_post_tag_image_with_its_defaults(client: httpx.Client, photos: Path) -> None:
    body = client.post("/tag/image", json={"image_path": str(photos / "dogs" / "0.jpg")}).json()
    tags = [tag for tag, _ in body["tags"]]
    assert len(tags) == 4
    assert set(tags) <= set(DEFAULT_TAGS.split(", "))
    everything = client.post("/tag/image", json={"image_path": str(photos / "dogs" / "0.jpg"), "top_k": 100}).json()
    assert {tag for tag, _ in everything["tags"]} == set(DEFAULT_TAGS.split(", "))
    assert sum(score for _, score in everything["tags"]) == pytest.approx(1, abs=0.001)
    assert everything["exif_datetime"] is None


DATES = {Base.DateTimeOriginal: "2021:01:01 00:00:01", Base.DateTimeDigitized: "2022:02:02 00:00:02"}


@pytest.mark.parametrize("ifd", ["first", "exif"])
@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (DATES | {Base.DateTime: "2023:03:03 00:00:03"}, "2021:01:01 00:00:01"),
        ({Base.DateTime: "2023:03:03 00:00:03", Base.DateTimeDigitized: "2022:02:02 00:00:02"}, "2022:02:02 00:00:02"),
        ({Base.DateTime: "2023:03:03 00:00:03"}, "2023:03:03 00:00:03"),
        ({}, None),
    ],
)
def test_s2_exif_datetime_is_the_best_date_in_either_ifd(
    client: httpx.Client, photos: Path, dates: dict[int, str], expected: str | None, ifd: str
) -> None:
    exif = Image.Exif()
    (exif if ifd == "first" else exif.get_ifd(IFD.Exif)).update(dates)
    path = photos / "dated.jpeg"
    path.write_bytes(jpeg(drawing("fox", 7), exif))
    try:
        body = client.post("/tag/image", json={"image_path": str(path)}).json()
    finally:
        path.unlink()
    assert (body["exif_datetime"], body["error"]) == (expected, None)


def test_s2_post_tag_image_of_what_is_no_photo(client: httpx.Client, photos: Path) -> None:
    path = str(photos / "missing.jpg")
    response = client.post("/tag/image", json={"image_path": path})
    assert response.status_code == 200
    sentence = "There is no file missing.jpg that can be read."
    assert response.json() == {"image_path": path, "tags": [], "exif_datetime": None, "error": sentence}


def test_s2_paths_outside_the_folder_are_refused_alike(client: httpx.Client, photos: Path) -> None:
    outside = [str(photos / ".." / name) for name in ("there.jpg", "not-there.jpg")]
    Path(outside[0]).write_bytes(CAT)
    answers = [client.post("/tag/image", json={"image_path": path}) for path in [*outside, "/etc/passwd"]]
    answers += [client.post("/tag/directory", json={"directory_path": path}) for path in [str(photos.parent), "/etc"]]
    assert {one.status_code for one in answers} == {403}
    assert len({one.text for one in answers}) == 1


def test_s2_post_tag_directory_and_what_is_asked_of_its_store(client: httpx.Client, photos: Path) -> None:
    asked = {
        "directory_path": str(photos),
        "tags": list(SHOWN),
        "file_extensions": [".jpg", ".jpeg", ".png"],
        "top_k": 1,
    }
    response = client.post("/tag/directory", json=asked)
    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["message", "directory", "files_count"]
    assert (body["directory"], body["files_count"]) == (str(photos), sum(SHOWN.values()))
    where = response.headers["location"]
    wait_for(lambda: client.get(where).json()["state"] == "done", "the tagging")
    # "All photos with tag cat", and "count per tag, most frequent first".
    images = client.get("/v1/images", params={"tag": "cat"}).json()["images"]
    assert {image["key"] for image in images} == {"cats/0.jpg", "cats/1.JPG", "cats/2.JPG"}
    counts = client.get("/v1/tags").json()["tags"]
    expected = sorted(SHOWN.items(), key=lambda item: (-item[1], item[0]))
    assert [(one["tag"], one["count"]) for one in counts] == expected
    # What the store kept of a photo: its path, tags with probabilities, EXIF date, and when it was written.
    payload = next(image["payload"] for image in images if image["key"] == "cats/0.jpg")
    assert payload["tags"][0]["tag"] == "cat"
    assert payload["taken_at"].startswith("2024-05-15T14:30:22")
    assert payload["indexed_at"]


def test_s2_post_tag_directory_with_its_defaults(client: httpx.Client, photos: Path) -> None:
    (photos / "note.txt").write_text("no photo")
    (photos / "dogs" / "page.webp").write_bytes(b"not among the default extensions")
    try:
        response = client.post("/tag/directory", json={"directory_path": str(photos / "dogs")})
        assert response.json()["files_count"] == SHOWN["dog"]
        job = response.headers["location"]
        wait_for(lambda: client.get(job).json()["state"] == "done", "the tagging")
    finally:
        (photos / "note.txt").unlink()
        (photos / "dogs" / "page.webp").unlink()
    for image in client.get("/v1/images", params={"prefix": "dogs/"}).json()["images"]:
        tags = [tag["tag"] for tag in image["payload"]["tags"]]
        assert len(tags) == 4
        assert set(tags) <= set(DEFAULT_TAGS.split(", "))


def test_s2_get_health(client: httpx.Client) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "healthy"


def test_s2_get_docs(client: httpx.Client) -> None:
    response = client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert all(path in response.text for path in ("/tag/image", "/tag/directory", "/health"))


# S3. Search by photo for a shop: cosine >= 0.3, at most 50 -> {"success": true, "search_id": "<uuid>", "count": 25}


@pytest.mark.parametrize("field", ["image", "photo", "file"])
def test_s3_post_api_search_by_image(client: httpx.Client, field: str) -> None:
    response = client.post("/api/search-by-image", files={field: ("query.jpg", ANOTHER_DOG, "image/jpeg")})
    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["success", "search_id", "count"]
    assert body["success"] is True
    assert str(UUID(body["search_id"])) == body["search_id"]
    # As many as the plain search finds at that cosine, each picture for itself.
    plain = client.post(
        "/v1/search",
        params={"threshold": "0.3", "limit": "50", "fold": "false"},
        files={"image": ("query.jpg", ANOTHER_DOG)},
    ).json()["results"]
    assert body["count"] == len(plain)
    assert 0 < body["count"] <= 50


def test_s3_get_search_results(client: httpx.Client) -> None:
    """What the products page shows behind the "By photo" button."""
    search = client.post("/api/search-by-image", files={"image": ANOTHER_DOG}).json()
    response = client.get(f"/api/search-results/{search['search_id']}")
    assert response.status_code == 200
    found = response.json()
    assert {name: found[name] for name in search} == search
    assert len(found["results"]) == search["count"]
    scores = [one["score"] for one in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.3
    assert found["results"][0]["key"].startswith("dogs/")
    gone = client.get(f"/api/search-results/{UUID(int=7)}")
    assert gone.status_code == 404


# S4. CLIP embedding service


def test_s4_post_embed_text(client: httpx.Client) -> None:
    response = client.post("/embed/text", json={"texts": ["a cat", "a dog", "a cat"]})
    assert response.status_code == 200
    assert list(response.json()) == ["embeddings"]
    first, second, third = response.json()["embeddings"]
    assert all(map(is_unit, (first, second, third)))
    assert np.allclose(first, third, atol=1e-5)
    assert not np.allclose(first, second, atol=1e-2)


async def test_s4_post_embed_image(public: httpx.AsyncClient) -> None:
    urls = ["http://pictures.example/cat.jpg", "http://gone.example/cat.jpg", "http://pictures.example/again.jpg"]
    response = await public.post("/embed/image", json={"urls": urls})
    assert response.status_code == 200
    assert list(response.json()) == ["embeddings"]
    first, failed, third = response.json()["embeddings"]
    assert is_unit(first)
    assert failed == []
    assert np.allclose(first, third, atol=1e-5)
    uploaded = (await public.post("/embed", files={"image": CAT})).json()["embedding"]
    assert np.allclose(first, uploaded, atol=1e-5)


def test_s4_post_embed_image_with_urls_that_fail(client: httpx.Client, up: Running) -> None:
    """A URL that leads nowhere, or to a place that is nobody's business, is a failing URL: [] and a warning."""
    urls = [f"{up.url}/health", "http://169.254.169.254/latest", "no URL", "ftp://example.org/cat.jpg"]
    response = client.post("/embed/image", json={"urls": urls})
    assert response.status_code == 200
    assert response.json() == {"embeddings": [[], [], [], []]}
    assert "urls_without_embedding" in log_actions(up.log)


async def test_s4_post_embed_mixed(public: httpx.AsyncClient) -> None:
    urls = ["http://gone.example/cat.jpg", "http://pictures.example/cat.jpg"]
    response = await public.post("/embed/mixed", json={"texts": ["a cat"], "urls": urls})
    assert response.status_code == 200
    assert list(response.json()) == ["text_embeddings", "image_embeddings"]
    (text,) = response.json()["text_embeddings"]
    failed, image = response.json()["image_embeddings"]
    assert is_unit(text)
    assert is_unit(image)
    assert failed == []


def test_s4_get_health(client: httpx.Client) -> None:
    body = client.get("/health").json()
    assert (body["status"], body["model_loaded"]) == ("healthy", True)


def test_s4_port_and_log_level_come_from_the_environment(tmp_path: Path) -> None:
    with sightline(
        "serve", "--model", "hashing", data_dir=tmp_path, wait=False, environment={"PORT": "0", "LOG_LEVEL": "error"}
    ) as running:
        url = said_address(running)
        assert httpx.post(f"{url}/embed/image", json={"urls": ["http://127.0.0.1/"]}).json() == {"embeddings": [[]]}
        assert log_actions(running.log) == [], "a warning is no error"


# S5. Embedding services of an image manager


def test_s5_get_health_of_the_image_service(image_service: httpx.Client) -> None:
    body = image_service.get("/health").json()
    assert {name: body[name] for name in ("status", "model", "version", "dimension")} == {
        "status": "ok",
        "model": MODEL,
        "version": "1.0",
        "dimension": DIMENSION,
    }
    assert re.fullmatch(r"cpu|mps|cuda:\d+", body["device"])


def test_s5_get_health_of_the_text_service(text_service: httpx.Client) -> None:
    body = text_service.get("/health").json()
    assert body == {
        "status": "ok",
        "model_loaded": True,
        "model": "qwen3:Qwen3-Tiny",
        "version": "1.0",
        "dimension": WORDS_DIMENSION,
        "device": "cpu",
    }


def test_s5_post_embed_image(image_service: httpx.Client) -> None:
    response = image_service.post("/embed/image", files={"file": ("photo.jpg", CAT, "image/jpeg")})
    assert response.status_code == 200
    rest = told(response.json(), MODEL, DIMENSION)
    assert list(rest) == ["embedding"]
    assert is_unit(rest["embedding"])


def test_s5_post_embed_image_base64(image_service: httpx.Client) -> None:
    sent = {"image_base64": base64.b64encode(CAT).decode()}
    response = image_service.post("/embed/image/base64", json=sent)
    assert response.status_code == 200
    rest = told(response.json(), MODEL, DIMENSION)
    uploaded = image_service.post("/embed/image", files={"file": CAT}).json()["embedding"]
    assert list(rest) == ["embedding"]
    assert np.allclose(rest["embedding"], uploaded, atol=1e-5)


def test_s5_post_embed_text(text_service: httpx.Client) -> None:
    response = text_service.post("/embed/text", json={"text": "a cat on a blue background"})
    assert response.status_code == 200
    rest = told(response.json(), "qwen3:Qwen3-Tiny", WORDS_DIMENSION)
    assert list(rest) == ["embedding"]
    assert is_unit(rest["embedding"], WORDS_DIMENSION)


def test_s5_post_embed_texts(text_service: httpx.Client) -> None:
    response = text_service.post("/embed/texts", json={"texts": ["a cat", "a dog"]})
    assert response.status_code == 200
    rest = told(response.json(), "qwen3:Qwen3-Tiny", WORDS_DIMENSION)
    assert list(rest) == ["embeddings"]
    assert [is_unit(vector, WORDS_DIMENSION) for vector in rest["embeddings"]] == [True, True]


def test_s5_a_service_of_words_says_that_it_takes_no_images(text_service: httpx.Client) -> None:
    for response in (
        text_service.post("/embed/image", files={"file": CAT}),
        text_service.post("/embed/image/base64", json={"image_base64": base64.b64encode(CAT).decode()}),
    ):
        assert response.status_code == 422
        assert response.json()["detail"] == "The model qwen3:Qwen3-Tiny takes words only, so it gives images no vector."


def test_s5_a_service_alone_has_no_index_shows_its_device_and_stops_when_it_is_told(tmp_path: Path) -> None:
    priced = {"PORT": "0", "SIGHTLINE_COST__DEVICE_DOLLARS_PER_HOUR": "3.5"}
    with sightline("serve", "--model", "hashing", data_dir=tmp_path, wait=False, environment=priced) as running:
        url = said_address(running)
        assert httpx.get(f"{url}/v1/search", params={"q": "cat"}).status_code == 404
        assert "/embed/image" in httpx.get(f"{url}/docs").text
        assert httpx.post(f"{url}/embed/image", files={"file": CAT}).status_code == 200
        metrics = httpx.get(f"{url}/metrics").text
        assert "sightline_device_price_dollars_per_hour 3.5" in metrics
        [seconds] = re.findall(r'^sightline_device_seconds_total{device="cpu"} (\S+)$', metrics, re.MULTILINE)
        assert float(seconds) > 0
        assert not [path for path in tmp_path.iterdir() if path != running.log], "it leaves nothing behind"
        assert running.stop() == 0
