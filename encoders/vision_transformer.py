"""CLIP's vision transformer, computed for inference on a CPU: the same function as open_clip's, in fewer steps.

About a quarter faster than open_clip's own forward pass for ViT-B-32, measured on Zen 4:

- weights are laid out once for oneDNN, which then multiplies a tenth to a fifth faster than MKL;
- GELU and the residual sums are computed while products are still in cache;
- normalisation is folded into the patch embedding, so that 8-bit pixels go in;
- the last block computes only the class token, the one token that is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

_Product = Callable[..., Tensor]


class Linear:
    """x @ weight.T + bias, then GELU or a sum; through oneDNN with its own weight layout where it can be had.

    `weight` has shape (out, in), `bias` (out,); `rows` is the usual number of rows, for which the layout is chosen.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, rows: int) -> None:
        self._bias = bias.detach().contiguous()
        self._weight = weight.detach().contiguous()
        self._packed: Tensor | None = None
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            try:
                self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, rows)
                self._weight = torch.empty(0)
            except (AttributeError, NotImplementedError, RuntimeError):
                # An operator for compilers, not a promise of torch's: without it everything still works, slower.
                self._packed = None

    def __call__(self, x: Tensor, *, gelu: str | None = None, plus: Tensor | None = None) -> Tensor:
        """`gelu` is None, "none" (erf) or "tanh", as torch names them; `plus` has the result's shape."""
        if self._packed is None:
            y = functional.linear(x, self._weight, self._bias)
            y = y if gelu is None else functional.gelu(y, approximate=gelu)
            return y if plus is None else y.add_(plus)
        product: _Product = torch.ops.mkldnn._linear_pointwise
        if plus is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, plus, self._packed, self._bias, "add")  # type: ignore[no-any-return]
        if gelu is not None:
            return product(x, self._packed, self._bias, "gelu", [], gelu)
        return product(x, self._packed, self._bias, "none", [], "")


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the last dimension."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, module: nn.LayerNorm) -> "Norm":
        """The same as the module, on its own weights."""
        return cls(module.weight.detach(), module.bias.detach(), module.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """Shape (..., width) to the same."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class _Block:
    """One residual attention block. `class_token_only` leaves out what no later block reads."""

    def __init__(self, block: ResidualAttentionBlock, *, rows: int, batch: int, class_token_only: bool) -> None:
        width = block.attn.embed_dim
        weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        self._heads = block.attn.num_heads
        self._class_token_only = class_token_only
        later = batch if class_token_only else rows
        if class_token_only:
            self._query = Linear(weight[:width], bias[:width], rows=batch)
            self._others = Linear(weight[width:], bias[width:], rows=rows)
        else:
            self._all = Linear(weight, bias, rows=rows)
        self._out = Linear(block.attn.out_proj.weight, block.attn.out_proj.bias, rows=later)
        self._up = Linear(block.mlp.c_fc.weight, block.mlp.c_fc.bias, rows=later)
        self._down = Linear(block.mlp.c_proj.weight, block.mlp.c_proj.bias, rows=later)
        self._before_attention, self._before_mlp = Norm.of(block.ln_1), Norm.of(block.ln_2)
        self._gelu = None if isinstance(block.mlp.gelu, QuickGELU) else block.mlp.gelu.approximate

    def __call__(self, x: Tensor) -> Tensor:
        """From (n, tokens, width) to the same, or to (n, 1, width) where only the class token is wanted."""
        normed = self._before_attention(x)
        if self._class_token_only:
            x = x[:, :1].contiguous()
            query = self._split(self._query(normed[:, :1].contiguous()), 1)[0]
            key, value = self._split(self._others(normed), 2)
        else:
            query, key, value = self._split(self._all(normed), 3)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = self._out(attended.transpose(1, 2).reshape(x.shape), plus=x)
        hidden = self._up(self._before_mlp(x), gelu=self._gelu)
        if self._gelu is None:
            hidden = hidden * torch.sigmoid(1.702 * hidden)
        return self._down(hidden, plus=x)

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(n, tokens, parts * width) to `parts` of (n, heads, tokens, width / heads)."""
        n, tokens, _ = x.shape
        return x.view(n, tokens, parts, self._heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class FastVisionTransformer:
    """open_clip's `VisionTransformer` for 8-bit pixels of shape (n, height, width, 3); float32 features (n, d).

    `batch` is the usual number of images, for which weight layouts are chosen; any other number works as well.
    """

    def __init__(
        self, visual: VisionTransformer, *, mean: tuple[float, ...], std: tuple[float, ...], batch: int
    ) -> None:
        weight = visual.conv1.weight.detach()
        scale = torch.tensor(std, dtype=weight.dtype).view(1, 3, 1, 1)
        shift = torch.tensor(mean, dtype=weight.dtype).view(1, 3, 1, 1)
        # ((x / 255 - mean) / std) . w  =  x . (w / 255 std) - (mean / std) . w
        bias = -(weight * shift / scale).sum(dim=(1, 2, 3))
        positions = visual.positional_embedding.detach()
        self._patch = visual.patch_size
        rows = batch * len(positions)
        self._embed = Linear((weight / (255 * scale)).permute(0, 2, 3, 1).flatten(1), bias, rows=rows)
        self._class_token = (visual.class_embedding.detach() + positions[0]).view(1, 1, -1)
        self._positions = positions[1:].unsqueeze(0).contiguous()
        self._before = None if isinstance(visual.ln_pre, nn.Identity) else Norm.of(visual.ln_pre)
        self._after = Norm.of(visual.ln_post)
        blocks = list(visual.transformer.resblocks)
        self._blocks = [_Block(block, rows=rows, batch=batch, class_token_only=block is blocks[-1]) for block in blocks]
        self._projection = None if visual.proj is None else visual.proj.detach().contiguous()

    def __call__(self, pixels: Tensor) -> Tensor:
        """Features, not normalised."""
        n, height, width, _ = pixels.shape
        down, across = self._patch
        patches = pixels.view(n, height // down, down, width // across, across, 3).transpose(2, 3)
        x = self._embed(patches.reshape(n, -1, down * across * 3).float())
        x = torch.cat([self._class_token.expand(n, -1, -1), x.add_(self._positions)], dim=1)
        x = x if self._before is None else self._before(x)
        for block in self._blocks:
            x = block(x)
        x = self._after(x[:, 0])
        return x if self._projection is None else x @ self._projection


def can_be_fast(visual: Any) -> bool:
    """Whether `FastVisionTransformer` computes the same as this image tower; else open_clip's own forward is used."""
    return (
        type(visual) is VisionTransformer
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.output_tokens
        and all(size % patch == 0 for size, patch in zip(visual.image_size, visual.patch_size, strict=True))
        and visual.conv1.bias is None
        and all(is_plain(block) for block in visual.transformer.resblocks)
        and isinstance(visual.ln_pre, nn.LayerNorm | nn.Identity)
        and isinstance(visual.ln_post, nn.LayerNorm)
        and next(visual.parameters()).dtype == torch.float32
    )


def is_plain(block: Any) -> bool:
    """Whether a block is attention with biases and an MLP with a GELU, each beside its input, and nothing more."""
    return (
        type(block) is ResidualAttentionBlock
        and isinstance(block.ls_1, nn.Identity)
        and isinstance(block.ls_2, nn.Identity)
        and isinstance(block.mlp.gelu, nn.GELU | QuickGELU)
        and block.attn.in_proj_weight is not None
        and block.attn.in_proj_bias is not None
        and block.attn.bias_k is None
    )
