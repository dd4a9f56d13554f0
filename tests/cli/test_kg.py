"""The commands ``kgvad kg ...`` as a user types them."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import kg_servers as servers
import pytest

from kgvad.cli import main
from kgvad.kg.store import nquads


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def kg(home, monkeypatch, capsys):
    """Run ``kgvad kg``: exit code, stdout, stderr."""
    monkeypatch.setenv("KGVAD_CACHE", str(home / "cache"))
    monkeypatch.delenv("KGVAD_CONTACT", raising=False)
    monkeypatch.chdir(home)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kgvad", "kg", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return caught.value.code or 0, said.out, said.err

    return run


def test_show_prints_a_tree(kg):
    code, out, err = kg("show", "Explosion")
    assert code == 0 and err == ""
    assert out.startswith("explosion\n├─ is\n│  └─ explosion (Q179057)\n")
    assert "gas explosion (Q1362483)" in out and "looks like" in out
    assert "hazard" not in out and "hazard (Q1132455)" in kg("show", "Explosion", "--abstract")[1]


def test_features_of_a_dataset_of_ones_own_do_not_hide_the_bundled_categories(kg, tmp_path, monkeypatch):
    """The README names this command after a training on rendered videos."""
    monkeypatch.setenv("KGVAD_HOME", str(tmp_path))
    (tmp_path / "features/mine").mkdir(parents=True)
    videos = {"a": {"split": "train", "labels": ["Fire"]}, "b": {"split": "train", "labels": []}}
    truth = {"version": 1, "dataset": "mine", "normal": "Normal", "categories": ["Normal", "Fire"], "videos": videos}
    (tmp_path / "features/mine/dataset.json").write_text(json.dumps(truth))
    assert kg("show", "fire")[1].startswith("fire\n")
    code, out, err = kg("show", "robbery")
    assert code == 0 and out.startswith("robbery\n") and "Robbery is a category of ucf" in err
    assert kg("export", "--category", "Robbery", "--format", "json")[0] == 0
    code, _, err = kg("show", "robbery", "--dataset", "mine")
    assert code == 2 and "mine has no category 'robbery'; its categories are Normal, Fire" in err


def test_show_concepts_with_reasons(kg):
    code, out, _ = kg("show", "robbery", "--concepts")
    assert code == 0 and re.search(r"^0\.56 theft \[superclass\] robbery is a kind of theft$", out, re.MULTILINE)


def test_show_draws_a_legible_picture(kg, home):
    code, out, _ = kg("show", "Robbery", "--svg", "robbery.svg")
    assert code == 0 and out == "robbery.svg\n"
    picture = ElementTree.parse(home / "robbery.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    boxes = []
    for group in picture.iter(space + "g"):
        box = group.find(space + "rect")
        x, y, width, height = (float(box.get(key)) for key in ("x", "y", "width", "height"))
        text = group.find(space + "text")
        assert x <= float(text.get("x")) and len(text.text) * 6.5 <= width  # the text fits into its box
        boxes.append((x, y, x + width, y + height))
    assert len(boxes) > 20
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and right <= float(picture.get("width")) and bottom <= float(picture.get("height"))
        for other in boxes[number + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top, "boxes overlap"


def test_stats_show_the_sources(kg):
    code, out, _ = kg("stats")
    assert code == 0
    assert re.search(r"^\d+ items, \d+ terms, \d+ statements, \d+ fetches$", out, re.MULTILINE)
    assert "2022-07-07  urn:source:kgtk-arnold  usc-isi-i2/kgtk-tutorial-files@e654c8f" in out
    assert "urn:source:vise-edge (property inferred)" in out


def test_path_in_words(kg):
    code, out, _ = kg("path", "robbery", "property crime")
    assert (code, out) == (0, "robbery is a kind of theft; theft is a kind of property crime\n")
    code, _, err = kg("path", "robbery", "zeppelin")
    assert code == 1 and "no item called 'zeppelin'; try kgvad kg resolve" in err


def test_export_and_import(kg, home):
    code, out, _ = kg("export", "--output", "all.nq")
    assert code == 0 and out == "all.nq\n"
    assert kg("export")[1] == (home / "all.nq").read_text("utf-8")
    code, out, _ = kg("import", "all.nq", "--store", f"sqlite:///{home}/other.sqlite")
    assert code == 0 and re.fullmatch(r"all\.nq: \d{4} facts\n", out)
    assert kg("export", "--store", f"sqlite:///{home}/other.sqlite")[1] == (home / "all.nq").read_text("utf-8")
    assert kg("export", "-c", "Robbery", "-f", "json")[0] == 0
    data = json.loads(kg("export", "-c", "Robbery", "-f", "json")[1])
    assert "Q53706" in {node["id"] for node in data["nodes"]}


def test_offline(kg, home):
    for name in ("ucf", "xd", "shanghaitech", "ubnormal", "msad", "ped2", "avenue"):
        code, out, _ = kg("fetch", "--offline", "--dataset", name)
        assert code == 0 and out.startswith(f"{name}: all ")
    assert "labels of ucf compared with the graph: " in kg("stats")[1]
    code, out, _ = kg("resolve", "stealing", "--offline")
    assert code == 0 and out.startswith("Q2727213 theft [property crime]: act of taking")
    assert kg("resolve", "theft", "--offline", "--pick", "Q2727213")[1].startswith(
        '{ qid = "Q2727213", label = "theft"'
    )


NOWHERE = ["--endpoint", "http://127.0.0.1:9/q", "--contact", "a@b.org"]
WRONG = {
    "no contact": (["fetch", "-d", "ucf"], 2, "use --contact you@example.org"),
    "a bad contact": (["fetch", "-d", "ucf", "--contact", "me"], 2, "'me' is neither"),
    "an unknown dataset": (["fetch", "-d", "nope", "--offline"], 2, "unknown dataset 'nope'; known are avenue"),
    "an unknown category": (["show", "Parade"], 2, "ucf has no category 'Parade'"),
    "a bad store": (["stats", "--store", "nonsense"], 2, "'nonsense' is not a supported database URL"),
    "an unknown format": (["export", "-f", "docx"], 2, "unknown format 'docx'"),
    "quads of a category": (["export", "-c", "Arson", "-f", "nq"], 2, "N-Quads hold the whole cache"),
    "no file": (["import", "none.nq"], 2, "none.nq does not exist"),
    "an unknown name": (["resolve", "zzz", "--offline"], 1, "no item is called 'zzz'"),
    "another label": (["resolve", "theft", "--offline", "--pick", "Q53706"], 1, "'robbery' in Wikidata, not 'theft'"),
    "no id": (["resolve", "theft", "--offline", "--pick", "Q1} UNION {"], 2, "not a Wikidata item id"),
    "no network": (["resolve", "x", *NOWHERE, "--tries", "1"], 1, "cannot be reached"),
    "an item that is none": (["fetch", "robbery"], 2, "'robbery' is not an item; give an id such as Q53706"),
    "items of a dataset": (["fetch", "Q53706", "-d", "ucf"], 2, "leave out --dataset, or the items"),
    "an item that is not there": (["fetch", "Q53706", "q999999999", "--offline"], 1, "name of Q999999999; fetch them"),
    "a batch of none": (["fetch", "--batch", "0"], 2, "--batch"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_one_line(kg, name):
    arguments, expected, message = WRONG[name]
    code, out, err = kg(*arguments)
    assert (code, out) == (expected, "") and message in err
    assert err.startswith("kgvad: error: ") and err.count("\n") == 1


def test_a_damaged_cache_is_reported_with_the_command_that_rebuilds_it(kg, home):
    path = home / "damaged.sqlite"
    path.write_bytes(b"x" * 9000)
    code, _, err = kg("stats", "--store", f"sqlite:///{path}")
    assert code == 1
    command = re.search(r"it can be built again: (mv .*) && kgvad kg fetch$", err.strip())[1]
    subprocess.run(shlex.split(command), check=True)
    assert kg("fetch", "--offline", "--store", f"sqlite:///{path}")[0] == 0
    assert kg("stats", "--store", f"sqlite:///{path}")[0] == 0
    assert Path(f"{path}.damaged").read_bytes() == b"x" * 9000


def test_single_items_are_fetched(kg, home, tmp_path):
    """As the error about --open Q4654740 says."""
    store = f"sqlite:///{home}/items.sqlite"
    with servers.oxigraph(tmp_path, servers.as_wikidata(tmp_path / "facts.nt")) as url:
        service = ("--endpoint", url, "--contact", servers.CONTACT, "--store", store)
        code, out, err = kg("fetch", "q53706", "Q53706", *service)
        assert code == 0 and out.endswith("\nQ53706: in the cache\n") and not out.startswith("0 items"), err
        code, out, err = kg("fetch", "Q999999999", *service)
    assert code == 1 and "the cache has no English name of Q999999999; fetch them with a network" in err


def test_a_service_whose_labels_have_no_language(kg, home, tmp_path):
    store, facts = f"sqlite:///{home}/plain.sqlite", tmp_path / "facts.nt"
    facts.write_text(f'<{nquads.ENTITY}Q999999> <{nquads.TERM_IRIS["label"]}> "mine rescue" .\n')
    with servers.oxigraph(tmp_path, facts) as url:
        service = ("--endpoint", url, "--contact", servers.CONTACT, "--store", store)
        code, out, err = kg("fetch", "Q999999", *service)
        assert (code, out.splitlines()[-1]) == (0, "Q999999: in the cache"), err
        assert kg("resolve", "mine rescue", *service)[1] == "Q999999 mine rescue (label)\n"


def test_an_item_is_found_by_a_name_in_another_language(kg, home, tmp_path):
    """It was in the cache, and "no item is called so" was said, as it had no English name to show."""
    (tmp_path / "de.nt").write_text(f'<{nquads.ENTITY}Q900001> <{nquads.TERM_IRIS["label"]}> "Felssturz"@de .\n')
    store = ("--store", f"sqlite:///{home}/de.sqlite")
    assert kg("import", tmp_path / "de.nt", *store)[0] == 0
    assert kg("resolve", "felssturz", "--offline", *store)[:2] == (0, "Q900001 felssturz (label)\n")


def test_a_path_that_is_too_long_is_not_said_to_be_none(kg, home, tmp_path):
    items = [f"{nquads.ENTITY}Q{number}" for number in range(900001, 900009)]
    lines = [f'<{item}> <{nquads.TERM_IRIS["label"]}> "stage {step}"@en .' for step, item in enumerate(items)]
    lines += [f"<{one}> <{nquads.DIRECT}P279> <{other}> ." for one, other in pairwise(items)]
    (tmp_path / "chain.nt").write_text("\n".join(lines) + "\n")
    store = ("--store", f"sqlite:///{home}/chain.sqlite")
    assert kg("import", tmp_path / "chain.nt", *store)[0] == 0
    assert kg("path", "stage 0", "stage 6", *store)[0] == 0
    assert "no path of up to 6 steps from Q900001 to Q900008; fetch more" in kg("path", "stage 0", "stage 7", *store)[2]


def test_stats_of_a_cache_that_is_not_there_make_none(kg, home):
    code, out, err = kg("stats", "--store", f"sqlite:///{home}/missing.sqlite")
    assert (code, out) == (1, "") and f"{home}/missing.sqlite does not exist; name another cache with --store" in err
    assert not (home / "missing.sqlite").exists()


def shown_in_the_docs():
    """Commands of docs/method/knowledge-graph.md that need no service and are printed whole, with what they print."""
    page = Path(__file__).resolve().parents[2] / "docs" / "method" / "knowledge-graph.md"
    blocks = re.findall(r"^    \$ kgvad kg (.*)\n((?:^    (?!\$ ).*\n)*)", page.read_text("utf-8"), re.MULTILINE)
    plain = [(command, "".join(line[4:] + "\n" for line in said.splitlines())) for command, said in blocks]
    return [(command, said) for command, said in plain if "--endpoint" not in command and "..." not in said]


@pytest.mark.parametrize(("command", "said"), shown_in_the_docs(), ids=lambda value: value.split("\n")[0][:40])
def test_the_docs_show_what_is_printed(kg, command, said, tmp_path):
    _, out, err = kg(*shlex.split(command), "--store", f"sqlite:///{tmp_path}/fresh.sqlite")
    assert out + err == said


def test_the_docs_show_enough():
    assert len(shown_in_the_docs()) >= 5
