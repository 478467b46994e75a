"""Where and how networks run: device, arithmetic, threads. Decided by what a network is, never by a clock: the same every time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from ..errors import InvalidParameterError

WIDE = 300_000      # weights of a matrix: 784 × 512 pays, 512 × 512 does not


def device_of(name: str) -> torch.device:
    """``"auto"`` is a CUDA device where there is one, else the CPU. Others can be named, and are not tested."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidParameterError("the device cannot be used", expected='"auto", "cpu", "cuda", "cuda:1" …', got=name,
                                    hint=str(error).splitlines()[0]) from error
    return device


def convolves(module: nn.Module) -> bool:
    """Whether the time goes into convolutions: of its players, which have weights to train."""
    return any(isinstance(m, nn.Conv1d | nn.Conv2d) and m.weight.requires_grad for m in module.modules())


def is_wide(module: nn.Module) -> bool:
    """Whether a matrix of the network is so large that its products outweigh their conversion."""
    return max((p.numel() for p in module.parameters() if p.ndim == 2), default=0) >= WIDE


def arithmetic(module: nn.Module, device: torch.device, precision: str) -> Callable[[], AbstractContextManager]:
    """The context in which losses and samples are computed.

    ``"auto"`` is bfloat16 on a GPU, and on a CPU whose vector units multiply bfloat16 for convolutions and for wide perceptrons (1.5 to
    three times as fast as float32 there; for the small matrices of a table the conversions cost more than they save). Losses are
    summed in float32 anyway, and an objective that needs its networks exact says so (``rounds = False``).
    """
    if not getattr(module, "rounds", True):
        native = False
    elif device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = device.type == "cpu" and (convolves(module) or is_wide(module)) and _cpu_multiplies_bfloat16()
    if precision == "bfloat16" or (precision == "auto" and native):
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return nullcontext


def _cpu_multiplies_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def threads_for(module: nn.Module, threads: int) -> Iterator[None]:
    """That many threads; 0 is half of the cores for convolutions and one for perceptrons. As it was afterwards.

    The matrices of a table's network are too small to share. Convolutions gain from a second thread (1.7 times as fast on two idle
    cores), but OpenMP's threads wait for each other by spinning: where another process has one of the cores, two threads have been
    seen to take twenty times as long as one. So half of the cores are left to others.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or (max(1, (os.cpu_count() or 1) // 2) if convolves(module) else 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)
