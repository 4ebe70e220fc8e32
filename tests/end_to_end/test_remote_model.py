"""A folder indexed by a model that runs elsewhere, as its users meet it: cold, limited, paid for."""

import base64
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from imaging.samples import draw_samples
from tests.end_to_end.running import run_command, sightline, wait_for
from tests.unit.encoders.remote.service import TOKEN, Answer, Asked, Service, look, running, words

MODEL = "self-hosted:clip-vit-l-14"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    draw_samples(folder, 8, seed=9, sizes=((1600, 1200),))
    return folder


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    one.respond = lambda asked: Answer(body={"embedding": look(asked.part("image"))})
    with running(one):
        yield one


def environment(service: Service, **more: str) -> dict[str, str]:
    settings = {"URL": f"{service.url}/embed", "TOKEN": TOKEN, "MAX_BYTES": "20000", "PATIENCE": "0", "SIDE": "128"}
    return {f"SIGHTLINE_REMOTE__{name}": value for name, value in (settings | more).items()}


def test_everything_is_found_although_the_service_starts_cold_and_limits_us(
    photos: Path, service: Service, tmp_path: Path
) -> None:
    refused = photos / "refused.png"
    Image.new("RGB", (64, 64), (255, 0, 255)).save(refused)
    cold = Answer(503, {"error": "Model clip is currently loading", "estimated_time": 0.6})
    limited = Answer(429, {"error": "Rate limit reached"}, {"Retry-After": "1"})
    embeds, answers = service.respond, [cold, cold]

    def respond(asked: Asked) -> Answer:
        with contextlib.suppress(IndexError):  # of two at once, each takes another
            return answers.pop()
        if min(look(asked.part("image"))[0::3]) > 250 and max(look(asked.part("image"))[1::3]) < 10:
            return Answer(422, {"error": "not safe"})
        return embeds(asked)

    service.respond = respond
    variables = environment(service)
    with sightline(
        "up", photos, "--model", MODEL, "--port", "0", data_dir=tmp_path / "data", environment=variables
    ) as up:
        wait_for(lambda: len(up.images()) + len(up.images("rejected")) == 9, "nine judgements")
        assert set(up.images("rejected")) == {"refused.png"}
        # The first answers are waited for in hand, so a limit tells its tale only from here on.
        answers += [limited, limited]
        late, *_ = draw_samples(tmp_path / "late", 1, seed=10, sizes=((1600, 1200),))
        late.rename(photos / f"late-{late.name}")
        wait_for(lambda: len(up.images()) == 9, "the picture that came later")
        for path in photos.iterdir():
            if path != refused:
                assert up.best(path.read_bytes()) == path.name
        assert up.metric("sightline_retries_total", stage="embedder", dependency="self-hosted") > 0
        wait_for(lambda: up.metric("sightline_waiting_for_dependency") == 0, "the end of all waiting")
        metrics = up.client.get(f"{up.url}/metrics").text
        assert up.stop() == 0
    log = up.log.read_text()
    assert "Model clip is currently loading" in log, "the start says why it takes long"
    assert TOKEN not in log + metrics + run_command("config", environment=variables).stdout
    sent = [asked.part("image") for asked in service.asked]
    assert max(map(len, sent)) <= 20_000
    assert {Image.open(io.BytesIO(jpeg)).format for jpeg in sent} == {"JPEG"}
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in service.asked)


def test_a_spent_budget_ends_the_pass_and_a_larger_one_goes_on(photos: Path, service: Service, tmp_path: Path) -> None:
    def index(budget: int) -> tuple[int, str, str]:
        variables = environment(service, BUDGET_IMAGES=str(budget), CONCURRENCY="2")
        done = run_command(
            "index", photos, "--model", MODEL, "--data-dir", tmp_path / "data", "--json", environment=variables
        )
        return done.returncode, done.stdout, done.stderr

    code, _, said = index(9)
    assert code == 2, said
    assert "SIGHTLINE_REMOTE__BUDGET_IMAGES" in said
    assert "Traceback" not in said
    assert len(service.asked) == 9, "not one request more"
    code, _, said = index(9)
    assert code == 2, said
    assert len(service.asked) == 9, "a restart begins no new budget"
    code, report, said = index(1000)
    assert code == 0, said
    assert json.loads(report)["counts"]["indexed"] == 8
    spent = json.loads((tmp_path / "data" / "remote-spent.json").read_text())
    assert spent["images"] == len(service.asked)


def test_a_token_that_is_not_accepted_stops_with_a_sentence(photos: Path, service: Service, tmp_path: Path) -> None:
    service.respond = lambda asked: Answer(401, {"error": f"Invalid: {asked.headers['authorization']}"})
    done = run_command(
        "index", photos, "--model", MODEL, "--data-dir", tmp_path / "data", environment=environment(service)
    )
    assert done.returncode == 2
    assert "does not accept the token in SIGHTLINE_REMOTE__TOKEN" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_replicate_is_asked_with_its_own_token(photos: Path, service: Service, tmp_path: Path) -> None:
    def predict(asked: Asked) -> Answer:
        given = asked.json()["input"]
        head, _, data = given.get("image", "").partition(",")
        assert head == ("" if "text" in given else "data:image/jpeg;base64")
        output = {"embedding": words(given["text"]) if "text" in given else look(base64.b64decode(data))}
        return Answer(201, {"id": "p", "status": "succeeded", "version": "75b33f", "output": output})

    service.respond = predict
    variables = {"REPLICATE_API_TOKEN": TOKEN, "SIGHTLINE_REMOTE__URL": service.url}
    done = run_command(
        "index",
        photos,
        "--model",
        "replicate:openai/clip-vit-large-patch14",
        "--data-dir",
        tmp_path / "data",
        "--json",
        environment=variables,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["indexed"] == 8
    assert {asked.headers["authorization"] for asked in service.asked} == {f"Bearer {TOKEN}"}
