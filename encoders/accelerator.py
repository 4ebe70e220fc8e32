"""How full and how busy the card is that a model computes on."""

from collections.abc import Mapping


def memory(device: str) -> Mapping[str, int] | None:
    """Bytes of the device. None for a processor.

    `allocated` are this process's tensors, `reserved` what torch keeps for it, tensors included, `used` what all
    processes hold together, and `total` all there is.

    `device` is an encoder's own, such as "cuda:0" or "mps"; it must have been used, since torch is asked.
    """
    if device.startswith("cuda"):
        import torch

        free, total = torch.cuda.mem_get_info(device)
        allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
        return {"allocated": allocated, "reserved": reserved, "used": total - free, "total": total}
    if device == "mps":
        import torch

        allocated, reserved = torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory()
        # Of the others there nothing is known; the total is what this process may have.
        total = torch.mps.recommended_max_memory()
        return {"allocated": allocated, "reserved": reserved, "used": reserved, "total": total}
    return None


def utilization(device: str) -> float | None:
    """The share of the last moment in which the card computed, 0 to 1; None where nothing tells it.

    NVIDIA's own library tells it, by the package nvidia-ml-py.
    """
    if not device.startswith("cuda"):
        return None
    import torch

    try:
        return float(torch.cuda.utilization(device)) / 100
    except (ImportError, RuntimeError):
        # No such package, or a driver that does not tell: the memory still shows.
        return None
