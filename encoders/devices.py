"""Where a model of torch computes, in which number type, and what a full device says."""

from collections.abc import Callable

import torch
from torch import Tensor

from encoders.encoder import OutOfMemory
from schemas.errors import ConfigurationError

THREADS = torch.get_num_threads()
"""Among how many threads torch divides an operation on the processor: its own choice, or `OMP_NUM_THREADS`."""


def choose_device(wish: str) -> torch.device:
    """The device for "auto" (CUDA, else MPS, else CPU) or torch's own name of one. Raises `ConfigurationError`."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wish == "auto":
        return torch.device("cuda:0" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ConfigurationError(f"the device {wish!r} is not known; write auto, cpu, cuda, cuda:1 or mps")
    usable = {"cpu": True, "cuda": cuda and (device.index or 0) < torch.cuda.device_count(), "mps": mps}[device.type]
    if not usable:
        raise ConfigurationError(
            f"the device {wish!r} is not usable on this machine: torch finds none; write auto or cpu"
        )
    return torch.device("cuda:0") if wish == "cuda" else device


def choose_dtype(device: torch.device) -> torch.dtype:
    """float32 on CPU and MPS, bfloat16 on CUDA, float16 on cards older than Ampere."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def threads_on(device: torch.device) -> int:
    """Among how many threads a pass is divided there unless told otherwise."""
    return THREADS if device.type == "cpu" else 1


def divide(device: torch.device, threads: int) -> None:
    """Divide what the calling thread computes there from now on among so many.

    A thread of which nothing was said begins with what was said last in any other.
    """
    if device.type == "cpu":
        torch.set_num_threads(threads)


def guarded(work: Callable[[], Tensor]) -> Tensor:
    """What `work` computes. Raises `OutOfMemory` where it does not fit on the device."""
    try:
        return work()
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise OutOfMemory(str(error)) from error
    except RuntimeError as error:
        # What torch's allocator for the CPU says.
        if "can't allocate memory" in str(error):
            raise OutOfMemory(str(error)) from error
        raise
