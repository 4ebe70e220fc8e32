import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from encoders.encoder import Encoder, Modality
from encoders.registry import make_encoder
from encoders.remote.options import RemoteOptions
from imaging.samples import SCENES, draw_scene
from schemas.collection import collection_name, model_label
from schemas.errors import ConfigurationError, DependencyUnavailable
from tests.unit.encoders.remote.service import (
    DIMENSION,
    TOKEN,
    Answer,
    Asked,
    FakeClock,
    Service,
    look,
    remote,
    words,
)

PICTURES = [draw_scene(kind, 160 + 16 * n, 120, seed=n) for n, kind in enumerate(SCENES)]
HUGGING_FACE = "huggingface:openai/clip-vit-base-patch32"
REPLICATE = "replicate:openai/clip-vit-large-patch14"
SELF_HOSTED = "self-hosted:clip-vit-l-14"


def hugging_face(asked: Asked) -> Answer:
    """Raw bytes or {"inputs": ..}; the vector twice nested, as some models have it."""
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    if asked.headers["content-type"] == "application/json":
        return Answer(body=words(asked.json()["inputs"]))
    assert asked.headers["content-type"] == "image/jpeg"
    return Answer(body=[look(asked.data)])


class Predictions:
    """Replicate's API: a prediction is made, runs for some polls, and ends."""

    def __init__(self, service: Service, polls: int = 0) -> None:
        self.service = service
        self.polls = polls
        self.made: dict[str, dict[str, Any]] = {}
        self.version = "75b33f25"
        self.fails_with: list[str] = []
        self.own_address = True

    def __call__(self, asked: Asked) -> Answer:
        assert asked.headers["authorization"] == f"Bearer {TOKEN}"
        if asked.method == "GET":
            prediction = self.made[asked.path.rpartition("/")[2]]
            return Answer(body=self.advanced(prediction))
        assert asked.path == "/predictions"
        assert asked.headers["prefer"] == "wait=45"
        body = asked.json()
        number = f"p{len(self.made)}"
        url = self.service.url if self.own_address else "https://elsewhere.example"
        prediction = self.made[number] = {
            "id": number,
            "status": "starting",
            "version": self.version,
            "model": body["version"],
            "polls": 0,
            "input": body["input"],
            "output": None,
            "error": None,
            "urls": {"get": f"{url}/predictions/{number}", "cancel": "x"},
        }
        return Answer(201, self.advanced(prediction))

    def advanced(self, prediction: dict[str, Any]) -> dict[str, Any]:
        if prediction["polls"] < self.polls:
            prediction["polls"] += 1
        elif self.fails_with:
            prediction |= {"status": "failed", "error": self.fails_with.pop(0)}
        elif prediction["status"] == "starting":
            given = prediction["input"]
            prediction["status"] = "succeeded"
            if "text" in given:
                prediction["output"] = {"embedding": words(given["text"])}
            else:
                head, _, data = given["image"].partition(",")
                assert head == "data:image/jpeg;base64"
                prediction["output"] = [{"input": "image", "embedding": look(base64.b64decode(data))}]
        return prediction


def self_hosted(asked: Asked) -> Answer:
    if asked.path == "/words":
        return Answer(body={"embedding": words(asked.json()["text"])})
    return Answer(body={"embedding": look(asked.part("image"))})


@pytest.fixture(params=[HUGGING_FACE, REPLICATE, SELF_HOSTED])
def encoder(request: pytest.FixtureRequest, service: Service) -> Encoder:
    behaviours: dict[str, Callable[[Asked], Answer]] = {
        HUGGING_FACE: hugging_face,
        REPLICATE: Predictions(service, polls=1),
        SELF_HOSTED: self_hosted,
    }
    service.respond = behaviours[request.param]
    encoder = remote(request.param, service, text_url=service.url + "/words")
    encoder.load()
    return encoder


def expected(encoder: Encoder, number: int) -> Any:
    vector = np.array(look(encoder.prepare(PICTURES[number]).tobytes()))
    return vector / np.linalg.norm(vector)


# What every encoder promises


def test_vectors_are_the_services_own_of_unit_length_in_order(encoder: Encoder) -> None:
    vectors = encoder.forward([encoder.prepare(picture) for picture in PICTURES])
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(PICTURES), DIMENSION)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for number, vector in enumerate(vectors):
        assert np.allclose(vector, expected(encoder, number), atol=1e-6)


def test_words_get_vectors_in_the_same_dimension(encoder: Encoder) -> None:
    vectors = encoder.encode_text(["a boat", "two dogs in the snow", "ein Boot, Жук, 犬"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, DIMENSION)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[1], np.array(words("two dogs in the snow")) / np.linalg.norm(words("a" * 20)))


def test_nothing_in_asks_nothing(encoder: Encoder, service: Service) -> None:
    before = len(service.asked)
    assert encoder.forward([]).shape == (0, DIMENSION)
    assert encoder.encode_text([]).shape == (0, DIMENSION)
    assert len(service.asked) == before


def test_a_start_costs_one_request(encoder: Encoder, service: Service) -> None:
    assert len([asked for asked in service.asked if asked.method == "POST"]) == 1


def test_it_is_known_where_it_runs_and_by_what_name(encoder: Encoder) -> None:
    assert encoder.device == "remote"
    assert encoder.target_size == 512
    assert encoder.scoring is None
    assert encoder.modality is Modality.IMAGES_AND_WORDS
    assert encoder.identity.dimension == DIMENSION


# Names, addresses, identity


@pytest.mark.parametrize("name", [HUGGING_FACE, REPLICATE, REPLICATE + ":75b33f25aa", SELF_HOSTED])
def test_the_name_is_the_collections(name: str, service: Service) -> None:
    service.respond = Predictions(service) if name.startswith("replicate") else self_hosted
    if name == HUGGING_FACE:
        service.respond = hugging_face
    encoder = remote(name, service)
    encoder.load()
    assert encoder.identity.model == model_label(name) == name
    assert collection_name(name).replace("_", "").isascii()


def test_the_fingerprint_is_of_the_name_the_version_and_the_shrinking(service: Service) -> None:
    predictions = Predictions(service)
    service.respond = predictions

    def fingerprint(name: str = REPLICATE, **options: Any) -> str:
        encoder = remote(name, service, **options)
        encoder.load()
        return encoder.identity.fingerprint

    first = fingerprint()
    assert fingerprint() == fingerprint(concurrency=1, timeout=60, patience=1) == first
    others = {fingerprint(side=256), fingerprint(max_bytes=90_000), fingerprint("replicate:someone/clip")}
    predictions.version = "another"
    others.add(fingerprint())
    assert len(others | {first}) == 5
    assert {one.rpartition("-")[2] for one in others} == {"remote"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("huggingface:", "huggingface:openai/clip-vit-base-patch32"),
        ("huggingface:a/b/c", "no model of Hugging Face"),
        ("huggingface:../../whoami", "no model of Hugging Face"),
        ("replicate:clip", "replicate:OWNER/NAME"),
        ("replicate:openai/clip:latest", "replicate:OWNER/NAME"),
        ("self-hosted:a b", "cannot name a model"),
        ("http://clip:8000/embed", "self-hosted:NAME"),
    ],
)
def test_a_name_that_cannot_work_says_how_to_write_it(name: str, says: str, service: Service) -> None:
    with pytest.raises(ConfigurationError, match=says):
        remote(name, service)


def test_a_self_hosted_model_needs_an_address_and_an_address_no_password() -> None:
    with pytest.raises(ConfigurationError, match="SIGHTLINE_REMOTE__URL"):
        make_encoder(SELF_HOSTED)
    with pytest.raises(ConfigurationError, match="password") as raised:
        make_encoder(SELF_HOSTED, remote=RemoteOptions(url="https://me:hunter2@clip/embed"))
    assert "hunter2" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="no address"):
        make_encoder(SELF_HOSTED, remote=RemoteOptions(url="https:///embed"))


# What is particular to one


def test_hugging_face_is_asked_at_its_own_address_without_another(service: Service) -> None:
    encoder = remote(HUGGING_FACE, service, url="")
    assert encoder._service._url == (  # type: ignore[attr-defined]
        "https://router.huggingface.co/hf-inference/models/openai/clip-vit-base-patch32/pipeline/feature-extraction"
    )


def test_without_words_the_sentence_says_so(service: Service) -> None:
    service.respond = self_hosted
    encoder = remote(SELF_HOSTED, service)
    encoder.load()
    assert encoder.modality is Modality.IMAGES
    with pytest.raises(ConfigurationError, match=r"images only.*SIGHTLINE_REMOTE__TEXT_URL"):
        encoder.encode_text(["a boat"])


def test_a_model_that_refuses_words_or_gives_others_says_so(service: Service) -> None:
    service.respond = hugging_face
    encoder = remote(HUGGING_FACE, service)
    encoder.load()
    service.then(Answer(400, {"error": "unknown input"}), Answer(body=[[1, 2, 3]]))
    with pytest.raises(ConfigurationError, match=r"no vector for words \(400: unknown input\)"):
        encoder.encode_text(["a boat"])
    with pytest.raises(ConfigurationError, match="3 numbers for words, and answered 12"):
        encoder.encode_text(["a boat"])


def test_a_multipart_field_can_have_another_name(service: Service) -> None:
    service.respond = lambda asked: Answer(body={"embedding": look(asked.part("file"))})
    encoder = remote(SELF_HOSTED, service, image_field="file")
    encoder.load()
    assert encoder.identity.dimension == DIMENSION


def test_a_prediction_is_polled_and_not_made_twice_however_long_it_takes(service: Service, clock: FakeClock) -> None:
    predictions = Predictions(service)
    service.respond = predictions
    encoder = remote(REPLICATE, service, clock, patience=5)
    encoder.load()
    predictions.polls = 12
    prepared = [encoder.prepare(PICTURES[0])]
    for _ in range(2):
        with pytest.raises(DependencyUnavailable, match="p1 is starting"):
            encoder.forward(prepared)
    assert np.allclose(encoder.forward(prepared)[0], expected(encoder, 0), atol=1e-6)
    assert len(predictions.made) == 2
    predictions.polls = 0
    assert encoder.forward(prepared).shape == (1, DIMENSION)
    assert len(predictions.made) == 3


def test_the_token_is_not_taken_to_an_address_in_an_answer(service: Service) -> None:
    predictions = Predictions(service, polls=2)
    predictions.own_address = False
    service.respond = predictions
    remote(REPLICATE, service).load()
    assert [asked.path for asked in service.asked] == ["/predictions", "/predictions/p0", "/predictions/p0"]


def test_a_forgotten_prediction_is_made_again(service: Service) -> None:
    predictions = Predictions(service, polls=1)
    service.respond = predictions
    encoder = remote(REPLICATE, service)
    encoder.load()

    def forgets_once(asked: Asked) -> Answer:
        if asked.method == "GET" and len(predictions.made) == 2:
            return Answer(404, {"detail": "not found"})
        return predictions(asked)

    service.respond = forgets_once
    encoder.forward([encoder.prepare(PICTURES[0])])
    assert len(predictions.made) == 3


def test_a_new_version_behind_the_name_stops(service: Service) -> None:
    predictions = Predictions(service)
    service.respond = predictions
    encoder = remote(REPLICATE, service)
    encoder.load()
    predictions.version = "c0ffee"
    with pytest.raises(ConfigurationError, match=r"version c0ffee now, and ran 75b33f25"):
        encoder.forward([encoder.prepare(PICTURES[0])])
