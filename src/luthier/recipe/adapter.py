"""The recipe's `adapter`: which weights are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luthier.recipe.values import Above0, AtLeast0, Fraction, Part, Positive, Switch, Text


class Adapter(Part):
    """Which weights are trained."""

    type: Literal["lora", "full", "head", "ia3", "bottleneck", "adalora", "prefix", "prompt"] = "lora"
    """`lora`: low-rank adapters; `full`: every weight; `head`: a classification head on a frozen trunk; `ia3`: factors
    on keys, values and inner activations; `bottleneck`: small layers in each block; `adalora`: LoRA that deals out its
    ranks; `prefix`: keys and values before every row; `prompt`: embeddings before every row."""
    num_layers: Literal["all"] | Positive = "all"
    """All but `head`, `prefix` and `prompt`: train only the last so many transformer blocks. Backward passes end at the
    first of them."""
    lora_r: Positive = 16
    """`lora` only: the rank of the matrices."""
    lora_alpha: Above0 = 32.0
    """The scale of `lora` is `lora_alpha / lora_r`, that of `adalora` is `lora_alpha / init_r`."""
    use_dora: Switch = False
    """`lora` only: learn the length of each row of a weight matrix apart from its direction (DoRA)."""
    lora_dropout: Fraction = 0.0
    """`lora` and `adalora`: dropout before the matrices; above 0, packing changes the noise (not the expectation)."""
    lora_target_modules: Literal["all-linear"] | Annotated[tuple[Text, ...], Field(min_length=1)] = "all-linear"
    """Which linear layers `lora` and `adalora` adapt: all but the output head, or names as PEFT matches them."""
    bottleneck_size: Positive = 64
    """`bottleneck` only: the width of the small layers."""
    bottleneck_placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """`bottleneck` only: `houlsby` is after attention and after the feed-forward; `pfeiffer` after the latter alone."""
    init_r: Positive = 12
    """`adalora` only: the rank that every layer starts with."""
    target_r: Positive = 8
    """`adalora` only: the rank that is left to a layer, on average."""
    orth_reg_weight: AtLeast0 = 0.5
    """`adalora` only: how much it costs that the matrices are not orthogonal."""
    num_virtual_tokens: Positive = 20
    """`prefix` and `prompt`: how many tokens are learnt; each row has room for so many less."""

    @property
    def virtual_tokens(self) -> int:
        """Tokens that stand before every row."""
        return self.num_virtual_tokens if self.type in ("prefix", "prompt") else 0
