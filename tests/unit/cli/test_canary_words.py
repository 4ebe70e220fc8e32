"""The canary of a model that somebody else runs, whose words go to an address of their own or may be refused."""

from pathlib import Path

import pytest

from cli.canary import CanaryCheck
from cli.parts import Parts
from encoders.canary import GOLDEN, GOLDEN_IMAGES
from encoders.encoder import TakesNoWords
from encoders.engine import EncoderEngine
from encoders.registry import make_encoder
from encoders.remote.options import HF_TOKEN, SELF_HOSTED_TOKEN, RemoteOptions
from encoders.remote.token import Token
from runtime.settings import load_settings
from schemas.errors import ConfigurationError
from stores.edge import EdgeIndex
from tests.unit.encoders.remote.service import Answer, Asked, Service, look, running, words

SELF_HOSTED, HUGGING_FACE = "self-hosted:x", "huggingface:a/b"


class Writer:
    """An embedder as far as the canary goes, and a service whose answers for words can be replaced."""

    def __init__(self, model: str, index: EdgeIndex, folder: Path, service: Service) -> None:
        self.instead: Answer | None = None
        self._model, self._index, self._service = model, index, service
        self._settings = load_settings({}, data_dir=folder, encoder__model=model, remote__url=service.url + "/embed")
        service.respond = self._respond

    async def start(self) -> list[str]:
        """The golden inputs that the collection keeps afterwards."""
        url, variable = self._service.url, SELF_HOSTED_TOKEN if self._model == SELF_HOSTED else HF_TOKEN
        remote = RemoteOptions(
            url=url + "/embed", text_url=url + "/text", tokens={variable: Token(variable, "abc")}, start_patience=1
        )
        encoder = make_encoder(self._model, remote=remote)
        async with EncoderEngine(encoder, batch_size=4, decode_threads=1) as engine:
            await CanaryCheck(self._index, engine, Parts.make(self._settings), writes=True).start()
        stored = await self._index.metadata()
        assert stored is not None
        assert stored.canary is not None
        return list(stored.canary.vectors)

    def _respond(self, asked: Asked) -> Answer:
        text = asked.json() if asked.headers["content-type"] == "application/json" else None
        if text is not None:
            return self.instead or Answer(body={"embedding": words(text.get("text") or text["inputs"])})
        return Answer(body={"embedding": look(asked.part("image") if self._model == SELF_HOSTED else asked.data)})


@pytest.mark.parametrize(
    ("instead", "says"),
    [
        (Answer(body={"embedding": [1.0, 2.0, 3.0]}), "3 numbers for words"),
        (Answer(401, {"error": "no"}), "does not accept the token"),
        (Answer(body={"nothing": 1}), r"no 'embedding'.*SIGHTLINE_REMOTE__TEXT_URL says that it takes them"),
        (Answer(422, {"detail": "no"}), "SIGHTLINE_REMOTE__TEXT_URL says that it takes them"),
    ],
    ids=["another dimension", "401", "no vector", "422"],
)
@pytest.mark.parametrize("began_well", [True, False])
async def test_words_that_were_promised_and_fail_stop_the_writer(
    tmp_path: Path, instead: Answer, says: str, began_well: bool
) -> None:
    with running(Service()) as service:
        async with EdgeIndex(tmp_path / "index", "images__x") as index:
            writer = Writer(SELF_HOSTED, index, tmp_path, service)
            if began_well:
                assert await writer.start() == list(GOLDEN)
            writer.instead = instead
            with pytest.raises(ConfigurationError, match=says):
                await writer.start()


async def test_a_model_elsewhere_may_know_images_only_but_does_not_forget_words(tmp_path: Path) -> None:
    with running(Service()) as service:
        async with EdgeIndex(tmp_path / "index", "images__b") as index:
            writer = Writer(HUGGING_FACE, index, tmp_path, service)
            writer.instead = Answer(400, {"error": "unknown input"})
            assert await writer.start() == list(GOLDEN_IMAGES)
            writer.instead = None
            assert await writer.start() == list(GOLDEN)
            writer.instead = Answer(400, {"error": "unknown input"})
            with pytest.raises(TakesNoWords, match=r"no vector for words \(400: unknown input\)"):
                await writer.start()
