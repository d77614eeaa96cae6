"""The mini text encoder's tokenizer: caption words, letters for other words, one token per Chinese character."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

from .captions import characters, words
from .system_prompts import SYSTEM_PROMPTS

# Special tokens in the order of their ids, which are those of Gemma.
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
PAD, EOS, BOS, UNKNOWN = range(4)


def write_tokenizer(folder: Path) -> int:
    """Write tokenizer.json and tokenizer_config.json in the transformers layout; returns the vocabulary size."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {piece: index for index, piece in enumerate(_pieces())}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[UNKNOWN], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", BOS)]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 10**30,
        "clean_up_tokenization_spaces": False,
        **{f"{piece.strip('<>')}_token": piece for piece in SPECIAL},
    }
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return len(vocabulary)


def _pieces() -> list[str]:
    """The vocabulary. Unknown words are spelled with a first letter and continuation letters that start with ##."""
    letters = string.ascii_lowercase + string.digits
    system = re.findall(r"\w+", " ".join(SYSTEM_PROMPTS.values()).lower())
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *string.punctuation]
    return list(dict.fromkeys([*pieces, *characters(), *system, *words()]))
