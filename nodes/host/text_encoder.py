"""A Gemma text encoder from a transformers folder as a native CLIP, with the features of the official code."""

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
from ...lumina_core.pipelines.bundle import Bundle
from ...lumina_core.text.gemma import TextEncoder, load_text_encoder
from .bundles import bundle_of
from .patcher import WholePatcher

logger = logging.getLogger(__name__)

WEIGHT_SHARE = 0.9  # largest share of a device's memory for the weights


class GemmaTokenizer:
    """The tokenizer with the host's interface. Text is tokenized verbatim: no weight syntax, no embeddings, no limit.

    The key of the tokens is the encoder's kind, gemma2 or gemma; the host's own loader uses gemma2_2b. ``bundle`` is
    that of the encoder, whose model knows certain words only.
    """

    def __init__(self, encoder: TextEncoder, bundle: Bundle | None = None) -> None:
        self.encoder, self.system_prompt, self.bundle = encoder, encoder.system_prompt, bundle

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_) -> dict[str, list[list[tuple]]]:
        """Tokens of a text, each (id, weight 1.0) plus a word id of 0 on request."""
        rows = self.encoder.token_ids([text])
        extra = (0,) if return_word_ids else ()
        return {self.encoder.kind: [[(token, 1.0, *extra) for token in row] for row in rows]}

    def untokenize(self, token_weight_pair: list[tuple]) -> list[tuple]:
        """Each token together with its text."""
        return [(pair, self.encoder.tokenizer.convert_ids_to_tokens(pair[0])) for pair in token_weight_pair]

    def decode(self, token_ids: list[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        return self.encoder.tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def state_dict(self) -> dict:
        """Empty: the tokenizer has no weights to save."""
        return {}


class GemmaModel(torch.nn.Module, ClipTokenWeightEncoder):
    """The encoder with the interface of the network in the host's CLIP. It returns the second-to-last hidden state."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.transformer = encoder.model
        self.dtypes = {encoder.model.dtype}
        self.special_tokens = {"start": encoder.tokenizer.bos_token_id, "pad": 0}

    def set_clip_options(self, options: dict) -> None:
        """Does nothing: the network was trained on the features of one layer."""

    def reset_clip_options(self) -> None:
        """Does nothing; see `set_clip_options`."""

    def encode_token_weights(self, token_weight_pairs: dict[str, list]):
        """Features of tokens from this encoder's tokenizer. Raises LuminaError (kind mismatch) for other tokens."""
        if self.encoder.kind not in token_weight_pairs:
            found = ", ".join(token_weight_pairs) or "none"
            raise LuminaError(
                f"The tokens are those of {found}, expected {self.encoder.kind}; tokenize with this CLIP.",
                field="clip",
                kind="mismatch",
            )
        return super().encode_token_weights(token_weight_pairs[self.encoder.kind])

    def encode(self, rows: list[list[int]]):
        """Features (B, S, D) in float32, no pooled output, and the attention mask (B, S): the host's interface."""
        features, mask = self.encoder.encode_ids(rows)
        return features.float(), None, {"attention_mask": mask.long()}

    def memory_estimation_function(self, tokens: dict[str, list], device=None) -> int:
        """Bytes without weights: the scores of eager attention and the widest activations, in float32."""
        config = self.transformer.config
        rows = tokens.get(self.encoder.kind, [])
        length = max((len(row) for row in rows), default=1)
        widest = 3 * config.intermediate_size + 4 * config.hidden_size
        return 4 * len(rows) * length * (3 * config.num_attention_heads * length + widest)

    def load_sd(self, sd: dict):
        """Load weights by name, as the host's CLIP does; missing names are ignored."""
        return self.transformer.load_state_dict(sd, strict=False)


class GemmaCLIP(comfy.sd.CLIP):
    """A CLIP for an encoder that is already loaded; the host moves it between devices as a whole."""

    def __init__(
        self,
        encoder: TextEncoder,
        load_device: torch.device,
        offload_device: torch.device,
        bundle: Bundle | None = None,
    ) -> None:
        super().__init__(no_init=True)
        self.cond_stage_model = GemmaModel(encoder)
        self.tokenizer = GemmaTokenizer(encoder, bundle)
        self.patcher = WholePatcher(self.cond_stage_model, load_device=load_device, offload_device=offload_device)
        self.patcher.hook_mode = comfy.hooks.EnumHookMode.MinVram
        self.patcher.is_clip = True
        self.apply_hooks_to_conds = None
        self.layer_idx = None
        self.use_clip_schedule = False
        self.tokenizer_options = {}


def text_encoder_folders() -> list[str]:
    """Folders below models/text_encoders that contain a config.json, relative to it."""
    roots = [Path(root) for root in folder_paths.get_folder_paths("text_encoders")]
    return sorted(
        {file.parent.relative_to(root).as_posix() for root in roots for file in root.glob("*/**/config.json")}
    )


def load_clip(name: str) -> GemmaCLIP:
    """Load an entry of `text_encoder_folders`, or the encoder of a bundle. Raises LuminaError."""
    folder = find_text_encoder(name)
    device = comfy.model_management.text_encoder_device()
    offload = comfy.model_management.text_encoder_offload_device()
    encoder = load_text_encoder(folder, offload, _dtype(device))
    size = comfy.model_management.module_size(encoder.model)
    if size > WEIGHT_SHARE * comfy.model_management.get_total_memory(device):
        logger.warning(
            "Lumina-Video: the text encoder does not fit into the memory of %s, running it on %s.", device, offload
        )
        device = offload
    return GemmaCLIP(encoder, device, offload, bundle_of(name))


def find_text_encoder(name: str) -> Path:
    """The folder of an entry of `text_encoder_folders`, or of a bundle. Raises LuminaError."""
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
    """The user's choice, else bf16 as in the official code, or float32 if the device does not support bf16.

    The host's default, float16, is meant as a storage dtype; Gemma-2 overflows when it computes in float16.
    """
    chosen = comfy.model_management.text_encoder_dtype(device)
    if chosen in (torch.bfloat16, torch.float32):
        return chosen
    return torch.bfloat16 if comfy.model_management.should_use_bf16(device) else torch.float32
