"""The page as a whole: every block present, well-formed, harmless, readable without its parts."""

import base64
import copy
import hashlib
import json
import re
import time
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from luthier.evaluate.report import render_report, write_report

HERE = Path(__file__).parent
NAMES = ("sample_document", "sample_document_hold", "sample_document_sparse")
DOCUMENTS = {name: json.loads((HERE / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}
SHIP = DOCUMENTS["sample_document"]
BLOCKS = ["comparison", "answers", "forgetting", "learning", "data", "slices"]
BLOCKS += ["settings", "spending", "environment", "lineage", "warnings", "reproduce"]
VOID = {"meta", "line", "circle", "rect", "path"}


class Outline(HTMLParser):
    """Collects tags, ids and texts, and fails where a tag is closed that is not the one last opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        assert tag in VOID, f"<{tag}/> is not void"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(filter(None, self.texts))

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]


def replaced(value, text):
    """The document with `text` in place of every string, keys that name no part of the contract included."""
    if isinstance(value, dict):
        return {key: replaced(entry, text) for key, entry in value.items()}
    if isinstance(value, list):
        return [replaced(entry, text) for entry in value]
    return f"{text}{value}" if isinstance(value, str) else value


@pytest.fixture(scope="module", params=NAMES)
def page(request):
    return render_report(DOCUMENTS[request.param])


@pytest.fixture(scope="module")
def ship():
    return Outline(render_report(SHIP))


def test_tags_are_balanced_and_ids_unique(page):
    outline = Outline(page)
    assert max(Counter(outline.attributes("id")).values()) == 1


def test_every_block_is_on_the_page_and_in_the_contents(page):
    outline = Outline(page)
    ids = outline.attributes("id")
    assert [block for block in BLOCKS if block not in ids] == []
    assert outline.attributes("href") == [f"#{block}" for block in BLOCKS]


def test_headings_descend_by_one_from_a_single_title(page):
    levels = [int(tag[1]) for tag, _ in Outline(page).tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_tables_have_captions_and_drawings_have_a_text(page):
    outline = Outline(page)
    assert len(outline.named("table")) == len(outline.named("caption"))
    outer = [svg for svg in outline.named("svg") if "viewbox" not in svg]
    assert all(svg.get("aria-hidden") == "true" or svg.get("aria-label") for svg in outer)


def test_the_page_needs_nothing_from_outside(page):
    outline = Outline(page)
    assert outline.attributes("src") == []
    assert not re.search(r"https?:|url\(|@import", page)
    assert outline.named("link") == []


def test_the_policy_allows_the_pages_own_script_and_no_other(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_stays_text(name):
    attack = "\"'></title></style><script>alert(1)</script><img src=x onerror=alert(1)>"
    hostile = replaced(DOCUMENTS[name], attack)
    kept = {key: DOCUMENTS[name][key] for key in ("verdict", "metric", "run_id")}
    hostile |= kept | {"name": attack, "curves": {**hostile["curves"], attack: [[1, 2.0], [2, 1.0]]}}
    hostile["solvers"] = {**hostile["solvers"], attack: hostile["tuned"]}
    outline = Outline(render_report(hostile))
    assert len(outline.named("script")) == 1
    assert outline.named("img") == []
    assert outline.attributes("onerror") == []
    assert len(outline.named("title")) == 1
    assert "<script>alert(1)</script>" in outline.text


@pytest.mark.parametrize("key", sorted(SHIP))
def test_any_part_may_be_missing(key):
    for nothing in (None, {}, [], "unexpected", float("nan")):
        Outline(render_report({**SHIP, key: nothing}))


@pytest.mark.parametrize("part", ["samples", "data", "forgetting", "delta", "tuned", "forecast", "lineage", "solvers"])
def test_any_part_of_a_part_may_be_missing(part):
    for key in SHIP[part]:
        damaged = copy.deepcopy(SHIP)
        damaged[part][key] = None
        Outline(render_report(damaged))


def test_an_empty_document_says_of_every_block_that_it_was_not_measured():
    outline = Outline(render_report({}))
    assert "No verdict" in outline.text
    assert outline.text.count("Not measured: ") >= len(BLOCKS)


def test_the_runs_own_reason_for_what_is_missing_is_shown():
    page = render_report({"not_measured": {"forgetting": "an encoder writes no text"}})
    assert "Not measured: an encoder writes no text." in page


def test_missing_parts_of_a_run_are_explained():
    text = Outline(render_report(DOCUMENTS["sample_document_sparse"])).text
    for reason in (
        "Not measured: an encoder cannot be prompted.",
        "Not measured: evaluate.forgetting is off in the recipe.",
        "Not measured: the machine's power draw is not known.",
        "Not measured: the recipe names no machine.price_per_hour.",
        "No interval was computed.",
    ):
        assert reason in text


def test_the_page_shows_what_the_run_found(ship):
    text = ship.text.replace("\u202f", " ").replace("\u00a0", " ")
    for shown in (
        "The tuned model answers 62 % of 110 held-out items fully right, 21 points (12 to 29) more than",
        "61.8 % [52.5, 70.4]",
        "+20.9 [+11.8, +29.1] < 0.001 110",
        "Brackets: 95 % interval (Wilson, over groups where rows share one)",
        "Tango score interval, exact McNemar test",
        "a classic model predicts labels; these answers are free JSON text",
        "6 of 29 shown",
        "same content as an earlier row: 16",
        "the longest row has 301 tokens, rounded up to a multiple of 8",
        "Steps and validation 21 min 50 s 24 min 11 s 24 min 46 s −2 %",
        "Whole job – 27 min 10 s 34 min 28 s −21 %",
        "about 18.6 Wh: an estimate, not a reading; it assumes a draw of 45 W",
        "changes a logit by at most 0.000023",
        "luthier run recipe.yaml --set train.batch_size=16",
        "lora_target_modules: all-linear",
        SHIP["lineage"]["adapter_sha256"],
    ):
        assert shown in text


def test_many_reasons_of_one_step_are_summed():
    text = Outline(render_report(DOCUMENTS["sample_document_hold"])).text
    assert "57 other reasons: 57" in text


def test_colours_keep_a_contrast_of_4_5():
    style = re.search(r"<style>(.*?)</style>", render_report({}), re.DOTALL)[1]
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 3
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", scheme))
        for ink in ("ink", "soft", "accent"):
            for ground in ("paper", "faint"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground, colours)


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_block_is_documented(page):
    titles = re.findall(r"<h2[^>]*>(?:<span>.*</span>)?(.*?)</h2>", page)[1:]
    described = (HERE.parents[1] / "docs" / "report.md").read_text(encoding="utf-8")
    assert len(titles) == len(BLOCKS)
    assert [title for title in titles if f"| {title} |" not in described] == []


def test_it_is_fast(ship):
    def spent() -> float:
        start = time.process_time()
        render_report(SHIP)
        return time.process_time() - start

    assert min(spent() for _ in range(5)) < 0.05


def test_the_written_file_is_the_page(tmp_path):
    target = tmp_path / "run" / "report.html"
    write_report(SHIP, target)
    assert target.read_text(encoding="utf-8") == render_report(SHIP)
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


def test_a_second_objective_has_a_block_of_its_own() -> None:
    keys = ("metric", "solvers", "base", "tuned", "best_baseline", "delta", "deltas", "samples")
    second = {"objective": "classify", "weight": 0.3, "labels": ["a", "b"]} | {key: SHIP[key] for key in keys}
    outline = Outline(render_report(SHIP | {"beside": second}))
    assert "#beside" in outline.attributes("href")
    assert "beside" in outline.attributes("id")
    assert outline.text.count("A second objective on the same weights") == 1
    assert "2 labels, weight 0.3" in outline.text
    assert max(Counter(outline.attributes("id")).values()) == 1
