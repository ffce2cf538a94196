"""What another run learned, put where this one begins."""

from typing import Any

import jax
import jax.numpy as jnp

from jssl.method import PyTree, Vars
from jssl.nn.positions import resize_grid

# Made by the methods alone that hide patches; those that do not have no use for it.
MASK_TOKEN = "mask_token"


def with_encoder(begun: Vars, learned: PyTree, like: PyTree) -> Vars:
    """The variables of a method whose encoder is another's, wherever it has one: a teacher's too.

    A mask token that the other does not have stays as it is. A table of learned positions of
    another grid is interpolated.

    Args:
      begun: of this method, as its ``init`` gives them.
      learned: of the other's encoder, ``{"params": ..., "batch_stats": ...}``, as from
        `jssl.nn.forward.variables_within`.
      like: this method's own, of which the shapes count.

    Raises:
      ValueError: if the two encoders are not the same.
    """
    fitted = {
        collection: _fitted(learned.get(collection, {}), own) for collection, own in like.items()
    }

    def put(tree):
        if not isinstance(tree, dict):
            return tree
        for collection, own in like.items():
            if own and _shapes(tree) == _shapes(own):
                token = {MASK_TOKEN: tree[MASK_TOKEN]} if MASK_TOKEN in tree else {}
                return {key: (token | fitted[collection])[key] for key in tree}
        return {key: put(part) for key, part in tree.items()}

    return Vars(put(begun.params), put(begun.state))


def with_all(begun: Vars, learned: Vars) -> Vars:
    """All variables of another run, which must be of the same names and shapes.

    Raises:
      ValueError: if they are not.
    """
    _refuse(_shapes(learned), _shapes(begun))
    return jax.tree.map(lambda new, old: new.astype(old.dtype), learned, begun)


def _fitted(learned, own):
    """The learned variables as those of this encoder: its grid, its types."""
    theirs, ours = _named(learned), _named(own)
    made = {}
    for name, x in theirs.items():
        y = ours.get(name, x)
        # The class token has no position: a table is [h w d].
        if name == "positions" and x.ndim == 3 and x.shape[2:] == y.shape[2:]:
            x = resize_grid(jnp.asarray(x), *y.shape[:2])
        made[name] = x.astype(y.dtype)
    _refuse(_shapes(made), _shapes(ours))
    leaves, structure = jax.tree_util.tree_flatten_with_path(
        {key: part for key, part in own.items() if key != MASK_TOKEN or key in learned}
    )
    return jax.tree.unflatten(structure, [made[_name(path)] for path, _ in leaves])


def _refuse(theirs, ours):
    for name in theirs | ours:
        if theirs.get(name) != ours.get(name):
            found, asked = (shapes.get(name, "nothing") for shapes in (theirs, ours))
            raise ValueError(f"has {found} as {name}, this run needs {asked}")


def _shapes(tree) -> dict[str, Any]:
    return {name: list(x.shape) for name, x in _named(tree).items() if name != MASK_TOKEN}


def _named(tree) -> dict[str, Any]:
    return {_name(path): x for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
