"""Encodes prompts into text features: the second-last hidden state of a Gemma.

Lumina-Video uses Gemma-2-2B with a system prompt, Lumina-Next the first Gemma-2B without one.
Source: `generate.py` of Lumina-Video (`SYSTEM_PROMPT`, `encode_prompt`); `demo.py` of Lumina-Next (`encode_prompt`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError

# The released weights were trained with exactly this prefix, including the trailing space (generate.py).
SYSTEM_PROMPT = (
    "You are an assistant designed to generate high-quality videos with the highest degree of image-text alignment "
    "based on user prompts. <Prompt Start> "
)
VIDEO_KIND = "gemma2"
# Supported encoders by `model_type`, with the hidden size that transformers assumes if config.json has none.
WIDTHS = {VIDEO_KIND: 2304, "gemma": 3072}
MAX_TOKENS = 256  # including BOS and the system prompt
_SHOWN = 60  # characters of truncated text to show


@dataclass(frozen=True)
class TextFeatures:
    """Text features of a batch of prompts, and what was truncated.

    Args:
        features: (B, L, D), in the encoder's dtype and on its device, padded on the right.
        mask: (B, L) bool, True on real tokens.
        truncated: number of tokens cut off each prompt, 0 if it fits.
        left_out: the text of those tokens, empty if the prompt fits.
    """

    features: torch.Tensor
    mask: torch.Tensor
    truncated: list[int]
    left_out: list[str]


def with_system_prompt(prompt: str) -> str:
    """The text that is encoded. An empty negative prompt becomes the system prompt alone."""
    return SYSTEM_PROMPT + prompt


def check_text(text: str, name: str = "prompt") -> None:
    """Check that ``text`` is valid Unicode. Tokenizers need UTF-8.

    Args:
        text: the text.
        name: what the error message calls it, such as ``negative prompt``.

    Raises:
        LuminaError: it contains an unpaired surrogate, as broken escapes and wrongly decoded bytes leave.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        before = " ".join(text[: error.start].split())[-12:]
        raise LuminaError(
            f"The {name} contains an unpaired surrogate (invalid Unicode, U+{ord(text[error.start]):04X}) after "
            f"'{before}'; delete that character and type it again.",
            field=name.replace(" ", "_"),
            kind="value",
        ) from None


def beginning(text: str) -> str:
    """The first words of truncated text on one line, without the remainder of a split character."""
    words = " ".join(text.lstrip("\ufffd").split())
    return words if len(words) <= _SHOWN else words[:_SHOWN].rstrip() + "..."


class TextEncoder:
    """A Gemma without its last layer, and its tokenizer. Created by ``load_text_encoder``."""

    def __init__(self, model: torch.nn.Module, tokenizer) -> None:
        # A transformers model, whose attributes torch.nn.Module does not declare.
        self.model: Any = _up_to_second_last(model)
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """Feature width D; must equal the text width of the video network."""
        return self.model.config.hidden_size

    @property
    def kind(self) -> str:
        """The ``model_type``, a key of ``WIDTHS``."""
        return self.model.config.model_type

    @property
    def system_prompt(self) -> str:
        """The prefix that ``tokenize`` adds to every prompt."""
        return SYSTEM_PROMPT if self.kind == VIDEO_KIND else ""

    def token_ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text verbatim, with BOS, without a system prompt and without truncation.

        Raises:
            LuminaError: a text is not valid Unicode, see ``check_text``.
        """
        for text in texts:
            check_text(text)
        bos = self.tokenizer.bos_token_id
        rows = self.tokenizer(texts)["input_ids"]
        # Some tokenizer files do not add BOS.
        return [row if row[:1] == [bos] else [bos, *row] for row in rows]

    def tokenize(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of the system prompt and each prompt, with BOS, not truncated to ``MAX_TOKENS``."""
        return self.token_ids([with_system_prompt(prompt) if self.system_prompt else prompt for prompt in prompts])

    def encode(self, prompts: list[str]) -> TextFeatures:
        """Features of prompts, each with the system prompt as prefix, including empty ones.

        Raises:
            LuminaError: the list is empty, a prompt is not a string or not valid Unicode, or the features are not
                finite.
        """
        if isinstance(prompts, str) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
            raise LuminaError(
                f"prompts is {prompts!r}, expected a list of strings; wrap a single one in [].",
                field="prompts",
                kind="value",
            )
        for prompt in prompts:
            check_text(prompt)  # before the prefix is added, so that the message shows the right place
        rows = self.tokenize(prompts)
        kept = [row[:MAX_TOKENS] for row in rows]
        features, mask = self.encode_ids(kept)
        over = [row[MAX_TOKENS:] for row in rows]
        return TextFeatures(features, mask, [len(row) for row in over], [self.decode(row) for row in over])

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    @torch.no_grad()
    def encode_ids(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, L, D) and mask (B, L) of token ids; rows shorter than the longest are padded on the right.

        Raises:
            LuminaError: the features are not finite.
        """
        features, mask = self.run(rows)
        if not features[mask].isfinite().all():
            raise LuminaError(
                f"The text encoder returned NaN or infinite values in {_name(features.dtype)}; load it in bfloat16 or "
                "float32, or download the weights again.",
                field="text_encoder",
                kind="numerics",
            )
        return features, mask

    def run(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """``encode_ids`` with gradients and without the check for finite values."""
        length = max(len(row) for row in rows)
        device = self.model.embed_tokens.weight.device
        ids = torch.zeros(len(rows), length, dtype=torch.long)  # Gemma pads with 0; the mask hides the padding anyway
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = True
        ids, mask = ids.to(device), mask.to(device)
        return self.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state, mask


def load_text_encoder(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> TextEncoder:
    """Load a Gemma from a transformers folder. Downloads nothing.

    Uses eager attention, because only that applies Gemma-2's logit soft cap in every transformers version.

    Args:
        path: the folder, with config.json, *.safetensors and tokenizer.json.
        device, dtype: of the weights.

    Raises:
        LuminaError: the folder is missing, contains another kind of model, or lacks weights or a tokenizer.
    """
    folder = Path(path)
    _check_folder(folder)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise LuminaError(
            f"The tokenizer in {folder} cannot be read ({_first_line(error)}); download the folder again.",
            field="text_encoder",
            kind="file",
        ) from error
    model = _load_model(folder, dtype)
    return TextEncoder(model.eval().requires_grad_(False).to(device), tokenizer)


def read_text_width(path: str | Path) -> int:
    """Feature width of the encoder in a folder, read from its config alone.

    Raises:
        LuminaError: the folder is not that of a text encoder.
    """
    config = _check_folder(Path(path))
    width = config.get("hidden_size", WIDTHS[config["model_type"]])
    if not isinstance(width, int):
        raise LuminaError(
            f"config.json in {path} has hidden_size {width!r}, expected an integer; download the file again.",
            field="text_encoder",
            kind="file",
        )
    return width


def _load_model(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        model, report = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation="eager",
            output_loading_info=True,
            **{_dtype_keyword(): dtype},
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise LuminaError(
            f"The text encoder weights in {folder} cannot be read ({_first_line(error)}); download the folder again.",
            field="text_encoder",
            kind="file",
        ) from error
    if missing := sorted(report["missing_keys"]):
        # transformers would only warn and continue with random values.
        raise LuminaError(
            f"The text encoder weights in {folder} lack {len(missing)} of their tensors ({missing[0]}, ...); download "
            "the folder again.",
            field="text_encoder",
            kind="file",
        )
    return model


def _up_to_second_last(model: Any) -> Any:
    """Truncate ``model`` so that its last_hidden_state is hidden_states[-2] of the full model.

    hidden_states[-2] is the input of the last layer without the final norm, so neither of them needs to run.
    """
    model.layers = model.layers[:-1]
    model.norm = torch.nn.Identity()
    model.config.num_hidden_layers = len(model.layers)
    return model


def _check_folder(folder: Path) -> dict:
    """The config of a folder.

    Raises:
        LuminaError: it lacks a config of a known model, weights or a tokenizer.
    """
    if not folder.is_dir():
        raise LuminaError(
            f"Text encoder folder {folder} does not exist or is a file; give the folder of google/gemma-2-2b in the "
            "transformers layout.",
            field="text_encoder",
            kind="missing",
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except FileNotFoundError:
        raise LuminaError(
            f"{folder} has no config.json; give a text encoder folder (Gemma-2) in the transformers layout.",
            field="text_encoder",
            kind="missing",
        ) from None
    except (ValueError, AttributeError, OSError) as error:
        raise LuminaError(
            f"{folder / 'config.json'} is not readable JSON; download the file again.",
            field="text_encoder",
            kind="file",
        ) from error
    if kind not in WIDTHS:
        raise LuminaError(
            f"{folder} contains a model of type {kind!r}; use 'gemma2' (google/gemma-2-2b) for videos or 'gemma' "
            "(google/gemma-2b) for Lumina-Next.",
            field="text_encoder",
            kind="mismatch",
        )
    if not any(folder.glob("*.safetensors")):
        raise LuminaError(
            f"{folder} has no .safetensors file; download the weights of google/gemma-2-2b into it.",
            field="text_encoder",
            kind="missing",
        )
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise LuminaError(
            f"{folder} has no tokenizer.json or tokenizer.model; download the tokenizer files into it.",
            field="text_encoder",
            kind="missing",
        )
    return config


def _dtype_keyword() -> str:
    """transformers renamed torch_dtype to dtype in 4.56."""
    from transformers import __version__

    major, minor = (int(part) for part in __version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
