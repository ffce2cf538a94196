"""Tokenizers of texts: trained, kept as ``tokenizer.json``, loaded.

Tokenizers are those of the library of that name (``pip install 'jssl[text]'``). Every text is
brought to Unicode NFC before it is cut, within the tokenizer too, so that a letter and its marks
are the same however they were typed. No mark is dropped, and nothing is lowercased unless asked to.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jssl import require
from jssl.data.bad import DataError

KINDS = ("bpe", "wordpiece", "unigram")
# In this order they have the numbers 0 to 5 in every tokenizer trained here.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]")


def train_tokenizer(
    documents: Iterable[str], size: int, kind: str = "bpe", alike: bool = False
) -> Any:
    """A tokenizer of about ``size`` tokens, the six of `SPECIAL` first.

    Args:
        documents: texts.
        size: of the vocabulary; fewer tokens where the texts have no more to give.
        kind: ``bpe``, byte-level (Radford et al. 2019), which any text survives without loss;
          ``wordpiece`` (as BERT's, arXiv 1810.04805: words and punctuation apart, what continues a
          word begins with ##) or ``unigram`` (Kudo 2018, arXiv 1804.10959), which give [UNK] for
          characters never seen, and keep words but not what space there was between them.
        alike: a word is the same tokens in any case, and, of ``bpe``, at the beginning of a text
          and within: every text is lowercased and has a space before it. So CLIP does, whose texts
          are captions and single words (arXiv 2103.00020, section 2.4, and its released code).

    Raises:
        ValueError: for another kind, or a size that leaves no room beside the special tokens, and
          the 256 bytes of ``bpe``.
    """
    require.one_of(KINDS, kind=kind)
    require.at_least(len(SPECIAL) + (256 if kind == "bpe" else 1), size=size)
    tokenizers = _library()
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    special = {"special_tokens": list(SPECIAL), "vocab_size": size, "show_progress": False}
    if kind == "bpe":
        made = tokenizers.Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=alike)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **special)
    elif kind == "wordpiece":
        made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece(cleanup=False)
        trainer = trainers.WordPieceTrainer(**special)
    else:
        made = tokenizers.Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="[UNK]", **special)
    lower = [normalizers.Lowercase()] if alike else []
    made.normalizer = normalizers.Sequence([*lower, normalizers.NFC()])
    made.train_from_iterator(documents, trainer)
    return made


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a ``tokenizer.json``; `DataError` where there is none in it."""
    tokenizers = _library()
    if not Path(path).is_file():
        raise DataError(f"tokenizer {path}: no such file")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower one
        raise DataError(f"tokenizer {path}: cannot be read: {error}") from error


def _library():
    try:
        import tokenizers
    except ImportError as error:
        raise DataError("text needs tokenizers: pip install 'jssl[text]'") from error
    return tokenizers
