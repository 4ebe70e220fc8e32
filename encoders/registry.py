"""From the name that a person gives to an encoder."""

from encoders.catalogue import QWEN3, QWEN3_FOLDER, unknown_model
from encoders.encoder import Encoder
from encoders.filename_tags import FilenameTagsEncoder
from encoders.hashing import HashingEncoder
from encoders.remote.names import is_remote, make_remote
from encoders.remote.options import RemoteOptions
from schemas.errors import ConfigurationError


def make_encoder(name: str, *, device: str = "auto", remote: RemoteOptions | None = None) -> Encoder:
    """The encoder of that name, not loaded yet. Raises `ConfigurationError` for a name that is nobody's.

    Names other than those in `encoders.catalogue` have the forms that `encoders.weights` describes. Whatever a model
    needs is imported only when that model is asked for.
    """
    if name == "hashing":
        return HashingEncoder()
    if name == "filename-tags":
        return FilenameTagsEncoder()
    if name == QWEN3 or name.startswith(QWEN3_FOLDER):
        return _qwen3(name, device)
    if is_remote(name):
        return make_remote(name, remote or RemoteOptions())
    return _open_clip(name, device)


def _qwen3(name: str, device: str) -> Encoder:
    try:
        from encoders.qwen3 import Qwen3Encoder
    except ImportError as error:
        raise ConfigurationError(
            f"the model {name!r} needs torch and transformers, and {error.name or error} is not installed; install "
            "'sightline[transformers]'"
        ) from error
    return Qwen3Encoder(name, device=device)


def _open_clip(name: str, device: str) -> Encoder:
    try:
        from encoders.clip import OpenClipEncoder
        from encoders.weights import check_name
    except ImportError as error:
        raise ConfigurationError(
            f"the model {name!r} needs open_clip and torch, and {error.name or error} is not installed; install "
            "'sightline[embedder]', or choose the model 'hashing'"
        ) from error
    try:
        check_name(name)
    except ConfigurationError as error:
        raise unknown_model(name, error) from error
    return OpenClipEncoder(name, device=device)
