"""What was really loaded: parameters, their storage, their layers and their devices.

Knows torch modules. Reads the loaded model alone, never its configuration: what a configuration claims is what
is being checked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A loaded model, weighed. Shared tensors count once.

    `body_bytes_by_storage` leaves out embeddings and the output head, which no quantization here touches.
    """

    n_elements: int
    n_bytes: int
    body_bytes_by_storage: dict[str, int]
    layer_classes: dict[str, int]
    cuda_indices: tuple[int, ...]


def weigh(model: Any) -> Weights:
    """Add up a model's parameters, buffers, and tensors that kernels keep outside of both."""
    heads = _heads(model)
    n_elements = n_bytes = 0
    body: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    cuda_indices: set[int] = set()
    seen: set[int] = set()
    for module in model.modules():
        tensors = list(_own_weights(module))
        classes[type(module).__name__] += any(tensor.ndim >= 2 for tensor in tensors)
        for tensor in tensors:
            if tensor.data_ptr() in seen:
                continue
            seen.add(tensor.data_ptr())
            size = tensor.numel() * tensor.element_size()
            n_elements += tensor.numel()
            n_bytes += size
            if not any(module is head for head in heads):
                body[str(tensor.dtype).removeprefix("torch.")] += size
            if tensor.device.type == "cuda":
                cuda_indices.add(tensor.device.index)
    return Weights(
        n_elements=n_elements,
        n_bytes=n_bytes,
        body_bytes_by_storage=dict(body),
        layer_classes={name: count for name, count in sorted(classes.items()) if count},
        cuda_indices=tuple(sorted(cuda_indices)),
    )


def _heads(model: Any) -> list[Any]:
    """Embeddings and output head, where a model has them: one that looks at images has none.

    Of several modules as one, those of each.
    """
    found = []
    for part in model if isinstance(model, torch.nn.ModuleList) else [model]:
        for name in ("get_input_embeddings", "get_output_embeddings"):
            with suppress(AttributeError, NotImplementedError):
                found.append(getattr(part, name)())
    return [module for module in found if module is not None]


def board_uuids(cuda_indices: tuple[int, ...]) -> tuple[str, ...]:
    """NVML's UUIDs of CUDA devices; a slice of a board carries its own, which NVML knows too."""
    uuids = (str(torch.cuda.get_device_properties(index).uuid) for index in cuda_indices)
    return tuple(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}" for uuid in uuids)


def gguf_precision(path: Path) -> str:
    """What a GGUF file is quantized to, such as `gguf Q4_1`.

    The file says it in `general.file_type`; where it does not, the type of most of its bytes speaks.
    """
    import gguf

    reader = gguf.GGUFReader(path)
    field = reader.get_field(gguf.Keys.General.FILE_TYPE)
    known = {int(kind): kind.name for kind in gguf.LlamaFileType}
    if field is not None and (name := known.get(int(field.contents()))):
        return f"gguf {name.removeprefix('MOSTLY_').removeprefix('ALL_')}"
    sizes: Counter[str] = Counter()
    for tensor in reader.tensors:
        sizes[tensor.tensor_type.name] += int(tensor.n_bytes)
    return f"gguf {sizes.most_common(1)[0][0]}" if sizes else "gguf unknown"


def _own_weights(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """A module's own weights, wherever it keeps them, as plain tensors."""
    for parameter in module.parameters(recurse=False):
        yield from _plain(parameter.data)
        yield from _scales(parameter)
    for buffer in module.buffers(recurse=False):
        # A float buffer is a table (rotary frequencies, masks); packed weights are integer or 8-bit buffers.
        if not buffer.is_floating_point() or buffer.element_size() == 1:
            yield from _plain(buffer)
    for value in vars(module).values():
        # Kernels for MXFP4 move weights into objects of their own, with the bytes in `.storage.data`.
        stored = getattr(getattr(value, "storage", None), "data", None)
        if not isinstance(value, torch.Tensor) and isinstance(stored, torch.Tensor):
            yield stored


def _scales(parameter: torch.nn.Parameter) -> Iterator[torch.Tensor]:
    """What bitsandbytes keeps beside its packed weights: a scale per row, or the state of 4 bit, nested or not."""
    scales = getattr(parameter, "SCB", None)
    if isinstance(scales, torch.Tensor):
        yield scales
    state = getattr(parameter, "quant_state", None)
    while state is not None:
        yield from (part for part in (state.absmax, state.code) if isinstance(part, torch.Tensor))
        state = getattr(state, "state2", None)


def _plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The ordinary tensors that a tensor subclass is made of; torchao's report a float type that they are not."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield tensor
        return
    for name in flatten()[0]:
        yield from _plain(getattr(tensor, name))
