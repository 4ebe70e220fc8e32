"""The Dockerfile, as far as reading it can tell: its stages, and the images that it makes."""

import json
import re
from dataclasses import dataclass

from tests.repository.files import ROOT, project

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Stage:
    """A stage: what it begins with, and its instructions."""

    name: str
    base: str
    lines: tuple[str, ...]


def stages() -> dict[str, Stage]:
    """Every stage, by name, in order."""
    found: dict[str, Stage] = {}
    for part in re.split(r"^FROM ", TEXT, flags=re.MULTILINE)[1:]:
        head, _, rest = part.partition("\n")
        base, _, name = head.partition(" AS ")
        lines = tuple(line for line in rest.splitlines() if line and not line.startswith("#"))
        found[name.strip()] = Stage(name.strip(), base.strip(), lines)
    return found


def targets() -> dict[str, Stage]:
    """The stages that are images to run."""
    return {name: stage for name, stage in stages().items() if stage.base == "runtime"}


def command_of(target: str) -> list[str]:
    """What an image runs if nobody says otherwise, after `sightline`."""
    (line,) = [line for line in targets()[target].lines if line.startswith("CMD ")]
    command: list[str] = json.loads(line.removeprefix("CMD "))
    return command


def extra_of(target: str) -> str:
    """The extra that is installed in an image."""
    (line,) = [line for line in targets()[target].lines if line.startswith("COPY ")]
    (source,) = re.findall(r"--from=([\w-]+) /opt/sightline /opt/sightline$", line)
    (install,) = [line for line in stages()[source].lines if line.startswith("RUN ")]
    (extra,) = re.findall(r'uv pip install --constraint requirements\.lock "\.\[([\w,-]+)\]"$', install)
    return str(extra)


def requirements_of(extra: str) -> set[str]:
    """The names of what an extra, or several with commas, asks for, with those of the extras that it refers to."""
    wanted: set[str] = set()
    if "," in extra:
        return set().union(*(requirements_of(one) for one in extra.split(",")))
    for requirement in project()["project"]["optional-dependencies"][extra]:
        own = re.fullmatch(r"sightline\[([\w,-]+)\]", requirement)
        if own:
            wanted |= set().union(*(requirements_of(one) for one in own.group(1).split(",")))
        else:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert match, requirement
            wanted.add(match.group())
    return wanted


IMPORTED_AS = {
    "boto3": ["boto3", "botocore"],
    "nvidia-ml-py": ["pynvml"],
    "open_clip_torch": ["open_clip"],
    "opentelemetry-exporter-otlp-proto-http": ["opentelemetry.exporter"],
    "opentelemetry-sdk": ["opentelemetry.sdk"],
    "pillow": ["PIL"],
    "pillow-heif": ["pillow_heif"],
    "qdrant-client": ["qdrant_client"],
    "qdrant-edge-py": ["qdrant_edge"],
    "pyarrow": ["pyarrow"],
    "torch": ["torch"],
    "torchvision": ["torchvision"],
    "watchfiles": ["watchfiles"],
}
"""What a requirement is called where it is imported."""


def missing_in(target: str) -> list[str]:
    """The modules that other images have and this one lacks."""
    everything = set().union(*(requirements_of(extra_of(one)) for one in targets()))
    lacking = everything - requirements_of(extra_of(target))
    modules = [module for name in lacking for module in IMPORTED_AS[name]]
    # These come with open_clip only.
    return sorted([*modules, *(["transformers", "timm", "huggingface_hub"] if "torch" in lacking else [])])


def in_image(target: str) -> str:
    """A Python program that is the `sightline` of an image: what the image lacks cannot be imported."""
    return (
        f"import sys; sys.modules.update(dict.fromkeys({missing_in(target)!r})); sys.argv[0] = 'sightline'; "
        "from cli.entry import main; main()"
    )
