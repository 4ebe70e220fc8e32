import subprocess
import sys

import pytest

from encoders.registry import make_encoder
from schemas.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hashin", "did you mean hashing?"),
        ("ViT-B-32/laion2b_s34b_b79", "did you mean ViT-B-32/laion2b_s34b_b79k"),
        ("vit-b-32/openai", "did you mean ViT-B-32/openai"),
        ("", "sightline-small, hashing, filename-tags, ViT-B-32/laion2b_s34b_b79k"),
        ("nonsense", "`sightline models` says what each is for"),
        ("ViT-B-32", "one of ViT-B-32/laion2b_s34b_b79k, ViT-B-32/laion400m_e32, ViT-B-32/openai"),
        ("ViT-B/16", "one of ViT-B-16/laion2b_s34b_b88k, ViT-B-16/openai"),
        ("ViT-L-14", "one of ViT-L-14/datacomp_xl_s13b_b90k, ViT-L-14/laion2b_s32b_b82k, ViT-L-14/openai"),
        ("google/siglip2-so400m-patch16-512", "is called ViT-SO400M-16-SigLIP2-512/webli here"),
    ],
)
def test_an_unknown_name_is_refused_with_close_matches_and_the_usual_names(name: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_encoder(name)
    assert words in str(caught.value)


def test_the_hashing_encoder_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['open_clip'] = None\n"
        "from PIL import Image\n"
        "import encoders.engine\n"
        "from encoders.registry import make_encoder\n"
        "from schemas.errors import ConfigurationError\n"
        "e = make_encoder('hashing'); e.load()\n"
        "print(e.forward([e.prepare(Image.new('RGB', (9, 9)))]).shape)\n"
        "try: make_encoder('ViT-B-32/openai')\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "(1, 256)" in done.stdout
    assert "install 'sightline[embedder]'" in done.stdout
