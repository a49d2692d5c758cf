"""Families of Hugging Face's transformers, made by configuration: small, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hwopt.models import libraries

WIDTH, HEADS, LAYERS, TOKENS, LENGTH, CLASSES, SIZE = 64, 4, 2, 99, 16, 5, 64
#: What most configurations call their sizes.
_USUAL = {
    "vocab_size": TOKENS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 2 * WIDTH,
    "num_labels": CLASSES,
}
_IMAGE = {"image_size": SIZE, "patch_size": 16}
_ENCODER_DECODER = {
    "vocab_size": TOKENS,
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 2 * WIDTH,
    "decoder_ffn_dim": 2 * WIDTH,
}
_SPEECH = {
    "conv_dim": (32, 32),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}

Inputs = dict[str, Tensor]


def _text() -> Inputs:
    ids = torch.randint(2, TOKENS, (1, LENGTH))
    mask = torch.ones(1, LENGTH, dtype=torch.int64)
    mask[:, -3:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _tokens() -> Inputs:
    return {"input_ids": torch.randint(2, TOKENS, (1, LENGTH))}


def _both_sides() -> Inputs:
    return {**_text(), "decoder_input_ids": torch.randint(2, TOKENS, (1, 7))}


def _image() -> Inputs:
    return {"pixel_values": torch.randn(1, 3, SIZE, SIZE)}


def _sound() -> Inputs:
    return {"input_values": torch.randn(1, 1600)}


def _spectrum() -> Inputs:
    return {
        "input_features": torch.randn(1, 20, 60),
        "decoder_input_ids": torch.randint(2, TOKENS, (1, 7)),
    }


def _image_and_text() -> Inputs:
    return {**_text(), **_image()}


#: By family: the class, what its configuration says beside or instead of the usual, the inputs.
FAMILIES: dict[str, tuple[str, dict[str, Any], Callable[[], Inputs]]] = {
    "albert": ("AlbertForSequenceClassification", {**_USUAL, "embedding_size": 32}, _text),
    "bert": ("BertForSequenceClassification", _USUAL, _text),
    "roberta": ("RobertaForSequenceClassification", {**_USUAL, "pad_token_id": 1}, _text),
    "distilbert": (
        "DistilBertForSequenceClassification",
        {**_USUAL, "dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": 2 * WIDTH},
        _text,
    ),
    "electra": ("ElectraForSequenceClassification", {**_USUAL, "embedding_size": 32}, _text),
    "deberta-v2": (
        "DebertaV2ForSequenceClassification",
        {**_USUAL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        _text,
    ),
    "mpnet": ("MPNetForSequenceClassification", _USUAL, _text),
    "mobilebert": (
        "MobileBertForSequenceClassification",
        {**_USUAL, "intra_bottleneck_size": 32, "embedding_size": 32, "true_hidden_size": 32},
        _text,
    ),
    "squeezebert": (
        "SqueezeBertForSequenceClassification",
        {**_USUAL, "embedding_size": WIDTH},
        _text,
    ),
    "modernbert": ("ModernBertForSequenceClassification", {**_USUAL, "pad_token_id": 0}, _text),
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": TOKENS, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS},
        _tokens,
    ),
    "gpt-neox": ("GPTNeoXForCausalLM", _USUAL, _tokens),
    "opt": ("OPTForCausalLM", {**_USUAL, "ffn_dim": 128, "word_embed_proj_dim": WIDTH}, _tokens),
    "bloom": ("BloomForCausalLM", {**_USUAL, "n_layer": LAYERS, "n_head": HEADS}, _tokens),
    "llama": ("LlamaForCausalLM", {**_USUAL, "num_key_value_heads": 2}, _tokens),
    "mistral": ("MistralForCausalLM", {**_USUAL, "num_key_value_heads": 2}, _tokens),
    "qwen2": ("Qwen2ForCausalLM", {**_USUAL, "num_key_value_heads": 2}, _tokens),
    "gemma": ("GemmaForCausalLM", {**_USUAL, "num_key_value_heads": 1, "head_dim": 16}, _tokens),
    "phi": ("PhiForCausalLM", {**_USUAL, "pad_token_id": 0}, _tokens),
    "t5": (
        "T5ForConditionalGeneration",
        {
            "vocab_size": TOKENS,
            "d_model": WIDTH,
            "d_kv": 16,
            "d_ff": 128,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "decoder_start_token_id": 0,
        },
        _both_sides,
    ),
    "bart": ("BartForConditionalGeneration", _ENCODER_DECODER, _both_sides),
    "marian": (
        "MarianMTModel",
        {**_ENCODER_DECODER, "pad_token_id": 1, "decoder_start_token_id": 1},
        _both_sides,
    ),
    "whisper": (
        "WhisperForConditionalGeneration",
        {
            **_ENCODER_DECODER,
            "num_mel_bins": 20,
            "max_source_positions": 30,
            "pad_token_id": 1,
            "bos_token_id": 1,
            "eos_token_id": 1,
            "decoder_start_token_id": 1,
        },
        _spectrum,
    ),
    "wav2vec2": ("Wav2Vec2ForCTC", {**_USUAL, **_SPEECH}, _sound),
    "hubert": ("HubertForCTC", {**_USUAL, **_SPEECH}, _sound),
    "wavlm": ("WavLMForCTC", {**_USUAL, **_SPEECH}, _sound),
    "audio-spectrogram": (
        "ASTForAudioClassification",
        {**_USUAL, "max_length": 64, "num_mel_bins": 32},
        lambda: {"input_values": torch.randn(1, 64, 32)},
    ),
    "vit": ("ViTForImageClassification", {**_USUAL, **_IMAGE}, _image),
    "deit": ("DeiTForImageClassification", {**_USUAL, **_IMAGE}, _image),
    "beit": ("BeitForImageClassification", {**_USUAL, **_IMAGE}, _image),
    "dinov2": ("Dinov2ForImageClassification", {**_USUAL, **_IMAGE}, _image),
    "swin": (
        "SwinForImageClassification",
        {
            "image_size": SIZE,
            "embed_dim": 32,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            "num_labels": CLASSES,
        },
        _image,
    ),
    "convnext": (
        "ConvNextForImageClassification",
        {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "num_labels": CLASSES},
        _image,
    ),
    "resnet": (
        "ResNetForImageClassification",
        {
            "embedding_size": 16,
            "hidden_sizes": [16, 32, 48, 64],
            "depths": [1, 1, 2, 1],
            "num_labels": CLASSES,
        },
        _image,
    ),
    "mobilevit": (
        "MobileViTForImageClassification",
        {"image_size": SIZE, "hidden_sizes": [32, 40, 48], "num_labels": CLASSES},
        _image,
    ),
    "segformer": (
        "SegformerForSemanticSegmentation",
        {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 32, 48, 64],
            "num_attention_heads": [1, 2, 2, 4],
            "decoder_hidden_size": 32,
            "num_labels": CLASSES,
        },
        _image,
    ),
    "detr": (
        "DetrForObjectDetection",
        {
            **_ENCODER_DECODER,
            "num_queries": 10,
            "num_labels": CLASSES,
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone": None,
        },
        _image,
    ),
    "yolos": (
        "YolosForObjectDetection",
        {**_USUAL, **_IMAGE, "image_size": [SIZE, SIZE], "num_detection_tokens": 10},
        _image,
    ),
    "clip": ("CLIPModel", {}, _image_and_text),
    "layoutlm": (
        "LayoutLMForSequenceClassification",
        _USUAL,
        lambda: {**_text(), "bbox": torch.randint(0, 900, (1, LENGTH, 4)).sort(-1).values},
    ),
}


def create(family: str) -> tuple[nn.Module, Inputs]:
    """Return a model of a family, and its inputs by name."""
    libraries.torchvision()  # which transformers imports
    import transformers

    name, options, inputs = FAMILIES[family]
    model_class = getattr(transformers, name)
    if family == "clip":
        sides = {
            "text_config": {**_USUAL, "eos_token_id": TOKENS - 1},
            "vision_config": {**_USUAL, **_IMAGE},
        }
        options = {**sides, "projection_dim": 32}
    if family == "detr":
        backbone: dict[str, Any] = {
            "embedding_size": 16,
            "hidden_sizes": [16, 32, 48, 64],
            "depths": [1, 1, 1, 1],
            "out_features": ["stage4"],
        }
        options = {**options, "backbone_config": transformers.ResNetConfig(**backbone)}
    config = model_class.config_class(**options)
    config.use_cache = False
    return model_class(config), inputs()
