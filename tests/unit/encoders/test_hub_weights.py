"""What is said when the hub refuses a download, and models whose files lie in more than one repository."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from encoders.presence import Where, look_up, presence_of
from tests.unit.encoders.hub import Hub
from tests.unit.encoders.loading import loaded, refusal
from tests.unit.encoders.stand_in_tokenizer import tokenizer_files
from tests.unit.encoders.tiny_model import VISION

TOWER = "someone/tower"
B32, REPOSITORY = "ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
TOKEN = "hf_secrethunter2"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path / "hub", monkeypatch)


@pytest.fixture
def answering(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """A hub that can be reached, and answers everything with the status that it is given."""
    status = 200

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            # A service that cites what it was sent.
            self.send_header("X-Error-Message", f"not with {self.headers.get('authorization')}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    def answer(with_status: int) -> None:
        nonlocal status
        status = with_status

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield answer
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("name", "repository"), [(B32, REPOSITORY), ("hf-hub:someone/tiny", "someone/tiny")])
@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "127.0.0.1 refuses them (401). Ask for access on the repository's page where there is a form for it"),
        (403, "127.0.0.1 refuses them (403). Ask for access on the repository's page where there is a form for it"),
        (404, "127.0.0.1 has none of them (404). Check the name"),
    ],
)
def test_weights_that_the_hub_refuses_are_named_with_what_to_do(
    hub: Hub, answering: Callable[[int], None], name: str, repository: str, status: int, says: str
) -> None:
    answering(status)
    sentence = refusal(name)
    sought = "looked for open_clip_model.safetensors or open_clip_pytorch_model.bin of"
    assert f"{sought} {repository} in {hub.folder}/models--{repository.replace('/', '--')}, and {says}" in sentence
    assert f"hf download {repository} --include 'open_clip*' --include '*token*'" in sentence
    assert ("HF_TOKEN or run `hf auth login`" in sentence) == (status != 404)
    assert "complete and made for this architecture" not in sentence
    assert TOKEN not in sentence


def test_weights_of_another_name_are_fetched_and_found_by_it(hub: Hub, tmp_path: Path) -> None:
    sentence = refusal("ViTamin-S/datacomp1b")
    command = "hf download jienengchen/ViTamin-S --include 'open_clip*' --include 'pytorch_model.*' --include '*token*'"
    assert f"looked for pytorch_model.safetensors or pytorch_model.bin of jienengchen/ViTamin-S in {hub.folder}" in (
        sentence
    )
    assert f"run `{command}`; to bring them here" in sentence
    assert "--model ViTamin-S//path/to/FOLDER" in sentence
    assert presence_of(look_up("ViTamin-S/datacomp1b")).remedy == command
    path = hub.add("jienengchen/ViTamin-S", "pytorch_model.bin", b"weights")
    presence = presence_of(look_up("ViTamin-S/datacomp1b"))
    assert (presence.where, presence.path) == (Where.ON_DISK, path)


# Text towers from another repository


@pytest.fixture
def towered(tmp_path: Path) -> Path:
    """A model whose text tower is described elsewhere, with its tokenizer; `tower` beside it has the description."""
    pytest.importorskip("transformers")
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    sizes = {"vocab_size": 2000, "max_position_embeddings": 90, "type_vocab_size": 1, "pad_token_id": 0}
    tower, folder = tmp_path / "tower", tmp_path / "towered"
    tower.mkdir()
    folder.mkdir()
    (tower / "config.json").write_text(json.dumps({"model_type": "roberta", **shape, **sizes}))
    text = {"hf_model_name": TOWER, "hf_tokenizer_name": TOWER, "hf_pooler_type": "mean_pooler"}
    model = {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    for name, content in tokenizer_files(step=10).items():
        (folder / name).write_bytes(content)
    made_text = open_clip.CLIPTextCfg(**{**text, "hf_model_name": str(tower)}, hf_model_pretrained=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = open_clip.CustomTextCLIP(48, open_clip.CLIPVisionCfg(**VISION), made_text)
    save_file(made.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def test_a_missing_text_tower_is_named_with_the_command_that_gets_it(hub: Hub, towered: Path) -> None:
    sentence = refusal(towered)
    assert f"looked for config.json of {TOWER} in {hub.folder}/models--someone--tower, and downloads are" in sentence
    assert f"run `hf download {TOWER} --include 'config.json' --include '*token*'`" in sentence


def test_a_text_tower_in_the_cache_is_used_without_asking_the_hub(
    hub: Hub, towered: Path, answering: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(404)
    assert f"of {TOWER} in {hub.folder}/models--someone--tower, and 127.0.0.1 has none of them (404)" in refusal(
        towered
    )
    path = hub.add(TOWER, "config.json", towered.with_name("tower") / "config.json")
    encoder = loaded(towered)
    assert encoder._model.text.config._name_or_path == str(path.parent)
    words = encoder.encode_text(["a boat", "two dogs"])
    assert not np.allclose(words[0], words[1], atol=1e-3)
    elsewhere = Hub(hub.folder.with_name("elsewhere"), monkeypatch)
    elsewhere.add(TOWER, "config.json", towered.with_name("tower") / "config.json")
    assert loaded(towered).identity == encoder.identity, "where the cache is decides nothing"


def test_the_commands_for_weights_bring_the_text_tower_too(hub: Hub) -> None:
    name, tag = "xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k"
    tower = "hf download xlm-roberta-base --include 'config.json' --include '*token*'"
    assert f"and `{tower}`" in refusal(f"{name}/{tag}")
    assert presence_of(look_up(f"{name}/{tag}")).remedy.endswith(f" && {tower}")
    hub.add("xlm-roberta-base", "config.json", b"{}")
    assert tower not in refusal(f"{name}/{tag}")
    assert tower not in presence_of(look_up(f"{name}/{tag}")).remedy
