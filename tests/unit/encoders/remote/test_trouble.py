"""What a remote encoder does when its service is slow, full, away, broken or does not want us."""

import json
import logging
import socket
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.encoder import SomeFailed
from encoders.registry import make_encoder
from encoders.remote.encoder import BLAMED_AFTER, RemoteEncoder
from encoders.remote.options import HF_TOKEN, RemoteOptions
from encoders.remote.token import Token
from imaging.formats import BadImage
from imaging.samples import draw_scene
from schemas.dead_letter import RejectReason
from schemas.errors import ConfigurationError, DependencyUnavailable
from tests.unit.encoders.remote.service import TOKEN, Answer, Asked, FakeClock, Service, look, options, remote

NAME = "huggingface:openai/clip-vit-base-patch32"
LOADING = Answer(503, {"error": "Model openai/clip-vit-base-patch32 is currently loading", "estimated_time": 20.0})
PICTURES = [draw_scene("city", 120, 90, seed=n) for n in range(6)]


@pytest.fixture
def encoder(service: Service, clock: FakeClock) -> RemoteEncoder:
    encoder = remote(NAME, service, clock)
    encoder.load()
    service.asked.clear()
    clock.slept.clear()
    return encoder


def forward(encoder: RemoteEncoder, numbers: range = range(1)) -> Any:
    return encoder.forward([encoder.prepare(PICTURES[number]) for number in numbers])


def failures(encoder: RemoteEncoder, numbers: range) -> dict[int, Exception]:
    with pytest.raises(SomeFailed) as raised:
        forward(encoder, numbers)
    return dict(raised.value.failures)


def is_picture(encoder: RemoteEncoder, number: int) -> Callable[[Asked], bool]:
    jpeg = encoder.prepare(PICTURES[number]).tobytes()
    return lambda asked: asked.data == jpeg


def always(answer: Answer) -> Callable[[Asked], Answer]:
    return lambda asked: answer


# Cold starts, rate limits, outages


def test_a_start_waits_out_a_cold_model_and_says_that_it_waits(service: Service, clock: FakeClock) -> None:
    told: list[str] = []
    service.then(LOADING, LOADING)
    encoder = remote(NAME, service, clock, notice=told.append, start_patience=300)
    encoder.load()
    assert clock.slept == pytest.approx([20, 20])
    assert len(told) == 2
    assert "is currently loading" in told[0]
    assert "20 s" in told[0]
    assert forward(encoder).shape == (1, 12)


def test_the_first_answers_are_waited_for_as_long_as_the_start(service: Service, clock: FakeClock) -> None:
    encoder = remote(NAME, service, clock, start_patience=300, patience=15)
    encoder.load()
    minute = Answer(429, None, {"Retry-After": "60"})
    service.then(minute)
    assert forward(encoder, range(4)).shape == (4, 12)
    service.then(minute)
    with pytest.raises(DependencyUnavailable):
        forward(encoder)


def test_a_model_that_never_starts_ends_the_start_with_a_sentence(service: Service, clock: FakeClock) -> None:
    service.respond = lambda asked: LOADING
    with pytest.raises(DependencyUnavailable, match="currently loading") as raised:
        remote(NAME, service, clock, start_patience=50).load()
    assert raised.value.dependency == "huggingface"
    assert sum(clock.slept) <= 50


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "9"},
        {"Retry-After": "Sat, 14 Mar 2026 15:00:09 GMT", "Date": "Sat, 14 Mar 2026 15:00:00 GMT"},
    ],
)
def test_a_rate_limit_is_waited_out_as_long_as_it_asks(
    headers: dict[str, str], encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    service.then(Answer(429, {"error": "Rate limit reached"}, headers))
    assert forward(encoder).shape == (1, 12)
    assert clock.slept == pytest.approx([9])


def test_a_long_limit_is_told_to_the_stage_and_nothing_is_sent_meanwhile(
    encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    service.then(Answer(429, {"error": "Rate limit reached"}, {"Retry-After": "600"}))
    for _ in range(3):
        with pytest.raises(DependencyUnavailable, match=r"Rate limit reached; the next attempt .* 600 s"):
            forward(encoder)
    assert len(service.asked) == 1
    clock.time += 601
    assert forward(encoder).shape == (1, 12)


def test_a_limit_met_by_one_thread_holds_the_others_back(
    encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    service.respond = lambda asked: Answer(429, None, {"Retry-After": "600"})
    assert all(isinstance(one, DependencyUnavailable) for one in failures(encoder, range(6)).values())
    assert len(service.asked) <= 4, "not more than were on their way at once"


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(500, {"error": "Internal Error"}),
        Answer(502, "<html>Bad Gateway</html>"),
        Answer(503, None),
        Answer(504, ""),
        Answer(529, {}),
        Answer(408, {}),
        Answer(200, "<html>a captive portal</html>"),
        Answer(200, "[" * 100_000),
        Answer(404, {"error": "Not Found"}),
    ],
    ids=lambda answer: f"{answer.status}",
)
def test_passing_trouble_is_asked_again_after_growing_pauses(
    trouble: Answer, encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    service.then(trouble, trouble, trouble)
    assert np.allclose(np.linalg.norm(forward(encoder)), 1, atol=1e-5)
    assert len(service.asked) == 4
    assert clock.slept == sorted(clock.slept)
    assert len(clock.slept) == 3


def test_a_server_that_is_gone_is_an_outage_and_comes_back(
    encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    healthy, encoder._service._url = encoder._service._url, nobody  # type: ignore[attr-defined]
    with pytest.raises(DependencyUnavailable, match=r"127\.0\.0\.1:\d+ cannot be reached") as raised:
        forward(encoder)
    assert "status page" in raised.value.remedy
    assert sum(clock.slept) <= 15
    encoder._service._url = healthy  # type: ignore[attr-defined]
    clock.time += 60
    assert forward(encoder).shape == (1, 12)


def test_a_server_that_hangs_is_given_up_and_asked_again(service: Service, clock: FakeClock) -> None:
    encoder = remote(NAME, service, clock, timeout=1, patience=300)
    encoder.load()
    service.asked.clear()
    release = threading.Event()

    def hangs_once(asked: Asked) -> Answer:
        service.respond = lambda later: Answer(body=look(later.data))
        release.wait(60)
        return Answer(body=[0] * 12)

    service.respond = hangs_once
    try:
        vector = forward(encoder)[0]
    finally:
        release.set()
    assert len(service.asked) >= 2
    assert np.allclose(vector, forward(encoder)[0])


def test_a_service_that_hangs_holds_a_batch_only_once(
    encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    def hangs(asked: Asked) -> Answer:
        clock.time += 60
        return Answer(500, {"error": "timeout inside"})

    service.respond = hangs
    away = {at: failure for part in range(3) for at, failure in failures(encoder, range(6)).items()}
    assert all(isinstance(one, DependencyUnavailable) for one in away.values())
    assert len(service.asked) <= 3 * 4, "one request for each thread"
    service.respond = lambda asked: Answer(body=look(asked.data))
    assert forward(encoder, range(6)).shape == (6, 12)


@pytest.mark.parametrize("shared", [True, False])
def test_without_any_patience_in_hand_each_turn_asks_once(shared: bool, service: Service, clock: FakeClock) -> None:
    encoder = remote(NAME, service, clock, patience=0, concurrency=1)
    encoder.load()
    service.asked.clear()

    def fails(asked: Asked) -> Answer:
        clock.time += 1
        return Answer(503 if shared else 500, {"error": "busy"})

    service.respond = fails
    for turn in range(1, 5):
        assert len(failures(encoder, range(3))) == 3
        assert len(service.asked) == turn
        clock.time += 60
    service.respond = lambda asked: Answer(body=look(asked.data))
    assert forward(encoder, range(3)).shape == (3, 12)


def test_a_slow_service_that_answers_is_no_outage(encoder: RemoteEncoder, service: Service, clock: FakeClock) -> None:
    def slow(asked: Asked) -> Answer:
        clock.time += 60
        return Answer(body=look(asked.data))

    service.respond = slow
    assert forward(encoder, range(6)).shape == (6, 12)


def test_a_connection_that_breaks_off_is_tried_again(
    encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    service.then(Answer(200, "[1, 2", {"Content-Length": "5000", "Connection": "close"}))
    assert forward(encoder).shape == (1, 12)


def test_words_wait_as_images_do(encoder: RemoteEncoder, service: Service, clock: FakeClock) -> None:
    service.respond = lambda asked: Answer(body=list(range(12)))
    service.then(Answer(429, None, {"Retry-After": "3"}), Answer(503, None, {"Retry-After": "600"}))
    with pytest.raises(DependencyUnavailable):
        encoder.encode_text(["a boat"])
    assert clock.slept == pytest.approx([3])
    clock.time += 600
    assert encoder.encode_text(["a boat"]).shape == (1, 12)


def test_no_more_requests_are_under_way_than_allowed(service: Service) -> None:
    def slow(asked: Asked) -> Answer:
        threading.Event().wait(0.02)
        return Answer(body=look(asked.data))

    service.respond = slow
    encoder = remote(NAME, service, concurrency=3)
    encoder.load()
    with ThreadPoolExecutor(2) as threads:  # a bulk of pictures, and what people search for
        list(threads.map(lambda _: encoder.forward([encoder.prepare(PICTURES[n % 6]) for n in range(15)]), range(2)))
    assert 2 <= service.most_busy <= 3


# One picture's own fault


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_refused_picture_is_rejected_alone(status: int, encoder: RemoteEncoder, service: Service) -> None:
    broken = is_picture(encoder, 2)
    service.respond = lambda asked: (
        Answer(status, {"error": "cannot identify image"}) if broken(asked) else Answer(body=look(asked.data))
    )
    with pytest.raises(SomeFailed) as raised:
        forward(encoder, range(5))
    assert set(raised.value.failures) == {2}
    failure = raised.value.failures[2]
    assert isinstance(failure, BadImage)
    assert failure.reason is RejectReason.REFUSED_BY_ENCODER
    assert f"{status}: cannot identify image" in failure.detail
    assert np.allclose(np.linalg.norm(raised.value.vectors[[0, 1, 3, 4]], axis=1), 1, atol=1e-5)


def test_a_lone_refusal_is_believed_when_the_control_picture_is_taken(encoder: RemoteEncoder, service: Service) -> None:
    service.then(Answer(422, {"error": "no"}))
    with pytest.raises(BadImage):
        forward(encoder)
    assert len(service.asked) == 2


def test_a_service_that_refuses_everything_is_away_and_no_picture_is_blamed(
    encoder: RemoteEncoder, service: Service
) -> None:
    service.respond = lambda asked: Answer(400, {"error": "bad request"})
    assert all(isinstance(one, DependencyUnavailable) for one in failures(encoder, range(4)).values())


@pytest.mark.parametrize(
    "answer",
    [Answer(500, {"error": "Internal Error"}), Answer(body=[float("nan")] * 12), Answer(body=[0] * 12)],
    ids=["500", "NaN", "zeros"],
)
def test_a_picture_on_which_the_service_always_fails_does_not_block_the_others_for_ever(
    answer: Answer, encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    broken = is_picture(encoder, 1)
    service.respond = lambda asked: answer if broken(asked) else Answer(body=look(asked.data))
    seen: list[Exception] = []
    while not any(isinstance(one, BadImage) for one in seen):
        seen += failures(encoder, range(3)).values()
        clock.time += 60
    assert isinstance(seen[-1], BadImage)
    assert f"failed {BLAMED_AFTER} times" in seen[-1].detail
    assert sum(broken(asked) for asked in service.asked) == BLAMED_AFTER


def test_while_the_service_fails_on_everything_no_picture_is_blamed(
    encoder: RemoteEncoder, service: Service, clock: FakeClock
) -> None:
    service.respond = lambda asked: Answer(500, {"error": "Internal Error"})
    for _ in range(8):
        assert all(isinstance(one, DependencyUnavailable) for one in failures(encoder, range(3)).values())
        clock.time += 60
    service.respond = lambda asked: Answer(body=look(asked.data))
    assert forward(encoder, range(3)).shape == (3, 12)


# What a person must mend


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(401, {"error": "Invalid credentials"}), r"does not accept the token in HF_TOKEN \(401: Invalid"),
        (Answer(403, {"detail": "no access"}), r"does not accept the token in HF_TOKEN \(403: no access"),
        (Answer(402, {"error": "monthly credits exceeded"}), "be paid"),
        (Answer(302, None, {"Location": "https://login.example/x"}), r"login\.example.*SIGHTLINE_REMOTE__URL"),
        (Answer(200, [1.0, 2.0]), "2 numbers for images, and answered 12 for a picture at the start"),
    ],
    ids=["401", "403", "402", "302", "dimension"],
)
def test_it_stops_with_a_sentence(answer: Answer, says: str, encoder: RemoteEncoder, service: Service) -> None:
    service.respond = lambda asked: answer
    with pytest.raises(ConfigurationError, match=says):
        forward(encoder)
    service.asked.clear()
    stopped = failures(encoder, range(6))
    assert all(isinstance(one, ConfigurationError) for one in stopped.values())
    assert len(service.asked) <= 4, "nothing more is sent once one has stopped"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(401, {"error": "Invalid"}), "HF_TOKEN"),
        (Answer(404, {"error": "Not Found"}), "check that the name is right"),
        (Answer(400, {"error": "no image pipeline"}), "no vector for a plain picture"),
        (Answer(200, [[[0.1, 0.2], [0.3, 0.4]]]), "one vector for each token"),
        (Answer(200, "<html>"), "no JSON"),
        (Answer(200, [float("nan")]), "nan at position 0"),
    ],
    ids=["401", "404", "400", "tokens", "HTML", "NaN"],
)
def test_a_start_that_cannot_work_says_why(answer: Answer, says: str, service: Service, clock: FakeClock) -> None:
    service.respond = lambda asked: answer
    with pytest.raises(ConfigurationError, match=says):
        remote(NAME, service, clock).load()
    assert len(service.asked) == 1


def test_without_a_token_nothing_is_sent() -> None:
    for name, variable in ((NAME, "HF_TOKEN"), ("replicate:openai/clip", "REPLICATE_API_TOKEN")):
        with pytest.raises(ConfigurationError, match=f"{variable} is not set"):
            make_encoder(name, remote=RemoteOptions()).load()


# Money


def test_the_budget_counts_every_request_that_may_cost_and_no_other(
    encoder: RemoteEncoder, service: Service, clock: FakeClock, tmp_path: Path
) -> None:
    priced = remote(
        NAME, service, clock, ledger=tmp_path / "spent.json", budget_images=100, dollars_per_image=0.01, patience=300
    )
    priced.load()
    assert priced._budget.spent().images == 1
    # Free: a limit, a cold start. Perhaps paid for: an error inside the model, a gateway that gave up.
    service.then(Answer(429, None), LOADING, Answer(500, None), Answer(504, None))
    forward(priced)
    assert priced._budget.spent().images == 4
    assert priced._budget.spent().dollars == pytest.approx(0.04)


def test_a_spent_budget_stops_and_stays_spent_after_a_restart(
    service: Service, clock: FakeClock, tmp_path: Path
) -> None:
    def start() -> RemoteEncoder:
        encoder = remote(NAME, service, clock, ledger=tmp_path / "spent.json", budget_images=4)
        encoder.load()
        return encoder

    stopped = failures(start(), range(6))
    assert len(stopped) == 3
    assert all("SIGHTLINE_REMOTE__BUDGET_IMAGES" in str(one) for one in stopped.values())
    with pytest.raises(ConfigurationError, match="SIGHTLINE_REMOTE__BUDGET_IMAGES"):
        start()
    assert len(service.asked) == 4


# The secret


def test_the_token_is_in_the_header_and_nowhere_else(
    service: Service, clock: FakeClock, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    encoder = remote(NAME, service, clock, notice=told.append, budget_images=1000, start_patience=300)
    shown = [repr(options(service)), repr(vars(encoder)), repr(vars(encoder._connection)), repr(service)]
    service.then(LOADING)
    encoder.load()
    for answer in (
        Answer(401, {"error": f"Bearer {TOKEN} is not valid"}),
        Answer(400, f"you sent Authorization: Bearer {TOKEN}"),
        Answer(200, TOKEN),
        Answer(500, {"error": TOKEN}),
        Answer(418, TOKEN),
        Answer(200, {TOKEN: 1}),
        Answer(200, {"embedding": TOKEN}),
    ):
        service.respond = always(answer)
        clock.time += 100
        for work in (lambda: forward(encoder), lambda: encoder.encode_text(["x"]), remote(NAME, service, clock).load):
            try:
                work()
            except Exception as error:
                shown.append("".join(traceback.format_exception(error)))
    assert len(shown) == 4 + 7 * 3
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in service.asked)
    assert TOKEN not in "".join([*shown, *told, caplog.text, *capfd.readouterr()])


@pytest.mark.parametrize("value", [f"{TOKEN}\nX-Other: 1", f"{TOKEN} {TOKEN}", f"{TOKEN}é"])
def test_a_token_that_is_none_is_not_cited(value: str, service: Service) -> None:
    with pytest.raises(ConfigurationError, match="HF_TOKEN has characters") as raised:
        remote(NAME, service, tokens={HF_TOKEN: Token(HF_TOKEN, value)}).load()
    assert TOKEN not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("token", ["abc/def+123", 'ab\\cd"ef'])
@pytest.mark.parametrize("status", [200, 401, 404])
@pytest.mark.parametrize("key", ["error", "embedding", "other"])
def test_a_token_is_hidden_behind_the_escapes_of_json_too(
    token: str, status: int, key: str, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    said = json.dumps({key: f"Bearer {token}"}).replace("/", "\\/")
    service.respond = lambda asked: Answer(status, said)
    with pytest.raises(ConfigurationError) as raised:
        remote(NAME, service, tokens={HF_TOKEN: Token(HF_TOKEN, token)}).load()
    for form in (token, json.dumps(token)[1:-1], token.replace("/", "\\/"), repr(token)[1:-1]):
        assert form not in str(raised.value) + caplog.text


def test_a_line_break_at_the_end_of_a_token_is_forgiven(service: Service) -> None:
    remote(NAME, service, tokens={HF_TOKEN: Token(HF_TOKEN, TOKEN + "\n")}).load()
    assert service.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
