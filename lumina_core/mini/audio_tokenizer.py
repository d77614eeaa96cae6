"""The mini CLIP's tokenizer: words of the audio captions, letters for other words, one token per Chinese character."""

from __future__ import annotations

import json
import string
from pathlib import Path

from .audio_captions import sound_characters, sound_words
from .captions import characters, words

# Special tokens, in the order of their ids.
SPECIAL = ("<pad>", "<bos>", "<unk>", "<eos>")
PAD, BOS, UNKNOWN, EOS = range(4)


def write_audio_tokenizer(folder: Path) -> int:
    """Write tokenizer.json and tokenizer_config.json in the transformers layout; returns the vocabulary size.

    Every text starts with <bos> and ends with <eos>, as in CLIP.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {piece: index for index, piece in enumerate(_pieces())}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[UNKNOWN], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        pair="<bos> $A <eos> <bos> $B <eos>",
        special_tokens=[("<bos>", BOS), ("<eos>", EOS)],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 77,
        "clean_up_tokenization_spaces": False,
        **{f"{piece.strip('<>')}_token": piece for piece in SPECIAL},
    }
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return len(vocabulary)


def _pieces() -> list[str]:
    """The vocabulary. Unknown words are spelled with a first letter and continuation letters that start with ##."""
    letters = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *string.punctuation]
    return list(dict.fromkeys([*pieces, *characters(), *sound_characters(), *words(), *sound_words()]))
