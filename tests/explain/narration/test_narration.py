"""A language model's text beside the report: a stub service that mixes true and invented sentences, a tiny model."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from claim_samples import checker
from explain_samples import bank, report_on, scores

from kgvad.chat_endpoint import KEY
from kgvad.errors import KgvadError, UsageError, WeightsError
from kgvad.explain.narration.narrate import Narrator
from kgvad.explain.narration.prompt import messages, report_facts
from kgvad.explain.narration.writers import load_writer
from kgvad.explain.rendering.render import FORMATS, Renderer
from kgvad.explain.report import Report

REPORT = report_on(scores(names="yes", trained=True), bank=bank())
TRUE = ["The video has two events.", "A robbery takes place at 0:35.", "A man is visible."]
INVENTED = [
    "Seven events are visible.", "A robbery takes place at 0:01.", "A dog is visible.",
    "The mayor praised his generous neighbours yesterday.",
]  # fmt: skip
GERMAN = ["Es gibt zwei Ereignisse.", "Ein Mann ist zu sehen.", "Es gibt neun Ereignisse im Video."]


@contextmanager
def service(answer, status=200):
    """A chat service on loopback that answers with ``answer``; the requests it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, self.headers.get("Authorization"), body))
            data = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", got
    finally:
        server.shutdown()
        server.server_close()


def narrated(answer, **options):
    with service(answer) as (address, got):
        narrator = Narrator(load_writer(address, "stub", "cpu"), lambda report: checker(report=report), **options)
        return narrator.narrate(REPORT), got


def test_true_sentences_stay_and_invented_ones_are_marked():
    report, _ = narrated(" ".join(TRUE + INVENTED))
    verdicts = {one.text: one.verdict for one in report.narrative.sentences}
    assert {text for text, verdict in verdicts.items() if verdict == "supported"} == set(TRUE)
    assert verdicts["Seven events are visible."] == verdicts["A robbery takes place at 0:01."] == "contradicted"
    assert report.narrative.share_supported == pytest.approx(3 / 7)
    assert report.model_copy(update={"narrative": None}) == REPORT  # the rest of the report does not change


def test_invented_sentences_are_dropped_on_request():
    report, _ = narrated(" ".join(TRUE + INVENTED), unsupported="drop")
    assert [one.text for one in report.narrative.sentences] == TRUE
    assert (report.narrative.dropped, report.narrative.share_supported) == (4, pytest.approx(3 / 7))


@pytest.mark.parametrize(("language", "text"), [("en", TRUE + INVENTED), ("de", GERMAN)])
def test_the_narrative_stands_beside_the_templates_text(language, text):
    report, got = narrated(" ".join(text), language=language)
    renderer = Renderer(language)
    assert {"en": "Write English", "de": "Write German"}[language] in got[0][2]["messages"][0]["content"]
    for form in ("md", "html"):
        with_it, without = renderer.render(report, form), renderer.render(REPORT, form)
        about = renderer.phrases.labels["narrative_about"]
        assert about in with_it and about not in without
        for sentence in text:
            assert sentence.rstrip(".") in with_it
        assert f"[{renderer.phrases.labels['check']['verdicts']['contradicted']}]" in with_it.replace("\\", "")
    for form in FORMATS:
        assert "None" not in renderer.render(report, form) or form == "json"
    assert Report.from_json(renderer.render(report, "json")).narrative == report.narrative


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (INVENTED[:2], "Of two sentences, none is supported."),
        (TRUE[:1], "Of one sentence, one is supported."),
        (TRUE + INVENTED, "Of seven sentences, three are supported."),
    ],
)
def test_supported_sentences_are_counted_in_words(text, said):
    report, _ = narrated(" ".join(text))
    assert said in Renderer("en").render(report, "md").replace("\xa0", " ")


def test_the_prompt_has_paths_only_with_the_graph():
    with_graph = messages(REPORT, with_graph=True, language="en")
    without = messages(REPORT, with_graph=False, language="en")
    assert "is a kind of" in with_graph[1]["content"] and "is a kind of" not in without[1]["content"]
    facts = report_facts(REPORT, with_graph=False)
    assert facts["number of events"] == 2 and "robbery" in str(facts["events"][0]).lower()


def test_the_service_gets_key_model_and_text_only(monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    report, [(path, key, body)] = narrated("A man is visible.")
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "stub")
    assert all(isinstance(message["content"], str) for message in body["messages"])  # no pictures
    assert "secret" not in report.model_dump_json()


@pytest.mark.parametrize("answer", ["", "   ", "\u202e\x07", "<script>alert(1)</script>", "{{ 7 * 7 }}", "]" * 5000])
@pytest.mark.parametrize("form", ["md", "html"])
def test_hostile_answers_are_data(answer, form):
    report, _ = narrated(answer)
    page = Renderer("en").render(report, form)
    assert "<script>alert" not in page and "\u202e" not in page
    assert "None" not in page


@pytest.mark.parametrize("answer", ["", " \n", "..."])
def test_an_answer_without_a_sentence_is_no_narrative(answer, capsys):
    capsys.readouterr()
    report, _ = narrated(answer)
    assert report == REPORT
    assert f"stub wrote no sentence: {REPORT.video.name} has no narrative" in capsys.readouterr().err


def test_failures_are_one_line(tmp_path):
    with pytest.raises(UsageError, match="--narrate-model"):
        load_writer("http://127.0.0.1:9/v1", None, "cpu")
    with pytest.raises(UsageError, match="neither an address nor a model folder"):
        load_writer(str(tmp_path), None, "cpu")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_writer(str(tmp_path), None, "cpu")
    with service("x", status=401) as (address, _), pytest.raises(KgvadError, match="401"):
        load_writer(address, "stub", "cpu").write([], 5)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A random GPT-2 with a tokenizer of bytes."""
    import tokenizers
    import transformers

    folder = tmp_path_factory.mktemp("tiny")
    words = tokenizers.Tokenizer(tokenizers.models.BPE())
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<end>"], vocab_size=300
    )
    words.train_from_iterator(["a man walks"], trainer)
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(folder)
    size = {"vocab_size": len(words.get_vocab()), "n_positions": 256, "n_embd": 16, "n_layer": 1, "n_head": 2}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**size, eos_token_id=0, bos_token_id=0)).save_pretrained(
        folder
    )
    return folder


def test_a_random_model_from_a_folder_supports_nothing(tiny_model):
    writer = load_writer(str(tiny_model), None, "cpu")
    narrator = Narrator(writer, lambda report: checker(report=report))
    narrative = narrator.narrate(REPORT).narrative
    assert (narrative.model, narrative.endpoint) == (tiny_model.name, None)
    assert all(one.verdict != "supported" for one in narrative.sentences)
    assert writer.write(messages(REPORT, with_graph=True, language="en"), 20) == writer.write(
        messages(REPORT, with_graph=True, language="en"), 20
    )
