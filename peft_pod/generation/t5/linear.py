"""Matrix products with weights that were laid out once for the machine."""

from __future__ import annotations

import torch
from torch import nn


class Dense:
    """`x Wᵀ + b`, or the positive part of it, with `W` in the layout of the CPU's matrix library where there is one.

    The library else lays weights out anew in each product, which takes as long as the product itself where there are
    few rows, as there are in a step of a decoder.

    It also keeps a program for each number of rows that it has met, which takes up to a megabyte, and a long run meets
    thousands of them. So rows are filled up with zeros to one of few numbers.

    Args:
        weight: shape `(out, in)`.
        bias: shape `(out,)`, or none.
        relu: whether what is negative becomes zero; the matrix library does so while it writes.

    Attributes:
        dtype: in which the product is computed: that of the weight.

    Example:
        >>> Dense(torch.eye(2))(torch.tensor([[3.0, 4.0]]))
        tensor([[3., 4.]])
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, relu: bool = False) -> None:
        self.dtype = weight.dtype
        self.bias = bias
        self.relu = relu
        self.is_packed = _can_pack(weight)
        self.weight = weight.contiguous()
        if self.is_packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """The product: `(..., in)` to `(..., out)`, in the weight's type."""
        rows = rows.to(self.dtype)
        if not self.is_packed:
            product = nn.functional.linear(rows, self.weight, self.bias)
            return product.relu_() if self.relu else product
        flat = rows.flatten(0, -2)
        missing = filled_up(len(flat)) - len(flat)
        filled = nn.functional.pad(flat, (0, 0, 0, missing)) if missing else flat
        after = "relu" if self.relu else "none"
        product = torch.ops.mkldnn._linear_pointwise(filled, self.weight, self.bias, after, [], "")
        return product[: len(flat)].unflatten(0, rows.shape[:-1])


def filled_up(count: int) -> int:
    """A number of rows at least as large, by a sixteenth at most, of which there are sixteen up to its double.

    Example:
        >>> [filled_up(count) for count in (0, 7, 31, 33, 640, 1000, 1025)]
        [0, 7, 31, 34, 640, 1024, 1088]
    """
    step = 1 << max(count.bit_length() - 5, 0)
    return -(-count // step) * step


def dense_of(*layers: nn.Module, width: int, dtype: torch.dtype, relu: bool = False) -> Dense:
    """One product for layers with the same input, their outputs side by side.

    Args:
        layers: linear layers, each `(..., width)` to `(..., out)`.
        width: of their input.
        dtype: of the product.
        relu: see `Dense`.
    """
    weights, biases = zip(*(weight_and_bias(layer, width) for layer in layers), strict=True)
    bias = torch.cat(biases)
    return Dense(torch.cat(weights).to(dtype), bias.to(dtype) if bias.any() else None, relu=relu)


def weight_and_bias(layer: nn.Module, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a linear layer, by what it makes of unit vectors and of zero.

    So whatever stands around the layer is in them: adapters that are active, merged or not, and rows that were trained
    apart.

    Args:
        layer: `(..., width)` to `(..., out)`.
        width: of its input.

    Returns:
        Shapes `(out, width)` and `(out,)`, float32.

    Example:
        >>> weight, bias = weight_and_bias(nn.Linear(2, 3), width=2)
        >>> weight.shape, bias.shape
        (torch.Size([3, 2]), torch.Size([3]))
    """
    parameter = next(layer.parameters())
    unit = torch.eye(width, dtype=parameter.dtype, device=parameter.device)
    bias = layer(torch.zeros_like(unit[:1])).float()
    return (layer(unit).float() - bias).T.contiguous(), bias[0]


def _can_pack(weight: torch.Tensor) -> bool:
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    # Without AVX-512 the library refuses bfloat16, which PyTorch's own product takes anywhere.
    return weight.dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
