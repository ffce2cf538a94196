"""Networks: encoders that return `Features`, and the heads that methods put on them."""

from jssl.nn.conv import Conv
from jssl.nn.decoder import ConvDecoder, EncoderDecoder
from jssl.nn.encoders import ENCODERS, build, describe
from jssl.nn.heads import MLP, DINOHead, JointEmbedding, Projected
from jssl.nn.norm import BatchNorm, LayerNorm
from jssl.nn.positions import patchify, sincos2d, unpatchify
from jssl.nn.resnet import ResNet
from jssl.nn.text import TextTransformer
from jssl.nn.vit import Block, Transformer, ViT

__all__ = [
    "ENCODERS",
    "MLP",
    "BatchNorm",
    "Block",
    "Conv",
    "ConvDecoder",
    "DINOHead",
    "EncoderDecoder",
    "JointEmbedding",
    "LayerNorm",
    "Projected",
    "ResNet",
    "TextTransformer",
    "Transformer",
    "ViT",
    "build",
    "describe",
    "patchify",
    "sincos2d",
    "unpatchify",
]
