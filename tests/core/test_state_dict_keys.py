"""The published key names, and the released network's size."""

import torch

from lumina_core import MultiScaleNextDiT
from lumina_core.network.config import VideoConfig

# Every key of layer 0 and of the parts around the layers, with the released shapes.
PARTS = {
    "pad_token": (2304,),
    "all_x_embedder.2-1.weight": (2304, 64),
    "all_x_embedder.2-1.bias": (2304,),
    "all_x_embedder.2-2.weight": (2304, 128),
    "all_x_embedder.2-2.bias": (2304,),
    "all_x_embedder.4-2.weight": (2304, 512),
    "all_x_embedder.4-2.bias": (2304,),
    "all_final_layer.2-1.linear.weight": (64, 2304),
    "all_final_layer.2-1.linear.bias": (64,),
    "all_final_layer.2-1.adaLN_modulation.1.weight": (2304, 1024),
    "all_final_layer.2-1.adaLN_modulation.1.bias": (2304,),
    "all_final_layer.2-2.linear.weight": (128, 2304),
    "all_final_layer.2-2.linear.bias": (128,),
    "all_final_layer.2-2.adaLN_modulation.1.weight": (2304, 1024),
    "all_final_layer.2-2.adaLN_modulation.1.bias": (2304,),
    "all_final_layer.4-2.linear.weight": (512, 2304),
    "all_final_layer.4-2.linear.bias": (512,),
    "all_final_layer.4-2.adaLN_modulation.1.weight": (2304, 1024),
    "all_final_layer.4-2.adaLN_modulation.1.bias": (2304,),
    "t_embedder.mlp.0.weight": (1024, 256),
    "t_embedder.mlp.0.bias": (1024,),
    "t_embedder.mlp.2.weight": (1024, 1024),
    "t_embedder.mlp.2.bias": (1024,),
    "motion_embedder.mlp.0.weight": (1024, 256),
    "motion_embedder.mlp.0.bias": (1024,),
    "motion_embedder.mlp.2.weight": (1024, 1024),
    "motion_embedder.mlp.2.bias": (1024,),
    "cap_embedder.0.weight": (2304,),
    "cap_embedder.0.bias": (2304,),
    "cap_embedder.1.weight": (1024, 2304),
    "cap_embedder.1.bias": (1024,),
}
LAYER = {
    "attention.gate": (16,),
    "attention.wq.weight": (2304, 2304),
    "attention.wk.weight": (1152, 2304),
    "attention.wv.weight": (1152, 2304),
    "attention.wk_y.weight": (1152, 2304),
    "attention.wv_y.weight": (1152, 2304),
    "attention.wo.weight": (2304, 2304),
    "attention.q_norm.weight": (2304,),
    "attention.q_norm.bias": (2304,),
    "attention.k_norm.weight": (1152,),
    "attention.k_norm.bias": (1152,),
    "attention.ky_norm.weight": (1152,),
    "attention.ky_norm.bias": (1152,),
    "feed_forward.w1.weight": (6144, 2304),
    "feed_forward.w2.weight": (2304, 6144),
    "feed_forward.w3.weight": (6144, 2304),
    "attention_norm1.weight": (2304,),
    "ffn_norm1.weight": (2304,),
    "attention_norm2.weight": (2304,),
    "ffn_norm2.weight": (2304,),
    "adaLN_modulation.1.weight": (9216, 1024),
    "adaLN_modulation.1.bias": (9216,),
    "attention_y_norm.weight": (2304,),
}


def test_released_network():
    with torch.device("meta"):
        network = MultiScaleNextDiT(VideoConfig())
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert found == PARTS | {f"layers.{i}.{key}": shape for i in range(24) for key, shape in LAYER.items()}
    assert len(found) == 583
    assert sum(p.numel() for p in network.parameters()) == 1_771_364_672
    assert sum(p.numel() for p in network.parameters()) == sum(v.numel() for v in network.state_dict().values())
