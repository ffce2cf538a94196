"""Makes tests/augment/golden/torchvision.npz: what torchvision's functions give, in float64.

Run where torch and torchvision are installed: `python tests/references/augment_golden.py`.
"""

from pathlib import Path

import numpy as np
import torch

# torchvision's compiled operators are not needed here; without them its import must not ask for
# their declarations.
library = torch.library.Library("torchvision", "DEF")
register_fake = torch.library.register_fake


def _register(name, *args, **kwargs):
    if isinstance(name, str) and name.startswith("torchvision::"):
        return lambda function: function
    return register_fake(name, *args, **kwargs)


torch.library.register_fake = _register
import torchvision  # noqa: E402
from torchvision.transforms.v2 import functional as F  # noqa: E402

TARGET = Path(__file__).parents[1] / "augment" / "golden" / "torchvision.npz"


def pictures():
    """Three RGB images [3 12 9 3]: noise, a ramp with black, white and grey parts, dark noise."""
    rng = np.random.default_rng(7)
    x = rng.random((3, 12, 9, 3), np.float32)
    x[1] = np.linspace(0, 1, 9, dtype=np.float32)[None, :, None]
    x[1, :6, :, 1] *= 0.5
    x[1, :2], x[1, 10:] = 0, 1
    x[2] *= 0.2
    return x


def main():
    x = pictures()
    boxes = np.array([[2, 1, 9, 7], [0, 0, 12, 9], [5, 4, 3, 4]], np.int32)
    factors = {
        "brightness": [0.3, 1.6, 1.1],
        "contrast": [0.4, 1.8, 0.0],
        "saturation": [1.7, 0.2, 0.0],
        "hue": [-0.43, 0.2, 0.5],
    }
    sigma = [0.1, 0.9, 2.0]
    images = [torch.from_numpy(i.astype(np.float64)).permute(2, 0, 1) for i in x]
    one = [i[:1] for i in images]

    def stack(results):
        return np.stack([r.permute(1, 2, 0).numpy() for r in results]).astype(np.float32)

    out = {"x": x, "boxes": boxes, "sigma": np.float32(sigma)}
    for antialias in (True, False):
        for size in ((5, 4), (18, 13), (7, 16)):
            name = f"{size[0]}x{size[1]}_{'antialias' if antialias else 'plain'}"
            out[f"crop_{name}"] = stack(
                F.resized_crop(i, *map(int, b), list(size), antialias=antialias)
                for i, b in zip(images, boxes, strict=True)
            )
            out[f"resize_{name}"] = stack(
                F.resize(i, list(size), antialias=antialias) for i in images
            )
    for name, values in factors.items():
        adjust = getattr(F, f"adjust_{name}")
        out[f"{name}_factor"] = np.float32(values)
        # The factors as float32 holds them, since that is what the other side is given.
        values = [float(np.float32(v)) for v in values]
        out[name] = stack(map(adjust, images, values))
        out[f"{name}_1"] = stack(map(adjust, one, values))
    for taps in (3, 9):
        out[f"blur_{taps}"] = stack(
            F.gaussian_blur(i, [taps, taps], [float(np.float32(s))] * 2)
            for i, s in zip(images, sigma, strict=True)
        )
    out["grayscale"] = stack(F.rgb_to_grayscale(i) for i in images)
    out["solarize"] = stack(F.solarize(i, 0.5) for i in images)
    out["center_crop"] = stack(F.center_crop(i, [9, 6]) for i in images)
    out["normalize"] = stack(F.normalize(i, [0.485, 0.456, 0.406], [0.2, 0.3, 0.4]) for i in images)
    out["provenance"] = np.array(
        f"torchvision {torchvision.__version__}, torch {torch.__version__}, CPU, float64 inside; "
        "python tests/references/augment_golden.py"
    )
    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **out)
    print(TARGET, TARGET.stat().st_size, "bytes:", out["provenance"])


if __name__ == "__main__":
    main()
