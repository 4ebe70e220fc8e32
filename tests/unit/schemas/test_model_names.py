import pytest

from schemas.collection import collection_name, model_label


@pytest.mark.parametrize(
    ("chosen", "label"),
    [
        ("hashing", "hashing"),
        ("ViT-B-32/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-B-32//models/ours.v2.pt", "ViT-B-32/ours.v2"),
        ("ViT-B-32/./ours.safetensors", "ViT-B-32/ours"),
        ("ViT-B-32/~/checkpoints/run.3", "ViT-B-32/run.3"),
        ("/models/our.model", "our.model"),
        ("hf-hub:org/repo", "org/repo"),
    ],
)
def test_a_model_is_called_the_same_wherever_its_weights_lie(chosen: str, label: str) -> None:
    assert model_label(chosen) == label


def test_a_collection_has_one_name_for_a_model_on_every_machine() -> None:
    assert collection_name("ViT-B-32//a/ours.pt") == collection_name("ViT-B-32//b/c/ours.pt") == "images__ViT-B-32_ours"
