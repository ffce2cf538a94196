"""What ``jssl`` can be told: its verbs and their arguments.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

import argparse
from pathlib import Path

CONFIG_HELP = (
    "NAME of a config that ships with jssl, or PATH.py, with typed arguments behind a colon: "
    "simclr:data=bundled,encoder=resnet18"
)


def make_parser() -> argparse.ArgumentParser:
    """The parser; what it parsed has the verb's name as ``verb``, None where there was none."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = argparse.ArgumentParser(
        prog="jssl", description="Self-supervised learning for JAX.", parents=[common]
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")

    def verb(name, text, more=""):
        return verbs.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ". " + more,
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    _quickstart(verb)
    _pretrain(verb)
    _evaluate(verb)
    _compare(verb)
    _advise(verb)
    _embed(verb)
    _reconstruct(verb)
    _explain(verb)
    _workdir(verb("report", "write the run as one HTML page"))
    p = verb(
        "inspect",
        "show a run's step, its layers, frozen or trainable, and the SHA-256 of all it carries",
    )
    _checkpoint(p)
    _json(p)
    _tokenizer(verb)
    _fill(verb)
    _generate(verb)
    _bits(verb)
    _zeroshot(verb)
    _retrieve(verb)
    _compile(verb)
    _json(verb("list", "list methods, encoders, configs and data sources"))
    return parser


def _quickstart(verb):
    more = "\n\nRun it again and it goes on where it stopped, or shows the finished result."
    p = verb("quickstart", "pretrain SimCLR on the bundled images, evaluate, write a report", more)
    p.add_argument("--config", default="quickstart", help=CONFIG_HELP)
    _workdir(p, required=False, default=Path("runs/quickstart"))


def _pretrain(verb):
    more = """

  jssl pretrain --config simclr --workdir runs/simclr
  jssl pretrain --config simclr:data=folder:PHOTOS --workdir runs/photos --config.data.size=64
  jssl pretrain --config configs/mae.py --workdir runs/mae --config.optimizer.lr=0.001

The same command again goes on from the newest checkpoint. Ctrl-C and SIGTERM save and exit.
A key of the config is overridden by --config.KEY=VALUE; `jssl list` names configs and sources."""
    p = verb("pretrain", "learn an encoder from images without labels", more)
    p.add_argument("--config", required=True, help=CONFIG_HELP)
    _workdir(p)
    p.add_argument("--quiet", action="store_true", help="no progress lines")


def _evaluate(verb):
    more = """

  jssl evaluate --workdir runs/simclr
  jssl evaluate --embeddings FILE.npz --protocols all --json

Of a run: writes table.json and what the report shows into its folder. Of a file: prints alone."""
    text = "compare the pretrained encoder with raw pixels and a random encoder, or any embeddings"
    p = verb("evaluate", text, more)
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--workdir", type=Path, help="the run's folder")
    where.add_argument(
        "--embeddings",
        type=Path,
        help="FILE.npz with train_x, train_y, test_x, test_y, and perhaps views, train_targets, "
        "test_targets",
    )
    p.add_argument("--step", type=int, help="the checkpoint of this step (default: the newest)")
    _json(p)
    text = "of a run: segment the images of FOLDER/images by a linear head; FOLDER/masks has "
    text += "NAME.png for each, a class a value (255: none)"
    p.add_argument("--masks", type=Path, metavar="FOLDER", help=text)
    text = "a value of the masks that does not count; may be given more than once"
    p.add_argument("--ignore", type=int, action="append", help=text)
    p.add_argument(
        "--protocols",
        default="knn,linear,linear_10_per_class",
        help="all, or some of knn,linear,linear_10_per_class (the default),linear_1_per_class,"
        "linear_5_per_class,linear_1_percent,linear_10_percent,knn_sweep,calibration,regression,"
        "clustering,retrieval,verification,anomaly,unlabelled, and of a run "
        "classifier, corruptions, fine_tuned_10_percent (trains the encoder on: minutes)",
    )
    p.add_argument(
        "--rows",
        help="all, or some of raw_pixels,log_mel,raw_values,random_encoder,pretrained "
        "(default: all)",
    )


def _compare(verb):
    more = """

  jssl compare runs/simclr_0 runs/simclr_1 runs/byol
  jssl compare runs/* --output comparison.html

The runs must be evaluated, on the same data and by the same protocols. Those that differ in nothing
but their seed are one row: a mean and half of its 95 % interval. Where there are four runs or more
it says how well each measure without labels ranks them as the linear probe does."""
    p = verb("compare", "one table of several evaluated runs, with what they cost", more)
    p.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs")
    _json(p)
    p.add_argument("--output", type=Path, help="FILE.md or FILE.html, which has plots")


def _advise(verb):
    more = """

  jssl advise --workdir runs/simclr --data folder:PHOTOS
  jssl advise --workdir runs/simclr --data arrays:NEW.npz --run

Small is below 100 labelled examples a class; different is a Frechet distance of the encoder's own
embeddings from those of its pretraining data of half their total variance or more."""
    p = verb(
        "advise", "say what of a run's encoder to freeze for a new labelled set, and why", more
    )
    _checkpoint(p)
    _json(p)
    p.add_argument("--data", required=True, help="the new set: a source spec or a folder")
    p.add_argument("--split", default="train", help="of a set that has some (default: train)")
    p.add_argument("--run", action="store_true", help="try the advice and its neighbours: minutes")


def _embed(verb):
    more = "\n\n  jssl embed --workdir runs/simclr --input PHOTOS --output photos.npz"
    p = verb("embed", "turn images or texts into vectors, with their file names or numbers", more)
    _checkpoint(p)
    _images(p, required=True)
    p.add_argument("--output", type=Path, required=True, help="FILE.npz or FILE.parquet")


def _reconstruct(verb):
    more = """

  jssl reconstruct --workdir runs/mae --input PHOTOS --output FILLED
  jssl reconstruct --workdir runs/mae

With --output: a picture of each image as it is, as the encoder is given it and filled in, side by
side, under its own name. Without: PSNR and SSIM beside a mean fill and a blur. Without --input: of
the run's held-out images; the table is then kept as restoration.json, and the report shows it."""
    p = verb("reconstruct", "show what a method fills in, or measure how near it comes", more)
    _checkpoint(p)
    _json(p)
    _images(p)
    p.add_argument("--output", type=Path, help="a folder for the pictures")
    p.add_argument("--limit", type=int, help="only the first so many images")
    p.add_argument("--seed", type=int, default=0, help="of masks and noise (default: 0)")


def _explain(verb):
    more = """

  jssl explain --workdir runs/mae --input PHOTOS
  jssl explain --workdir runs/mae --other runs/simclr

Of each image, as PNG in the folder explain of the run and in its report: attention (of a ViT: that
of the last layer, and that through all layers), how far the embedding moves where a patch is
covered, its gradient, and the nearest training examples. Of each layer: kNN and a linear probe,
where there are labels, and CKA with the other layers, and with those of another run."""
    p = verb("explain", "show where the encoder looks and which layers hold what", more)
    _checkpoint(p)
    _json(p)
    _images(p)
    p.add_argument("--other", type=Path, help="the folder of a run to compare the layers with")
    text = "so many images, spread evenly over the input (default: 8)"
    p.add_argument("--limit", type=int, default=8, help=text)


def _tokenizer(verb):
    more = """

  jssl tokenizer --data text:BOOKS.txt --size 8192 --output tokenizer.json

Reads .txt (paragraphs, or lines where no line is empty), .jsonl, .csv and .tsv (FILE@COLUMN, or
FILE@COLUMN@LABEL; numbers where there is no header), and folders with a class a file or folder;
needs pip install 'jssl[text]'."""
    p = verb("tokenizer", "train a tokenizer on texts", more)
    p.add_argument("--data", required=True, help="text:PATH[@COLUMN]")
    p.add_argument("--size", type=int, required=True, help="of the vocabulary")
    kinds = "bpe (of bytes, the default), wordpiece or unigram"
    p.add_argument("--kind", default="bpe", help=kinds)
    p.add_argument("--output", type=Path, required=True, help="FILE.json")


def _fill(verb):
    more = '\n\n  jssl fill "The [MASK] of France is Paris." --workdir runs/bert'
    p = verb("fill", "show the likeliest tokens for each [MASK] of a text", more)
    p.add_argument("text", help="with [MASK] where a token is to be filled in")
    _checkpoint(p)
    _json(p)
    p.add_argument("--top", type=int, default=5, help="how many candidates (default: 5)")


def _generate(verb):
    more = '\n\n  jssl generate --prompt "First Citizen:" --workdir runs/gpt --top-p 0.9'
    p = verb("generate", "go on from a prompt, token by token", more)
    p.add_argument("--prompt", required=True, help="the text to go on from")
    _checkpoint(p)
    p.add_argument("--length", type=int, default=100, help="most tokens to add (default: 100)")
    text = "below 1 likely tokens gain; 0 takes the likeliest (default: 1)"
    p.add_argument("--temperature", type=float, default=1.0, help=text)
    p.add_argument("--top-k", type=int, help="draw from the so many likeliest tokens")
    p.add_argument("--top-p", type=float, help="draw from the likeliest of this probability")
    p.add_argument("--seed", type=int, default=0, help="same seed, same text (default: 0)")


def _bits(verb):
    more = "\n\n  jssl bits --workdir runs/gpt --input text:HELD_OUT.txt"
    p = verb("bits", "measure how well a text is foretold, in bits a byte, beside n-grams", more)
    _checkpoint(p)
    _json(p)
    text = "text:PATH, not trained on (default: the run's test data)"
    p.add_argument("--input", help=text)


def _zeroshot(verb):
    more = """

  jssl zeroshot --workdir runs/clip
  jssl zeroshot --workdir runs/clip --labels "flag,smiling face|heart" --input PICTURES

Without --input: accuracy on the run's test data, beside chance; the labels are then those of the
classes, in their order."""
    p = verb("zeroshot", "label images by words, with a run on images with captions", more)
    _checkpoint(p)
    _json(p)
    text = "separated by commas; names of one label by | (default: the names of the classes)"
    p.add_argument("--labels", help=text)
    text = 'such as "a photo of a {}"; given again, their mean (default: "{}")'
    p.add_argument("--template", action="append", help=text)
    _images(p)


def _retrieve(verb):
    more = "\n\n  jssl retrieve --workdir runs/clip"
    text = "of a run on images with captions: recall of captions by images, and of images"
    p = verb("retrieve", text, more)
    _checkpoint(p)
    _json(p)


def _compile(verb):
    more = """

  jssl compile --config mae:recipe=imagenet --topology v5e:16x16 --config.precision=bfloat16
  jssl compile --config configs/mae.py:encoder=vit_l16 --topology v5p:4x4x8 --batch 4096 --advise

Needs libtpu (pip install 'jssl[pod]') and no TPU. Exit code 0 if the step fits, 1 if not."""
    p = verb(
        "compile",
        "compile the train step for a TPU pod that is not here: memory, traffic, what bounds it",
        more,
    )
    p.add_argument("--config", required=True, help=CONFIG_HELP)
    _json(p)
    p.add_argument(
        "--topology",
        required=True,
        help="v4:AxBxC, v5e:AxB, v5p:AxBxC, v6e:AxB, or gpu for the GPUs of this machine",
    )
    p.add_argument("--batch", type=int, help="the global batch (default: the config's)")
    p.add_argument(
        "--size", type=int, help="side of the images (default: the config's, or else 224)"
    )
    p.add_argument(
        "--advise", action="store_true", help="if it does not fit, compile what would help"
    )


def _workdir(p, required=True, default=None):
    text = "the run's folder: config, metrics, checkpoints, table, report"
    p.add_argument("--workdir", type=Path, required=required, default=default, help=text)


def _checkpoint(p):
    _workdir(p)
    p.add_argument("--step", type=int, help="the checkpoint of this step (default: the newest)")


def _images(p, required=False):
    p.add_argument(
        "--input", required=required, help="a folder of images, a file of texts, or any source spec"
    )
    p.add_argument("--split", default="train", help="of an input that has some (default: train)")


def _json(p):
    p.add_argument("--json", action="store_true", help="print one JSON object, no prose")
