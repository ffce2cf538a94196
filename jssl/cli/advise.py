"""``jssl advise``: what of an encoder to freeze for a new set, by its size and its distance."""

import json
import sys

import numpy as np

from jssl import data
from jssl.cli import fine_tune, inputs, runs
from jssl.cli.runs import HELD_OUT
from jssl.evals.shift import shift
from jssl.nn import layers

# Examples a class below which a set is small: a linear layer on top is what so few can settle.
SMALL = 100
# Of the distance (`jssl.evals.shift`) from which on a set is different. On CIFAR-10 halves of the
# classes are 0.05 from each other and one class is 0.15 to 0.44 from all of them, while clothes,
# pets and emoji are 1.3 to 1.9 away, with MAE and with data2vec.
DIFFERENT = 0.5
COMPARED = 4000  # examples of either set
EPOCHS = 20  # of a trial

REASONS = {
    ("small", "similar"): "what was learned fits, and so few labels would spoil it",
    ("small", "different"): "early layers are the general ones; the late ones are of the old data, "
    "and so few labels cannot settle more than those",
    ("large", "similar"): "there are labels enough to fit every layer, and they begin near the end",
    ("large", "different"): "the late layers are of the old data, and there are labels enough to "
    "learn them anew",
}


def advise(arguments) -> int:
    """Names the case, recommends what to freeze, and with ``--run`` tries it and what is next."""
    trained = runs.load(arguments.workdir, arguments.step)
    own = data.read_all(runs.open_data(trained.config, "train", limit=COMPARED, pack=False))
    (reference,) = runs.embedded(trained, own)
    arguments.input = arguments.data
    source = inputs.open_input(trained, arguments)
    examples = data.read_all(source)
    labels = examples["label"][examples["label"] >= 0]
    if not len(labels):
        raise ValueError(f"{arguments.data} has no labels: there is nothing to fine-tune on")
    some = np.random.default_rng(0).permutation(len(examples["label"]))[:COMPARED]
    (embedded,) = runs.embedded(trained, {key: x[some] for key, x in examples.items()})
    away = shift(reference, embedded)
    classes = len(np.unique(labels))
    each = len(labels) / classes
    near = "similar" if away.distance < DIFFERENT else "different"
    case = ("small" if each < SMALL else "large", near)
    policies = _policies(trained)
    advice = {
        "examples": len(labels),
        "classes": classes,
        "per_class": each,
        **away._asdict(),
        "case": " and ".join(case),
        "freeze": policies[_place(case)],
        "because": REASONS[case],
    }
    if arguments.run:
        advice["tried"] = _try(trained, arguments, policies)
    print(json.dumps(advice) if arguments.json else _text(advice, arguments))
    return 0


def _policies(trained) -> list[str]:
    """From nothing that learns but the head to all."""
    try:
        _, count = layers.depths(trained.train.params)
    except ValueError:  # the encoder has no layers that could be told apart
        return ["all", "all", "none"]
    return ["all", f"first:{max(1, count // 2)}", "none"]


def _place(case: tuple[str, str]) -> int:
    return 2 if case[0] == "large" else 1 if case[1] == "different" else 0


def _try(trained, arguments, policies) -> dict[str, float]:
    """Accuracy of each policy on a fifth of the labelled examples, which none is trained on."""
    fit, held = (
        runs.open_data(trained.config, arguments.split, holdout=HELD_OUT, part=part, pack=False)
        for part in ("fit", "holdout")
    )
    test = data.read_all(held)
    known = data.read_all(fit)["label"]
    if min(known.min(), test["label"].min()) < 0:
        raise ValueError(f"--run needs a label of every example of {arguments.data}")
    if not len(test["label"]):
        raise ValueError(f"{arguments.data} is too small to hold anything out: {len(known)}")
    tried = {}
    for freeze in dict.fromkeys(policies):
        print(f"trying freeze={freeze} ...", file=sys.stderr, flush=True)
        tried[freeze] = fine_tune.accuracy(
            *(trained, fit, test),
            num_classes=int(max(known.max(), test["label"].max())) + 1,
            freeze=freeze,
            epochs=EPOCHS,
        )
    return tried


def _text(advice, arguments) -> str:
    size, near = advice["case"].split(" and ")
    lines = [
        f"{advice['examples']:,} labelled examples of {advice['classes']} classes, "
        f"{advice['per_class']:.0f} a class: {size} (small is below {SMALL})",
        f"distance {advice['distance']:.2f} from the data of the pretraining, of whose halves it "
        f"is {advice['chance']:.2f} ({advice['samples']:,} of each): {near} (different is "
        f"{DIFFERENT} and more)",
        f"{advice['case']}: freeze={advice['freeze']}, since {advice['because']}.",
    ]
    if "tried" in advice:
        lines.append(f"\naccuracy on a fifth that is held out, after {EPOCHS} epochs:")
        for freeze, value in advice["tried"].items():
            marks = ["recommended"] * (freeze == advice["freeze"])
            marks += ["best here"] * (value == max(advice["tried"].values()))
            lines.append(f"  freeze={freeze:<10} {100 * value:.1f} %  {', '.join(marks)}".rstrip())
    else:
        lines.append("\n--run tries it and its neighbours on a held-out part. Or, with all labels:")
        lines.append(
            f"  jssl pretrain --config supervised:data={arguments.data} --workdir runs/tuned "
            f"--config.init_from={arguments.workdir} --config.freeze={advice['freeze']}"
        )
    return "\n".join(lines)
