"""Claims of sentences, and verdicts on them with captions whose vectors are known."""

import gzip
import json
from typing import get_args

import pytest
from claim_samples import CAPTIONS, WORDS, checker
from toy_bank import toy_bank

from kgvad.errors import UsageError
from kgvad.explain.checked_text import MOST_BYTES, CheckedText, Reason, read_text
from kgvad.explain.claims.extract import find_claims
from kgvad.explain.claims.names import category_names
from kgvad.explain.claims.split import MOST_SENTENCES, split_sentences
from kgvad.explain.claims.times import time_words
from kgvad.explain.claims.vocabulary import mentions, named, rivals
from kgvad.explain.rendering.checks import CHECK_FORMS
from kgvad.explain.rendering.render import Renderer
from kgvad.text_language import language_of


def verdicts(sentence, captions=CAPTIONS):
    checked = checker(captions).check_sentence(1, sentence, "en")
    return {(claim.kind, claim.value): claim.verdict for claim in checked.claims}


@pytest.mark.parametrize(
    ("sentence", "start", "end"),
    [
        ("At 0:12 a man falls.", 12, 12),
        ("From 0:10 to 1:05, a man walks.", 10, 65),
        ("A man walks between 10 and 20 seconds.", 10, 20),
        ("After 2 minutes he leaves.", 120, 120),
        ("He leaves at 1:02:03.", 3723, 3723),
        ("After 1 hour a car burns.", 3600, 3600),
        ("Nach 1,5 Stunden brennt es.", 5400, 5400),
        ("At second 5 a man falls.", 5, 5),
        ("From second 5 to second 10 a man falls.", 5, 10),
        ("Between minute 1 and 2 they fight.", 60, 120),
        ("Von Sekunde 5 bis 10 fällt ein Mann.", 5, 10),
        ("In Minute 2 fällt ein Mann.", 120, 120),
        ("In the first half of the video a man falls.", 0, 50),
        ("They fight at the end.", 200 / 3, 100),
        ("Bei 0:12 fällt ein Mann.", 12, 12),
        ("In der zweiten Hälfte des Videos brennt es.", 50, 100),
    ],
)
def test_times_of_sentences(sentence, start, end):
    found = time_words(sentence, 100.0)
    assert (found.start_s, found.end_s) == (pytest.approx(start), pytest.approx(end))
    assert found.text not in found.rest


@pytest.mark.parametrize(
    "sentence",
    [
        *("He waits for 5 seconds.", "He waits for 2 hours.", "The fight is 20 seconds long.", "a 5-minute-long fight"),
        *("Er wartet 5 Sekunden lang.", "Two men walk.", "The second 18-wheeler stops.", ""),
    ],
)
def test_lengths_and_numbers_are_no_times(sentence):
    assert time_words(sentence, 100.0) is None


def test_category_words_in_other_forms():
    for text in ("They were robbed.", "Robbers came.", "a ROBBERY", "He robs a shop."):
        [(values, _, _)] = WORDS.find(text)
        assert values == ("Robbery",)
    assert not list(WORDS.find("A robot walks."))


def test_kinds_of_claims():
    kinds = lambda text: {(c.kind, c.values, c.number) for c in find_claims(text, "en", 60.0, WORDS)}  # noqa: E731
    assert ("absence", ("gun",), None) in kinds("There is no gun.")
    assert ("absence", ("any",), None) in kinds("Nothing unusual happens.")
    assert ("absence", ("Fighting",), None) in kinds("There was no fight.")
    assert ("category", ("any",), None) in kinds("An anomaly exists.")
    assert ("count", ("man",), 2) in kinds("Two armed men leave.")
    assert kinds("The weather seems nice today.") == {("statement", (), None)}
    german = {(c.kind, c.values) for c in find_claims("Ein Mann hat keine Waffe.", "de", 60.0, WORDS)}
    assert {("entity", ("man",)), ("absence", ("weapon",))} <= german


def test_entities_with_broader_ones_and_rivals():
    assert {"man", "person"} <= named("Several men run.")
    assert [one.entity for one in mentions("Die Frau läuft.", "de")] == ["woman"]
    assert "woman" in rivals("man") and "truck" not in rivals("man") and not rivals("phone")


def test_entities_are_supported_contradicted_or_neither():
    assert verdicts("A woman walks.")["entity", "woman"] == "supported"
    assert verdicts("A woman fights at 0:20.")["entity", "woman"] == "contradicted"  # the captions then name men only
    assert verdicts("A dog walks.")["entity", "dog"] == "not_supported"


def test_categories_are_compared_with_captions_of_that_time():
    assert verdicts("A fight happens.")["category", "Fighting"] == "supported"
    assert verdicts("An arson happens.")["category", "Arson"] == "contradicted"
    assert verdicts("A robbery happens.")["category", "Robbery"] == "not_supported"  # the bank does not know it


def test_times_are_compared_with_other_times():
    assert verdicts("At 0:25, two men fight.")["time", "25"] == "supported"
    assert verdicts("At 0:50, two men fight.")["time", "50"] == "contradicted"
    assert verdicts("At 5:00, two men fight.")["time", "300"] == "contradicted"  # after the end
    assert verdicts("After 1 hour, two men fight.")["time", "3600"] == "contradicted"
    assert verdicts("Time: 0:25.")["time", "25"] == "not_supported"  # of nothing
    assert verdicts("Two men walk before two men fight.")["time", "Two men walk < two men fight"] == "supported"
    assert verdicts("Two men fight before two men walk.")["time", "Two men fight < two men walk"] == "contradicted"


def test_counts_and_absences():
    assert verdicts("Two men fight.")["count", "2 man"] == "supported"
    assert verdicts("Five men fight.")["count", "5 man"] == "contradicted"
    assert verdicts("There is no gun.")["absence", "gun"] == "supported"
    assert verdicts("There is no phone.")["absence", "phone"] == "contradicted"
    assert verdicts("There was no fight.")["absence", "Fighting"] == "contradicted"


def test_a_sentence_has_its_worst_verdict():
    check = lambda text: checker().check_sentence(1, text, "en").verdict  # noqa: E731
    assert check("Two men fight.") == "supported"
    assert check("Two men fight a dog.") == "not_supported"
    assert check("Five men fight.") == "contradicted"


def test_without_captions_nothing_but_the_report_decides():
    found = checker([]).check("A man walks at 0:10. There is a robbery. No gun is there.", video="v.mp4")
    assert {sentence.verdict for sentence in found.sentences} == {"not_supported"}


@pytest.mark.parametrize("text", ["Un homme marche dans la rue.", "男は歩いています。", "Мужчина идёт по улице."])
def test_other_languages_support_nothing(text):
    found = checker().check(text, video="v.mp4")
    assert found.language is None
    assert [(s.verdict, s.claims[0].reason) for s in found.sentences] == [("not_supported", "no_language")]


def test_german_texts_are_checked_by_words_times_and_numbers():
    found = checker().check("Zwei Männer sind im Bild. Eine Frau ist da. Es gibt keinen Hund.", video="v.mp4")
    assert found.language == "de"
    assert [s.verdict for s in found.sentences] == ["supported", "supported", "supported"]
    (time, *_) = checker().check_sentence(1, "Bei 0:25 sind Männer im Bild.", "de").claims
    assert (time.kind, time.reason) == ("time", "no_language")  # there are captions


def test_splitting():
    text = '**A man** walks, e.g. slowly, at 1.5 s. Then he runs!\n\n- One\n- Two? "Yes." he says'
    assert split_sentences(text)[0] == "A man walks, e.g. slowly, at 1.5 s."
    assert split_sentences("...\n\n---\n") == []
    assert language_of("The man is in the room.") == "en" and language_of("Der Mann ist im Raum.") == "de"
    with pytest.raises(UsageError, match="sentences"):
        split_sentences("A man walks. " * (MOST_SENTENCES + 1))


HOSTILE = [
    "<script>alert(1)</script> A man walks. | x | `code` [a](javascript:alert(1))",
    "{{ 7*7 }} {% for x in y %} A man walks.",
    "A man\u202e walks\u0007 at 99999999:99.",
    "a" * 100_000,
    "((((" * 20_000,
    "no " * 30_000 + "gun.",
    "1 " * 30_000,
    "before " * 5_000,
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("form", CHECK_FORMS)
def test_hostile_texts_are_data(text, form):
    page = Renderer("en").check(checker().check(text, video="<b>.mp4"), form)
    if form == "html":
        assert "<script>alert" not in page and "49" not in page.split("</style>")[1] and "<b>.mp4" not in page
    if form == "md":
        assert "](javascript:" not in page.replace("\\]", "") and "\u202e" not in page
    if form == "json":
        assert CheckedText.model_validate_json(page).video == "<b>.mp4"


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_reason_has_words(language):
    phrases = Renderer(language).phrases
    values = {"value": "man", "found": "12", "value_share": 0.5, "found_share": 0.1, "event": 1}
    for reason in get_args(Reason):
        assert phrases.sentence(f"claim_{reason}", values).endswith(".")
    assert {key for key in phrases.sentences if key.startswith("claim_")} == {
        f"claim_{one}" for one in get_args(Reason)
    }


def test_names_of_categories_come_from_table_graph_and_translation():
    names = category_names(None, toy_bank(), {"Arson": "Brandstiftung"})
    assert names == {"Fighting": ["Fighting", "fight"], "Arson": ["Arson", "fire", "Brandstiftung"]}


def test_files_of_texts(tmp_path):
    path = tmp_path / "t.txt"
    for data, message in (
        (b"", "holds no text"), (b" \n", "holds no text"), (b"((...", "holds no text"),
        (b"\xff\xfa", "is not UTF-8 text; save it as UTF-8"), (b"a\0b", "not text"),
        (b"x" * (MOST_BYTES + 1), "larger"), (gzip.compress(b"x" * (MOST_BYTES + 1)), "holds more"),
    ):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(UsageError, match=message):
            read_text(path)
    with pytest.raises(UsageError, match="does not exist"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="is a folder"):
        read_text(tmp_path)
    path.write_bytes("Ein Mann.".encode("utf-16"))
    assert read_text(path) == "Ein Mann."


def test_json_states_what_the_other_forms_say():
    found = checker().check("Five men fight at 0:20.", video="v.mp4")
    data = json.loads(Renderer("en").check(found, "json"))
    count = next(claim for claim in data["sentences"][0]["claims"] if claim["kind"] == "count")
    assert (count["verdict"], count["reason"], count["found"]) == ("contradicted", "count_other", "2")
    assert count["frames"] == [350, 650] and count["captions"][0]["text"] == CAPTIONS[2]
    assert "Captions give 2." in Renderer("en").check(found, "md")
