"""CLIP features are transformers' own, from its folder or from open_clip's one file."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from refusals import refused

from lumina_core.audio import clip_loader as clip_files
from lumina_core.audio.clip import ClipFeatures
from lumina_core.audio.clip_loader import DFN5B, from_open_clip, load_clip
from lumina_core.mini.audio_tokenizer import BOS, EOS, write_audio_tokenizer

TEXTS = ["the sound of a bell", "", "A red star, and a Zeppelin!"]


def settings(tokens: int) -> dict:
    tower = {"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "quick_gelu"}
    return {
        "model_type": "clip",
        "projection_dim": 12,
        "vision_config": tower | {"hidden_size": 16, "image_size": 20, "patch_size": 5, "projection_dim": 12},
        "text_config": tower
        | {"hidden_size": 8, "vocab_size": tokens, "max_position_embeddings": 77, "projection_dim": 12}
        | {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": 0},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random CLIP that transformers wrote, with a tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    path = tmp_path_factory.mktemp("clip")
    config = CLIPConfig.from_dict(settings(write_audio_tokenizer(path)))
    torch.manual_seed(5)
    model = CLIPModel(config)
    for value in model.parameters():
        value.data.normal_(0, 0.3)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def clip(folder) -> ClipFeatures:
    return load_clip(folder)


@pytest.fixture(scope="module")
def original(folder):
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(folder).eval()


def test_sizes_are_those_of_the_folder(clip):
    assert (clip.width, clip.text_width, clip.text_tokens, clip.side) == (12, 8, 77, 20)
    assert not clip.training and not any(value.requires_grad for value in clip.parameters())


@torch.no_grad()
def test_frames_have_the_image_features_of_transformers(clip, original, random):
    frames = random(40, 20, 20, 3).sigmoid()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    spread = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = ((frames - mean) / spread).permute(0, 3, 1, 2)
    expected = original.visual_projection(original.vision_model(pixel_values=pixels).pooler_output)
    found = clip.visual(frames)
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True))
    # In pieces as well as at once.
    torch.testing.assert_close(torch.cat([clip.visual(part) for part in frames.split(7)]), found)


@torch.no_grad()
def test_texts_have_the_normed_states_of_transformers(clip, original, folder):
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", max_length=77, return_tensors="pt")
    features, mask = clip.text(TEXTS)
    assert features.shape == (3, 77, 8) and features.dtype == torch.float32
    assert torch.equal(mask, tokens["attention_mask"].bool()) and mask.sum(dim=1).tolist()[:2] == [7, 2]
    states = original.text_model(**tokens).last_hidden_state
    torch.testing.assert_close(features[mask], F.normalize(states, dim=-1)[mask])
    # Behind the last norm: undoing its weights gives rows of mean 0 and variance 1.
    norm = original.text_model.final_layer_norm
    plain = (states - norm.bias) / norm.weight
    torch.testing.assert_close(plain.var(dim=-1, unbiased=False), torch.ones(3, 77), rtol=1e-3, atol=1e-3)


def test_frames_of_any_shape_are_squashed(clip):
    # A ramp over a wide frame and over a square one are the same picture once squashed.
    wide, square = (torch.linspace(0, 1, size)[None, None, :, None].expand(1, 40, size, 3) for size in (160, 40))
    torch.testing.assert_close(clip.visual(wide), clip.visual(square), rtol=0.05, atol=0.05)
    assert clip.visual(torch.rand(2, 33, 7, 3)).shape == (2, 12)


def test_dfn5b_sees_the_upper_left_of_a_larger_square(clip, monkeypatch):
    monkeypatch.setattr("lumina_core.audio.clip._RESIZE", {20: 24})
    frames = torch.rand(1, 24, 24, 3)
    found = clip.pixels(frames)
    assert found.shape == (1, 3, 20, 20)
    monkeypatch.undo()
    torch.testing.assert_close(found, clip.pixels(frames[:, :20, :20]))


def test_the_patches_of_384_are_those_of_378():
    frame = torch.randn(1, 3, 384, 384)
    weight = torch.randn(2, 3, 14, 14)
    full, cut = F.conv2d(frame, weight, stride=14), F.conv2d(frame[:, :, :378, :378], weight, stride=14)
    torch.testing.assert_close(full, cut)
    vision = DFN5B["vision_config"]
    assert (vision["image_size"] // vision["patch_size"]) ** 2 + 1 == 730


def test_long_texts_are_cut_to_the_length_and_keep_their_end(clip):
    _, mask = clip.text(["bell " * 200])
    assert mask.all()
    rows = clip.tokenizer(["bell " * 200], truncation=True, max_length=77)["input_ids"]
    assert rows[0][0] == BOS and rows[0][-1] == EOS


def test_padding_is_not_seen(clip):
    """A text alone and beside a longer one has the same states."""
    alone, mask = clip.text(["a drum"])
    beside, _ = clip.text(["a drum", "a red star moves to the right on a black background"])
    torch.testing.assert_close(alone[0][mask[0]], beside[0][mask[0]])


@pytest.mark.parametrize("texts", ["a bell", [], [None]])
def test_texts_that_are_none_are_told(clip, texts):
    with refused("texts"):
        clip.text(texts)


def test_half_a_character_is_told(clip):
    with refused("prompt"):
        clip.text(["a bell", "a drum \ud83d"])


def test_features_that_are_not_finite_are_told(folder):
    broken = load_clip(folder)
    broken.model.visual_projection.weight.data[0, 0] = math.inf
    with refused("clip", "numerics"):
        broken.visual(torch.rand(1, 20, 20, 3))


def as_open_clip(model) -> dict[str, torch.Tensor]:
    """The weights under the names of open_clip, by walking its modules and not by the loader's table."""
    found = {
        "logit_scale": model.logit_scale,
        "positional_embedding": model.text_model.embeddings.position_embedding.weight,
        "token_embedding.weight": model.text_model.embeddings.token_embedding.weight,
        "text_projection": model.text_projection.weight.T,
        "visual.proj": model.visual_projection.weight.T,
        "visual.class_embedding": model.vision_model.embeddings.class_embedding,
        "visual.conv1.weight": model.vision_model.embeddings.patch_embedding.weight,
        "visual.positional_embedding": model.vision_model.embeddings.position_embedding.weight,
    }
    modules = {
        "ln_final": model.text_model.final_layer_norm,
        "visual.ln_pre": model.vision_model.pre_layrnorm,
        "visual.ln_post": model.vision_model.post_layernorm,
    }
    for prefix, tower in (("", model.text_model), ("visual.", model.vision_model)):
        for number, layer in enumerate(tower.encoder.layers):
            block, attention = f"{prefix}transformer.resblocks.{number}", layer.self_attn
            for kind in ("weight", "bias"):
                parts = [getattr(p, kind) for p in (attention.q_proj, attention.k_proj, attention.v_proj)]
                found[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
            modules |= {f"{block}.ln_1": layer.layer_norm1, f"{block}.ln_2": layer.layer_norm2}
            modules |= {f"{block}.attn.out_proj": attention.out_proj}
            modules |= {f"{block}.mlp.c_fc": layer.mlp.fc1, f"{block}.mlp.c_proj": layer.mlp.fc2}
    for name, module in modules.items():
        found |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
    return {key: value.detach().contiguous() for key, value in found.items()}


@pytest.fixture
def single(original, folder, tmp_path, monkeypatch):
    """A folder with a tokenizer and open_clip's file, of sizes that pass for DFN5B's."""
    from safetensors.torch import save_file

    write_audio_tokenizer(tmp_path)
    monkeypatch.setattr(clip_files, "DFN5B", settings(original.config.text_config.vocab_size))
    save_file(as_open_clip(original), tmp_path / "dfn.safetensors")
    return tmp_path


def test_the_single_file_of_open_clip_is_the_same_network(single, clip, random):
    frames = random(3, 20, 20, 3).sigmoid()
    for path in (single / "dfn.safetensors", single):
        found = load_clip(path)
        assert torch.equal(found.visual(frames), clip.visual(frames))
        assert torch.equal(found.text(TEXTS)[0], clip.text(TEXTS)[0])


def test_the_single_file_as_a_pickle_and_in_half_precision(single, clip, original, random):
    (single / "dfn.safetensors").unlink()
    torch.save({key: value.half() for key, value in as_open_clip(original).items()}, single / "open_clip.bin")
    found = load_clip(single)
    assert {value.dtype for value in found.parameters()} == {torch.float32}
    frames = random(3, 20, 20, 3).sigmoid()
    torch.testing.assert_close(found.visual(frames), clip.visual(frames), rtol=0.02, atol=0.02)


def test_a_tokenizer_from_elsewhere(single, clip, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("words")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (single / name).rename(elsewhere / name)
    with refused("clip", "missing"):
        load_clip(single / "dfn.safetensors")
    found = load_clip(single / "dfn.safetensors", tokenizer=elsewhere)
    assert torch.equal(found.text(TEXTS)[0], clip.text(TEXTS)[0])


def test_names_of_open_clip_cover_the_whole_network(original):
    mapped = from_open_clip(as_open_clip(original))
    expected = original.state_dict()
    assert mapped.keys() == expected.keys()
    assert all(torch.equal(mapped[key], expected[key]) for key in expected)


def test_another_clip_in_one_file_is_told(single, original):
    from safetensors.torch import save_file

    weights = as_open_clip(original)
    weights["visual.transformer.resblocks.7.attn.in_proj_weight"] = torch.zeros(48, 16)
    weights["visual.transformer.resblocks.7.attn.new"] = torch.zeros(1)
    weights["ln_final.weight"] = torch.zeros(9)
    save_file(weights, single / "dfn.safetensors")
    with refused("file", "file", "4 unexpected", "final_layer_norm"):
        load_clip(single)


def copied(folder, target):
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_older_files_carry_position_numbers(folder, original, tmp_path, clip):
    copied(folder, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    weights = original.state_dict() | {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert torch.equal(load_clip(tmp_path).text(TEXTS)[0], clip.text(TEXTS)[0])


def edited(folder, **changes):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


def test_folders_of_something_else_are_told(folder, tmp_path):
    copied(folder, tmp_path)
    edited(tmp_path, model_type="siglip")
    with refused("clip", "mismatch", "'siglip'", "'clip'"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with refused("clip", "file"):
        load_clip(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with refused("clip", "missing", "model.safetensors"):
        load_clip(tmp_path)
    (tmp_path / "config.json").unlink()
    with refused("clip", "missing", "0"):
        load_clip(tmp_path)
    with refused("clip", "missing"):
        load_clip(tmp_path / "no")
    with refused("clip", "file", "tokenizer.json"):
        load_clip(tmp_path / "tokenizer.json")


def test_sizes_that_do_not_fit_the_weights_are_told(folder, tmp_path):
    copied(folder, tmp_path)
    edited(tmp_path, projection_dim=13)
    with refused("file", "file", "2 of"):
        load_clip(tmp_path)
    edited(tmp_path, vision_config="large")
    with refused("clip", "file", "config.json", "model.safetensors"):
        load_clip(tmp_path)


def test_damaged_tokenizers_and_weights_are_told(folder, tmp_path):
    copied(folder, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with refused("clip", "file"):
        load_clip(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with refused("file", "file", "model.safetensors"):
        load_clip(tmp_path)
