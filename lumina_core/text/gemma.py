"""Prompts into the text features that the networks read: the second-last hidden state of a Gemma.

Lumina-Video reads Gemma-2-2B behind a system prompt, Lumina-Next's images the first Gemma-2B without one.
Source: `generate.py` of Lumina-Video (`SYSTEM_PROMPT`, `encode_prompt`); `demo.py` of Lumina-Next (`encode_prompt`).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import LuminaError

# A fact of the released weights (generate.py): they were trained behind exactly this text, trailing space included.
SYSTEM_PROMPT = (
    "You are an assistant designed to generate high-quality videos with the highest degree of image-text alignment "
    "based on user prompts. <Prompt Start> "
)
VIDEO_KIND = "gemma2"
WIDTHS = {VIDEO_KIND: 2304, "gemma": 3072}
"""Kinds of text encoders by `model_type`, and what a config.json without hidden_size means to transformers."""
MAX_TOKENS = 256  # BOS and system prompt included
_SHOWN = 60
"""Characters shown of a text that was cut off."""


@dataclass(frozen=True)
class TextFeatures:
    """What the network reads, and what it will not see.

    features: (B, L, D), the encoder's dtype and device. Rows are padded on the right.
    mask: (B, L) bool, True on real tokens.
    truncated: tokens cut off the end of each prompt, 0 where it fitted.
    left_out: the text that they are, empty where it fitted.
    """

    features: torch.Tensor
    mask: torch.Tensor
    truncated: list[int]
    left_out: list[str]


def with_system_prompt(prompt: str) -> str:
    """The text that is really encoded. An empty negative prompt becomes the system prompt alone."""
    return SYSTEM_PROMPT + prompt


def check_text(text: str, name: str = "prompt") -> None:
    """Raise LuminaError unless ``text`` can be written as UTF-8, which no tokenizer does without.

    What cannot is half a character: a lone surrogate, as a broken escape or bytes of another encoding leave it.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        before = " ".join(text[: error.start].split())[-12:]
        raise LuminaError(
            f"The {name} holds half a character (U+{ord(text[error.start]):04X}) behind '{before}', expected text that "
            "can be written as UTF-8; delete it and type it again."
        ) from None


def beginning(text: str) -> str:
    """The first words of a text that was cut off, on one line; the rest of a character that was cut apart is left out.
    """
    words = " ".join(text.lstrip("\ufffd").split())
    return words if len(words) <= _SHOWN else words[:_SHOWN].rstrip() + "..."


class TextEncoder:
    """A Gemma up to its second-last layer, with its tokenizer. Made by `load_text_encoder`."""

    def __init__(self, model: torch.nn.Module, tokenizer) -> None:
        self.model = _up_to_second_last(model)
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        """D of the features; must equal the text width of the video network."""
        return self.model.config.hidden_size

    @property
    def kind(self) -> str:
        """One of `WIDTHS`."""
        return self.model.config.model_type

    @property
    def system_prompt(self) -> str:
        """What `tokenize` puts before every prompt."""
        return SYSTEM_PROMPT if self.kind == VIDEO_KIND else ""

    def token_ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text as it stands, BOS first; nothing is put in front and nothing is cut.

        Raises LuminaError for a text with half a character, see `check_text`.
        """
        for text in texts:
            check_text(text)
        bos = self.tokenizer.bos_token_id
        rows = self.tokenizer(texts)["input_ids"]
        # Some tokenizer files leave BOS to the caller.
        return [row if row[:1] == [bos] else [bos, *row] for row in rows]

    def tokenize(self, prompts: list[str]) -> list[list[int]]:
        """Token ids of each prompt behind the system prompt, BOS first, not yet cut to MAX_TOKENS."""
        return self.token_ids([with_system_prompt(prompt) if self.system_prompt else prompt for prompt in prompts])

    def encode(self, prompts: list[str]) -> TextFeatures:
        """Features of `prompts` (the system prompt is put before each one, also before an empty one).

        Raises LuminaError if there is no prompt, one is not a string or holds half a character, or the features are
        not finite.
        """
        if isinstance(prompts, str) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
            raise LuminaError(f"prompts is {prompts!r}, expected a list of strings; wrap a single one in [].")
        for prompt in prompts:
            check_text(prompt)  # before the system prompt is, so that the fault's place is told
        rows = self.tokenize(prompts)
        kept = [row[:MAX_TOKENS] for row in rows]
        features, mask = self.encode_ids(kept)
        over = [row[MAX_TOKENS:] for row in rows]
        return TextFeatures(features, mask, [len(row) for row in over], [self.decode(row) for row in over])

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, special ones left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    @torch.no_grad()
    def encode_ids(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, L, D) and mask (B, L) of token ids; rows shorter than the longest are padded on the right.

        Raises LuminaError if the features are not finite.
        """
        features, mask = self.run(rows)
        if not features[mask].isfinite().all():
            raise LuminaError(
                f"The text encoder gave values that are not finite in {_name(features.dtype)}: "
                "load it in bfloat16 or float32, or fetch the weights again."
            )
        return features, mask

    def run(self, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """``encode_ids`` with gradients, unchecked."""
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
    """Load a Gemma from a transformers folder (config.json, *.safetensors, tokenizer.json); nothing is downloaded.

    Attention is the eager one: only that honours Gemma-2's logit soft cap on every transformers version.
    Raises LuminaError if the folder is missing, holds another kind of model, or lacks weights or tokenizer.
    """
    folder = Path(path)
    _check_folder(folder)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise LuminaError(
            f"The tokenizer in {folder} cannot be read ({_first_line(error)}); fetch the folder again."
        ) from error
    model = _load_model(folder, dtype)
    return TextEncoder(model.eval().requires_grad_(False).to(device), tokenizer)


def read_text_width(path: str | Path) -> int:
    """Width of the features that ``load_text_encoder(path)`` would give, from its config alone. Raises LuminaError."""
    config = _check_folder(Path(path))
    width = config.get("hidden_size", WIDTHS[config["model_type"]])
    if not isinstance(width, int):
        raise LuminaError(f"{path} gives hidden_size {width!r} in config.json, expected a number; fetch it again.")
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
            f"The text encoder weights in {folder} cannot be read ({_first_line(error)}); fetch the folder again."
        ) from error
    if missing := sorted(report["missing_keys"]):
        # transformers would only warn, and go on with random values.
        raise LuminaError(
            f"The text encoder weights in {folder} lack {len(missing)} of their entries ({missing[0]}, ...); "
            "fetch the folder again."
        )
    return model


def _up_to_second_last(model: torch.nn.Module) -> torch.nn.Module:
    """Cut `model` so that its last_hidden_state is the whole model's hidden_states[-2].

    hidden_states[-2] is the input of the last layer, without the final norm; so that layer and the norm are never run.
    """
    model.layers = model.layers[:-1]
    model.norm = torch.nn.Identity()
    model.config.num_hidden_layers = len(model.layers)
    return model


def _check_folder(folder: Path) -> dict:
    """The folder's config, if the folder holds what is needed. Raises LuminaError."""
    if not folder.is_dir():
        raise LuminaError(
            f"Text encoder folder {folder} does not exist or is a file; "
            "give the folder of google/gemma-2-2b in the transformers layout."
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except FileNotFoundError:
        raise LuminaError(f"{folder} has no config.json, expected a text encoder folder (Gemma-2).") from None
    except (ValueError, AttributeError, OSError) as error:
        raise LuminaError(f"{folder / 'config.json'} is not readable JSON; fetch the file again.") from error
    if kind not in WIDTHS:
        raise LuminaError(
            f"{folder} holds a model of type {kind!r}, expected 'gemma2' (google/gemma-2-2b), or 'gemma' "
            "(google/gemma-2b) for Lumina-Next's images."
        )
    if not any(folder.glob("*.safetensors")):
        raise LuminaError(f"{folder} has no .safetensors file; fetch the weights of google/gemma-2-2b into it.")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise LuminaError(f"{folder} has no tokenizer.json or tokenizer.model; fetch the tokenizer files into it.")
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
