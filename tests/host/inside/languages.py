"""Inside the host: the tokens of prompts in many languages, by our loader's CLIP and by the host's own Gemma-2 CLIP."""

import json
import runpy
from pathlib import Path

import folder_paths
import torch
from lumina_video_under_test.lumina_core.text.gemma import SYSTEM_PROMPT
from lumina_video_under_test.nodes.conditioning import TextEncode
from lumina_video_under_test.nodes.host import text_encoder as clip_support
from lumina_video_under_test.nodes.host.plain_text import plain_text, plain_tokens

import nodes


def main(models: str, texts_file: str) -> dict:
    folder_paths.add_model_folder_path("text_encoders", f"{models}/text_encoders")
    texts = json.loads(Path(texts_file).read_text(encoding="utf-8"))
    folder = Path(models, "text_encoders", "gemma-like")
    native_clip = runpy.run_path(str(Path(__file__).with_name("clip.py")))["native_clip"]
    model = torch.frombuffer(bytearray((folder / "tokenizer.model").read_bytes()), dtype=torch.uint8)
    clips = {"loader": clip_support.load_clip("gemma-like"), "native": native_clip(str(folder), model)}
    return {name: {text: read(clip, texts[text]) for text in texts} for name, clip in clips.items()}


def read(clip, text: str) -> dict:
    """What our node makes of a text, and what the host's own node would."""
    ((row,),) = plain_tokens(clip, SYSTEM_PROMPT + text).values()
    ids = [token for token, weight in row]
    output = TextEncode.execute(clip, text)
    [[features, extra]] = output.args[0]
    ((host_row,),) = clip.tokenize(text).values()
    [[host_features, _]] = nodes.CLIPTextEncode().encode(clip, text)[0]
    return {
        "ids": ids,
        "weights": sorted({weight for token, weight in row}),
        "text": plain_text(clip, ids[1:]),
        "length": features.shape[1],
        "mask": extra["attention_mask"].tolist(),
        "notice": output.ui.as_dict()["text"][0] if output.ui else "",
        "host_ids": [token for token, weight in host_row],
        "host_weights": sorted({weight for token, weight in host_row}),
        "host_length": host_features.shape[1],
    }
