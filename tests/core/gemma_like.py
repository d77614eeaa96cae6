"""A tokenizer that stands for Gemma-2's, whose own file is not free to bring along.

It is small (900 pieces) and real: trained by SentencePiece with Gemma's settings, which are facts of its
``tokenizer.model`` (BPE, byte fallback, no prefix space, spaces and Unicode left as they are, digits apart, the same
special pieces at the same ids), and written in both forms that Gemma comes in: the SentencePiece model, which a host
reads out of its own text encoder file, and transformers' ``tokenizer.json``. What it proves is the way of a text to
the tokenizer and of the ids from it. Which ids the real vocabulary gives it cannot say.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
RESERVED = ["<mask>", "<2mass>", "[@BOS@]", *(f"<unused{i}>" for i in range(99)), "<start_of_turn>", "<end_of_turn>"]
NEWLINES = ["\n" * count for count in range(1, 32)]
POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
"""Li Bai, about 726."""
OLD_POEM = "國破山河在，城春草木深。\n感時花濺淚，恨別鳥驚心。"
"""Du Fu, 757, in the characters of Taiwan and Hong Kong."""
TEXTS = {
    "english": "A red kite over a grey sea, wind in the grass; the camera pans slowly to the left.",
    "chinese": "一只红色的风筝飞过灰色的大海，草地上有风，镜头缓慢向左移动。",
    "korean": "잿빛 바다 위로 붉은 연이 날고, 풀밭에 바람이 분다.",
    "japanese": "灰色の海の上を赤い凧が飛び、カメラはゆっくり左へ動く。",
    "poem": POEM,
    "old poem": OLD_POEM,
    "emoji": "🎉 a party 🎈",
    # A family and a flag of several code points each, a skin color, a keycap, a variation selector.
    "emoji of several code points": "👨‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿 👋🏽 7️⃣ ❤️ 🇰🇷",
    "weights": "a (red:1.2) kite, ((very)) high, [blue], {a|b} and (unbalanced",
    "escaped": "a kite \\(still\\) C:\\new\\(x) \\\\( \\",
    "embedding": "embedding:sea a kite, embedding:grass.\nembedding:wind and embedding: alone",
    "markup": "<b>kite</b> <image> &amp; %d {0} $HOME",
    "end of turn": "a kite<end_of_turn> over the sea",
    "spaces": "  two  spaces,\ta tab, a no-break\u00a0space, an ideographic\u3000one  ",
    "newlines": "one\ntwo\n\nthree\r\nfour\n",
    # The same letters composed and taken apart, of half and of full width: other characters, and so other ids.
    "composed": "caf\u00e9 \uac00 \u30ac \ufb01 Ａ １",
    "taken apart": "cafe\u0301 \u1100\u1161 \u30ab\u3099 fi A 1",
    "invisible": "a\u200bb\u200dc\ufeffd\u202ee \u0000 f",
    "unseen scripts": "красный змей, ιστός, نسيم, ว่าว, ꧁ 𒀀",
    "empty": "",
}
"""Prompts of every kind by what they are about."""
# Emoji, most marks and the scripts at the end of TEXTS are left out, so that they go through byte fallback.
_CORPUS = [
    "You are an assistant designed to generate high-quality videos with the highest degree of image-text alignment "
    "based on user prompts. <Prompt Start> ",
    *(TEXTS[name] for name in ("english", "chinese", "korean", "japanese")),
    "a kite and a star over the sea, from left to right",
    "明月光照大海，草地上的风筝飞向左边。",
    "바다 위의 연과 별",
]


def train_model() -> bytes:
    """The SentencePiece model."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CORPUS * 8),
        model_writer=model,
        model_type="bpe",
        vocab_size=900,
        hard_vocab_limit=False,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        user_defined_symbols=[*RESERVED, *NEWLINES],
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        unk_piece="<unk>",
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def write_tokenizer(folder: Path) -> int:
    """tokenizer.model, and the same as tokenizer.json with its settings; returns the number of pieces."""
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    proto = train_model()
    (folder / "tokenizer.model").write_bytes(proto)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=proto)
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    bpe = models.BPE(vocabulary, _merges(pieces, vocabulary), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", "<bos> $A <bos> $B", [("<bos>", 2)])
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in SPECIAL])
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in (*RESERVED, *NEWLINES)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
        **{f"{piece.strip('<>')}_token": piece for piece in SPECIAL},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return len(vocabulary)


def write_text_encoder(folder: Path, seed: int = 0) -> Path:
    """A Gemma-2 of width 48 with this tokenizer, in the transformers layout; returns the folder."""
    import torch
    from transformers import Gemma2Config, Gemma2Model

    folder.mkdir(parents=True, exist_ok=True)
    config = Gemma2Config(
        vocab_size=write_tokenizer(folder),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        max_position_embeddings=512,
    )
    torch.manual_seed(seed)
    Gemma2Model(config).save_pretrained(folder)
    return folder


def _merges(pieces, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put a learnt piece together from two others, best pieces first: what SentencePiece does by score."""
    learnt = [
        piece
        for piece, i in vocabulary.items()
        if len(piece) > 1 and not (pieces.is_control(i) or pieces.is_byte(i) or piece in RESERVED or piece in NEWLINES)
    ]
    learnt.sort(key=lambda piece: -pieces.get_score(vocabulary[piece]))
    return [
        (piece[:cut], piece[cut:])
        for piece in learnt
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
