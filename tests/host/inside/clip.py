"""Inside the host: Gemma-2 from a folder as CLIP, and the host's own Gemma-2 CLIP, through our node and theirs."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import comfy.model_management
import comfy.sd
import comfy.text_encoders.llama as llama
import comfy.text_encoders.lumina2 as lumina2
import folder_paths
import sentencepiece
import torch
from lumina_video_under_test.lumina_core.text.gemma import SYSTEM_PROMPT
from lumina_video_under_test.nodes.conditioning import TextEncode, encode_text
from lumina_video_under_test.nodes.host import text_encoder as clip_support
from safetensors.torch import load_file, save_file

import nodes


def main(models: str, prompts_file: str, outputs: str) -> dict:
    folder_paths.add_model_folder_path("text_encoders", f"{models}/text_encoders")
    prompts = json.loads(Path(prompts_file).read_text(encoding="utf-8"))
    names = clip_support.text_encoder_folders()
    clip = clip_support.load_clip("gemma-2-tiny")
    results, report = ours(clip, prompts)
    native = native_clip(f"{models}/text_encoders/gemma-2-tiny")
    for name, value in native_results(native, clip, prompts["long"]).items():
        (results if torch.is_tensor(value) else report)[name] = value
    save_file({name: value.contiguous().clone() for name, value in results.items()}, outputs)
    return {"folders": names, **report}


def ours(clip, prompts: dict[str, str]) -> tuple[dict, dict]:
    results, report = {}, {"ids": {}, "cut": {}, "notice": {}}
    for name, prompt in prompts.items():
        output = TextEncode.execute(clip, prompt)
        [[features, extra]] = output.args[0]
        results[f"features_{name}"], results[f"mask_{name}"] = features, extra["attention_mask"]
        report["ids"][name] = [token for token, weight in clip.tokenize(prompt, disable_weights=True)["gemma2"][0]]
        cut = encode_text(clip, prompt)[1]
        report["cut"][name] = [cut.tokens, cut.text] if cut else [0, ""]
        report["notice"][name] = output.ui.as_dict()["text"][0] if output.ui else ""
    comfy.model_management.unload_all_models()
    [[features, extra]] = TextEncode.execute(clip.clone(), prompts["short"]).args[0]
    results["clone"] = features
    (built_in,) = nodes.CLIPTextEncode().encode(clip, prompts["short"])
    results["built_in"] = built_in[0][0]
    report["built_in_keys"] = sorted(built_in[0][1])
    (zeroed,) = nodes.ConditioningZeroOut().zero_out(built_in)
    (concat,) = nodes.ConditioningConcat().concat(built_in, zeroed)
    (layered,) = nodes.CLIPSetLastLayer().set_last_layer(clip, -1)
    results["layered"] = nodes.CLIPTextEncode().encode(layered, prompts["short"])[0][0][0]
    report["concat_length"] = concat[0][0].shape[1]
    report["decoded"] = clip.tokenizer.decode(report["ids"]["short"])
    report["with_word_ids"] = len(clip.tokenize("a", return_word_ids=True)["gemma2"][0][0])
    report["state"] = [len(clip.get_sd()), len(clip.load_sd({})[0])]
    report["wrong_tokens"] = wrong_tokens(clip)
    report["missing_folder"] = missing_folder()
    report["patcher"] = [clip.patcher.is_clip, clip.patcher.model_size() > 0]
    return results, report


def wrong_tokens(clip) -> str:
    try:
        clip.encode_from_tokens({"l": [[(1, 1.0)]]})
    except ValueError as error:
        return str(error)
    return "no error"


def missing_folder() -> str:
    try:
        clip_support.load_clip("nothing-here")
    except ValueError as error:
        return str(error)
    return "no error"


def native_clip(folder: str, spiece: torch.Tensor | None = None):
    """The host's own Gemma-2 with the weights of our tiny one and a tiny sentencepiece model, or the one given."""
    spiece = spiece_model() if spiece is None else spiece
    config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    fields = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    )
    llama.Gemma2_2B_Config.head_dim = config["head_dim"]  # the one field that cannot be chosen from outside
    model_options = {"dtype": torch.float32, "gemma2_2b_model_config": {name: config[name] for name in fields}}
    target = SimpleNamespace(params={}, clip=lumina2.te(), tokenizer=lumina2.LuminaTokenizer)
    clip = comfy.sd.CLIP(target, tokenizer_data={"spiece_model": spiece}, model_options=model_options)
    weights = load_file(next(Path(folder).glob("*.safetensors")))
    missing, _ = clip.load_sd({f"model.{name}": value for name, value in weights.items()})
    assert missing == [] or set(missing) <= {"logit_scale"}, missing
    return clip


def spiece_model() -> torch.Tensor:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([SYSTEM_PROMPT, "a cat and a dog at the sea"] * 20),
        model_writer=model,
        vocab_size=80,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


def native_results(native, clip, long: str) -> dict:
    tokens = native.tokenize(SYSTEM_PROMPT + long, disable_weights=True)
    [[features, extra]], cut = encode_text(native, long)
    ids = [token for token, weight in tokens["gemma2_2b"][0]]
    same = clip.encode_from_tokens({"gemma2": [[(token, 1.0) for token in ids[:256]]]})
    return {
        "native": features,
        "native_mask": extra["attention_mask"],
        "same_ids": same,
        "native_ids": ids[:256],
        "native_cut": [cut.tokens, len(ids)],
    }
