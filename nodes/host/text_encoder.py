"""A Gemma from a transformers folder as a native CLIP, features exactly as the official runs read them."""

from __future__ import annotations

import logging
from pathlib import Path

import comfy.hooks
import comfy.model_management
import comfy.sd
import folder_paths
import torch
from comfy.sd1_clip import ClipTokenWeightEncoder

from ...lumina_core.errors import LuminaError
from ...lumina_core.text.gemma import TextEncoder, load_text_encoder
from .bundles import bundle_of
from .patcher import WholePatcher

logger = logging.getLogger(__name__)

ROOM = 0.9
"""Share of a device's memory that the weights may take."""


class GemmaTokenizer:
    """The tokenizer as the host calls it. Text is tokenized verbatim: no weight syntax, no embeddings, no limit.

    Tokens are named by the encoder's kind, gemma2 or gemma, where the host's own loader says gemma2_2b.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder, self.system_prompt = encoder, encoder.system_prompt

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_) -> dict[str, list[list[tuple]]]:
        rows = self.encoder.token_ids([text])
        extra = (0,) if return_word_ids else ()
        return {self.encoder.kind: [[(token, 1.0, *extra) for token in row] for row in rows]}

    def untokenize(self, token_weight_pair: list[tuple]) -> list[tuple]:
        return [(pair, self.encoder.tokenizer.convert_ids_to_tokens(pair[0])) for pair in token_weight_pair]

    def decode(self, token_ids: list[int], skip_special_tokens: bool = True) -> str:
        return self.encoder.tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def state_dict(self) -> dict:
        return {}


class GemmaModel(torch.nn.Module, ClipTokenWeightEncoder):
    """The encoder as the host's CLIP holds its network. Layer choice is fixed: the second-last hidden state."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.transformer = encoder.model
        self.dtypes = {encoder.model.dtype}
        self.special_tokens = {"start": encoder.tokenizer.bos_token_id, "pad": 0}

    def set_clip_options(self, options: dict) -> None:
        """Nothing to choose: the network was trained on this one layer."""

    def reset_clip_options(self) -> None:
        """See `set_clip_options`."""

    def encode_token_weights(self, token_weight_pairs: dict[str, list]):
        if self.encoder.kind not in token_weight_pairs:
            found = ", ".join(token_weight_pairs) or "none"
            raise LuminaError(
                f"The tokens are of {found}, expected {self.encoder.kind}; make them with this CLIP.",
                field="clip",
                kind="mismatch",
            )
        return super().encode_token_weights(token_weight_pairs[self.encoder.kind])

    def encode(self, rows: list[list[int]]):
        """Features, no pooled output, and the mask of the padding: what the host's mixin asks for."""
        features, mask = self.encoder.encode_ids(rows)
        return features.float(), None, {"attention_mask": mask.long()}

    def memory_estimation_function(self, tokens: dict[str, list], device=None) -> int:
        """Bytes beside the weights: the eager attention's scores and the widest activations, in float32."""
        config = self.transformer.config
        rows = tokens.get(self.encoder.kind, [])
        length = max((len(row) for row in rows), default=1)
        widest = 3 * config.intermediate_size + 4 * config.hidden_size
        return 4 * len(rows) * length * (3 * config.num_attention_heads * length + widest)

    def load_sd(self, sd: dict):
        return self.transformer.load_state_dict(sd, strict=False)


class GemmaCLIP(comfy.sd.CLIP):
    """A CLIP around an encoder that is loaded already; the host moves it between devices as a whole."""

    def __init__(self, encoder: TextEncoder, load_device: torch.device, offload_device: torch.device) -> None:
        super().__init__(no_init=True)
        self.cond_stage_model = GemmaModel(encoder)
        self.tokenizer = GemmaTokenizer(encoder)
        self.patcher = WholePatcher(self.cond_stage_model, load_device=load_device, offload_device=offload_device)
        self.patcher.hook_mode = comfy.hooks.EnumHookMode.MinVram
        self.patcher.is_clip = True
        self.apply_hooks_to_conds = None
        self.layer_idx = None
        self.use_clip_schedule = False
        self.tokenizer_options = {}


def text_encoder_folders() -> list[str]:
    """Folders below models/text_encoders that hold a config.json, as names relative to it."""
    roots = [Path(root) for root in folder_paths.get_folder_paths("text_encoders")]
    return sorted(
        {file.parent.relative_to(root).as_posix() for root in roots for file in root.glob("*/**/config.json")}
    )


def load_clip(name: str) -> GemmaCLIP:
    """Load one of `text_encoder_folders`, or a bundle's encoder. Raises LuminaError."""
    folder = find_text_encoder(name)
    device = comfy.model_management.text_encoder_device()
    offload = comfy.model_management.text_encoder_offload_device()
    encoder = load_text_encoder(folder, offload, _dtype(device))
    size = comfy.model_management.module_size(encoder.model)
    if size > ROOM * comfy.model_management.get_total_memory(device):
        logger.warning(
            "Lumina-Video: the text encoder does not fit into the memory of %s, running it on %s.", device, offload
        )
        device = offload
    return GemmaCLIP(encoder, device, offload)


def find_text_encoder(name: str) -> Path:
    """The folder of one of `text_encoder_folders`, or of a bundle's entry. Raises LuminaError."""
    if bundle := bundle_of(name):
        return bundle.text_encoder
    roots = [Path(root) for root in folder_paths.get_folder_paths("text_encoders")]
    for root in roots:
        if (root / name / "config.json").is_file():
            return root / name
    raise LuminaError(
        f"'{name}' is not in {', '.join(map(str, roots))}; put the folder of google/gemma-2-2b there and reload the "
        "page, or choose another.",
        field="folder",
        kind="missing",
    )


def _dtype(device: torch.device) -> torch.dtype:
    """What the user asked for, else bf16 as the official run, or float32 where the device lacks it.

    The host's usual answer, float16, is a storage type there; Gemma-2 overflows when computed in it.
    """
    chosen = comfy.model_management.text_encoder_dtype(device)
    if chosen in (torch.bfloat16, torch.float32):
        return chosen
    return torch.bfloat16 if comfy.model_management.should_use_bf16(device) else torch.float32
