"""Times and escaping."""

import pytest
from markdown_it import MarkdownIt

from kgvad.explain.rendering.escaping import (
    clock,
    code,
    fine_clock,
    markdown,
    nowrap_options,
    qid,
    round_clock,
    stamp,
    vtt,
)
from kgvad.explain.text import plain, words

HOSTILE = [
    "<script>alert(1)</script>",
    "![x](http://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "a | b",
    "`rm -rf`",
    "``",
    "_under_ *star* ~~gone~~",
    "# heading",
    "- item",
    "1. item",
    "http://evil.example",
    "www.evil.example",
    "me@evil.example",
    "&lt;b&gt; &copy;",
    "two\nlines\n\n# and a heading",
    "\\",
    "=====",
    "$x$",
    "<!-- -->",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("escape", [markdown, code])
def test_a_markdown_reader_shows_exactly_the_text(text, escape):
    """Rendered by a Markdown reader with tables, strikethrough and links on, nothing but the text is there."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = reader.parse(f"before {escape(text)} after\n\n* {escape(text)}\n")
    inline = [child for token in tokens if token.type == "inline" for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "text_special", "code_inline"}
    shown = "".join(child.content for child in inline)
    wanted = " ".join(text.split())
    assert shown == f"before {wanted} after{wanted}"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_of_a_table_stays_one_cell(text):
    reader = MarkdownIt("commonmark").enable("table")
    for escape in (markdown, lambda text: code(text, table=True)):
        html = reader.render(f"| a | b |\n|---|---|\n| {escape(text)} | z |\n")
        assert html.count("<td>") == 2
        assert "<td>z</td>" in html


def test_bare_addresses_are_not_left_for_a_viewer_to_link():
    assert "://" not in markdown("see http://evil.example")
    assert "www." not in markdown("www.evil.example")
    assert "e@" not in markdown("me@evil.example")


def test_times():
    assert clock(0) == "00:00:00"
    assert clock(83.4) == "00:01:23"
    assert clock(59.9999999) == "00:01:00"
    assert clock(3 * 3600 + 62) == "03:01:02"
    assert round_clock(59.83) == "00:01:00"  # a duration, as the sentences round it
    assert round_clock(0.12) == "00:00:00.1" and round_clock(9.94, ",") == "00:00:09,9"
    assert fine_clock(0.12) == "00:00:00.1" and fine_clock(59.96, ",") == "00:01:00,0"
    assert stamp(83.4) == "00:01:23,400"
    assert stamp(59.9996, ".") == "00:01:00.000"


def test_names_in_words():
    assert words("RoadAccidents") == "road accidents"
    assert words("Robbery") == "robbery"


def test_plain_takes_out_what_cannot_be_seen():
    assert plain("a\nb\tc") == "a b c"
    assert plain("evil\u202egpj.exe") == "evil\ufffdgpj.exe"
    assert plain("\x1b[31mred") == "\ufffd[31mred"
    assert plain("\udcff") == "\ufffd"
    assert plain("räuber – 强盗") == "räuber – 强盗"


def test_only_real_item_numbers_are_linked():
    assert qid("Q42") and qid("P279")
    for wrong in ("Q0", "q42", "Q42/../x", "javascript:alert(1)", "", None, 42, "Q42 "):
        assert not qid(wrong)


def test_a_subtitle_line_starts_no_cue_and_no_markup():
    assert vtt("a --> b <i>c</i>\nd") == "a → b &lt;i&gt;c&lt;/i&gt; d"


def test_options_are_kept_on_one_line_and_text_is_escaped():
    shown = nowrap_options("use <b> (--run RUN) or --no-images - not --")
    assert shown == (
        'use &lt;b&gt; (<span class="nowrap">--run RUN</span>) or <span class="nowrap">--no-images</span> - not --'
    )
