"""Pretext tasks, one file a paper. Each is a function that returns a `jssl.method.Method`."""

from jssl.methods.autoencoder import autoencoder, denoising_autoencoder
from jssl.methods.barlow_twins import barlow_twins
from jssl.methods.beit import beit
from jssl.methods.bert import bert
from jssl.methods.byol import byol
from jssl.methods.clip import clip
from jssl.methods.colorization import colorization
from jssl.methods.cpc import cpc
from jssl.methods.data2vec import data2vec
from jssl.methods.dcl import dcl
from jssl.methods.deepcluster import deepcluster
from jssl.methods.deepcluster_v2 import deepcluster_v2
from jssl.methods.dino import dino
from jssl.methods.fixmatch import fixmatch
from jssl.methods.flexmatch import flexmatch
from jssl.methods.gpt import gpt
from jssl.methods.ibot import ibot
from jssl.methods.ijepa import ijepa
from jssl.methods.inpainting import inpainting
from jssl.methods.jigsaw import jigsaw
from jssl.methods.lejepa import lejepa
from jssl.methods.mae import mae
from jssl.methods.mean_teacher import mean_teacher
from jssl.methods.moco_v2 import moco_v2
from jssl.methods.moco_v3 import moco_v3
from jssl.methods.nnclr import nnclr
from jssl.methods.patch_location import patch_location
from jssl.methods.patchtst import patchtst
from jssl.methods.pi_model import pi_model
from jssl.methods.pseudo_label import pseudo_label
from jssl.methods.rotation import rotation
from jssl.methods.scarf import scarf
from jssl.methods.siglip import siglip
from jssl.methods.simclr import simclr
from jssl.methods.simcse import simcse
from jssl.methods.simmim import simmim
from jssl.methods.simsiam import simsiam
from jssl.methods.supervised import supervised
from jssl.methods.swav import swav
from jssl.methods.ts2vec import ts2vec
from jssl.methods.vicreg import vicreg
from jssl.methods.vqvae import vqvae
from jssl.methods.wav2vec2 import wav2vec2
from jssl.methods.wmse import wmse

METHODS = {
    "simclr": simclr,
    "dcl": dcl,
    "moco_v2": moco_v2,
    "moco_v3": moco_v3,
    "nnclr": nnclr,
    "byol": byol,
    "simsiam": simsiam,
    "dino": dino,
    "barlow_twins": barlow_twins,
    "vicreg": vicreg,
    "wmse": wmse,
    "lejepa": lejepa,
    "swav": swav,
    "deepcluster_v2": deepcluster_v2,
    "deepcluster": deepcluster,
    "mae": mae,
    "simmim": simmim,
    "beit": beit,
    "ibot": ibot,
    "data2vec": data2vec,
    "ijepa": ijepa,
    "vqvae": vqvae,
    "autoencoder": autoencoder,
    "denoising_autoencoder": denoising_autoencoder,
    "inpainting": inpainting,
    "colorization": colorization,
    "rotation": rotation,
    "patch_location": patch_location,
    "jigsaw": jigsaw,
    "bert": bert,
    "gpt": gpt,
    "simcse": simcse,
    "cpc": cpc,
    "wav2vec2": wav2vec2,
    "clip": clip,
    "siglip": siglip,
    "ts2vec": ts2vec,
    "patchtst": patchtst,
    "scarf": scarf,
    "supervised": supervised,
    "pseudo_label": pseudo_label,
    "pi_model": pi_model,
    "mean_teacher": mean_teacher,
    "fixmatch": fixmatch,
    "flexmatch": flexmatch,
}

__all__ = [
    "METHODS",
    "autoencoder",
    "barlow_twins",
    "beit",
    "bert",
    "byol",
    "clip",
    "colorization",
    "cpc",
    "data2vec",
    "dcl",
    "deepcluster",
    "deepcluster_v2",
    "denoising_autoencoder",
    "dino",
    "fixmatch",
    "flexmatch",
    "gpt",
    "ibot",
    "ijepa",
    "inpainting",
    "jigsaw",
    "lejepa",
    "mae",
    "mean_teacher",
    "moco_v2",
    "moco_v3",
    "nnclr",
    "patch_location",
    "patchtst",
    "pi_model",
    "pseudo_label",
    "rotation",
    "scarf",
    "siglip",
    "simclr",
    "simcse",
    "simmim",
    "simsiam",
    "supervised",
    "swav",
    "ts2vec",
    "vicreg",
    "vqvae",
    "wav2vec2",
    "wmse",
]
