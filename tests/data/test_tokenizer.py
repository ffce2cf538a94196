"""Texts as read and tokenizers as trained: Bengali survives, so does all else in bytes."""

import json
import unicodedata

import pytest

from jssl.cli import main
from jssl.data.documents import read_documents
from jssl.data.tokenizer import SPECIAL, load_tokenizer, train_tokenizer

# Conjuncts (ক্ষ, জ্ঞ, ন্ত্র, ঙ্ক), vowel signs before and around their letter (ি ে ো ৌ), a reph, a
# ya-phala, khanda ta, chandrabindu, danda.
BENGALI = [
    "ক্ষমা জ্ঞান বিজ্ঞান স্বাধীনতা যন্ত্র মন্ত্রী অঙ্ক।",
    "কৌশল বোঝা কেমন দিন গ্রীষ্ম ধর্ম কর্ম ব্যবহার উৎসব চাঁদ।",
    "আমি বাংলায় গান গাই, আমি আমার আমিকে চিরদিন এই বাংলায় খুঁজে পাই।",
] * 8
OTHERS = ["हिन्दी में क्षत्रिय", "日本語 tab\tline\nbreak", "naïve café ☕️ 👩‍🚀 ZWJ ক্‍ষ"]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_bengali_conjuncts_and_vowel_signs_survive(kind, tmp_path):
    made = train_tokenizer(BENGALI, 400, kind)
    made.save(str(tmp_path / "tokenizer.json"))
    again = load_tokenizer(tmp_path / "tokenizer.json")
    for text in BENGALI[:3]:
        text = unicodedata.normalize("NFC", text)
        ids = again.encode(text).ids
        assert ids == made.encode(text).ids
        assert again.token_to_id("[UNK]") not in ids
        back = again.decode(ids)
        if kind == "wordpiece":  # cuts punctuation off
            assert back.replace(" ", "") == text.replace(" ", "")
            assert set(text.replace("।", "").replace(",", "").split()) <= set(back.split())
        else:
            assert back == text


def test_bytes_survive_whatever_they_are():
    made = train_tokenizer(BENGALI, 300, "bpe")
    for text in OTHERS:
        text = unicodedata.normalize("NFC", text)
        assert made.decode(made.encode(text).ids) == text


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_one_text_typed_in_two_ways_is_the_same_tokens(kind):
    made = train_tokenizer(BENGALI, 400, kind)
    # O as one sign, and as the two that stand around its letter.
    one, two = "ব\u09cbঝা", "ব\u09c7\u09beঝা"
    assert one != two
    assert made.encode(one).ids == made.encode(two).ids


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_special_tokens_come_first_and_the_size_is_kept(kind):
    made = train_tokenizer(BENGALI, 300, kind)
    assert [made.token_to_id(token) for token in SPECIAL] == list(range(6))
    assert made.get_vocab_size() <= 300


def test_documents_of_every_kind_of_file(tmp_path):
    decomposed = unicodedata.normalize("NFD", "café")
    texts = {
        "a.txt": f"one\ntwo\n\n\n{decomposed}\n",
        "b.txt": "one\ntwo\n",
        "c.jsonl": '{"text": "one"}\n\n{"text": "two, three"}\n',
        "d.csv": 'label,text\n1,one\n2,"two, three"\n3,\n',
        "e.tsv": "text\tlabel\none\t1\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, "utf-8")
    found = {name: read_documents(str(tmp_path / name)).texts for name in texts}
    assert found == {
        "a.txt": ["one\ntwo", "café"],
        "b.txt": ["one", "two"],
        "c.jsonl": ["one", "two, three"],
        "d.csv": ["one", "two, three"],
        "e.tsv": ["one"],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pdf", b"x", "must end in .txt, .jsonl, .csv or .tsv"),
        ("a.txt", b"\xff\xfe", "not UTF-8"),
        ("a.txt", b" \n \n", "no text in it"),
        ("a.jsonl", b"[1]\n", "line 1 has no column 'text'; there are: none"),
        ("a.jsonl", b"{\n", "line 1 is no JSON"),
        ("a.jsonl", json.dumps({"text": 3}).encode(), "text must be text, got 3"),
        ("a.csv", b"body\nx\n", "row 1 has no column 'text'; there are: body"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r".") as caught:
        read_documents(str(tmp_path / name))
    assert message in str(caught.value)


def test_bad_options(tmp_path):
    with pytest.raises(ValueError, match="kind must be one of bpe, wordpiece, unigram, got 'word'"):
        train_tokenizer(BENGALI, 300, "word")
    with pytest.raises(ValueError, match="size must be at least 262, got 100"):
        train_tokenizer(BENGALI, 100, "bpe")
    with pytest.raises(ValueError, match="no such file"):
        load_tokenizer(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        load_tokenizer(tmp_path / "bad.json")


def test_the_verb_trains_and_writes_one(tmp_path, capsys):
    text, output = tmp_path / "bengali.txt", tmp_path / "tokenizer.json"
    text.write_text("\n".join(BENGALI), "utf-8")
    arguments = ["tokenizer", "--data", f"text:{text}", "--size", "300", "--output", str(output)]
    assert main(arguments) == 0
    assert f"300 tokens from 24 documents in {output}" in capsys.readouterr().out
    made = load_tokenizer(output)
    assert made.decode(made.encode(BENGALI[0]).ids) == unicodedata.normalize("NFC", BENGALI[0])
    for change, message in (
        (["--data", str(text)], "--data takes text:PATH"),
        (["--kind", "word"], "kind must be one of"),
        (["--output", str(tmp_path / "none" / "t.json")], "none"),
    ):
        assert main([*arguments, *change]) == 2
        assert message in capsys.readouterr().err


def test_a_word_can_be_the_same_wherever_it_stands_and_however_it_is_cased():
    made = train_tokenizer(["A red bus", *BENGALI], 400, alike=True)
    bus = made.encode("bus").ids
    assert made.encode("BUS").ids == bus
    assert made.encode("Red bus").ids[-len(bus) :] == bus
    assert made.decode(made.encode(f"Red {OTHERS[0]}").ids).strip() == f"red {OTHERS[0]}"
    apart = train_tokenizer(["A red bus", *BENGALI], 400)
    assert apart.encode("red bus").ids[-1] != apart.encode("bus").ids[-1]
