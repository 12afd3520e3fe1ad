"""The page in a browser: nothing overlaps, nothing is cut, at the widths of a screen, a tablet and a phone."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from splitjax.reporting import page
from splitjax.reporting.glossary import WORDS, explained
from splitjax.reporting.pictures import plots
from splitjax.reporting.verdict import judge

from . import made_up

MEASURE = """
const page = document.querySelector("iframe").contentDocument, wide = page.documentElement.clientWidth;
const seen = [...page.querySelectorAll("h1,h2,h3,p,li,td,th,dt,dd,pre,figcaption,svg text,svg")].filter(
  each => each.getClientRects().length && each.getBoundingClientRect().width > 0);
const box = each => each.getBoundingClientRect();
const name = each => each.tagName + ": " + each.textContent.trim().slice(0, 40);
const holds = each => seen.some(other => other !== each && each.contains(other));
const leaves = seen.filter(each => each.tagName !== "svg" && !holds(each));
const overlaps = [];
for (const a of leaves) for (const b of leaves) {
  if (a === b || a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_PRECEDING) continue;
  const p = box(a), q = box(b);
  const x = Math.min(p.right, q.right) - Math.max(p.left, q.left);
  const y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
  if (x > 2 && y > 2) overlaps.push(name(a) + " | " + name(b));
}
const css = each => page.defaultView.getComputedStyle(each);
const spills = each =>
  !each.closest("svg") && css(each).display !== "inline" && each.scrollWidth > each.clientWidth + 1;
const cut = seen.filter(each => box(each).right > wide + 1 || box(each).left < -1 || spills(each)).map(name);
const told = {
  wide, overlaps: overlaps.slice(0, 20), cut: cut.slice(0, 20), scrolls: page.documentElement.scrollWidth > wide,
  seen: seen.length, paper: css(page.body).backgroundColor,
  first: box(page.querySelector(".first")).bottom,
  curve: page.querySelector("figure svg").getBoundingClientRect().width,
};
document.body.setAttribute("data-told", JSON.stringify(told));
"""


@pytest.fixture(scope="module")
def text() -> str:
    """A page with six compared splits."""
    plan, results = made_up.plan(), made_up.results(6)
    training = plots.loss_curves(Path("nowhere"), {"models": {}})
    return page.laid_out("a <run>", plan, results, judge(plan, results), training=training, config="name: a <run>\n")


def browser_or_skip() -> str:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium: the layout of the page is not checked")
    return browser


def measured(text: str, width: int, tmp_path: Path, *, dark: bool = False, open_all: bool = True) -> dict[str, Any]:
    """What a browser makes of the page in a frame of this width."""
    browser = browser_or_skip()
    shown = text.replace("<details>", "<details open>") if open_all else text
    frame = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(shown)}"></iframe>'
    script = f"<script>onload = () => {{{MEASURE}}}</script>"
    (tmp_path / "frame.html").write_text(f"<!doctype html><body style='margin:0'>{frame}{script}", encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", "--dump-dom",
               f"--user-data-dir={tmp_path / 'profile'}", f"--blink-settings=preferredColorScheme={int(not dark)}"]
    done = subprocess.run([*command, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r'data-told="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_nothing_overlaps_and_nothing_is_cut(text: str, width: int, tmp_path: Path) -> None:
    told = measured(text, width, tmp_path)
    assert told["seen"] > 200, "all sections are open"
    assert not told["overlaps"]
    assert not told["cut"]
    assert not told["scrolls"]
    assert told["curve"] > 300


def test_the_answer_is_on_the_first_screen_and_the_page_follows_dark_mode(text: str, tmp_path: Path) -> None:
    light, dark = (measured(text, 1280, tmp_path, dark=each, open_all=False) for each in (False, True))
    assert light["first"] < 800
    assert (light["paper"], dark["paper"]) == ("rgb(254, 254, 254)", "rgb(20, 24, 29)")


def test_in_print_every_section_is_open(text: str, tmp_path: Path) -> None:
    pages = []
    for shown in (text, text.replace("<details>", "<details open>")):
        page, made = tmp_path / "page.html", tmp_path / "page.pdf"
        page.write_text(shown, encoding="utf-8")
        subprocess.run([browser_or_skip(), "--headless", "--no-sandbox", "--disable-gpu", f"--print-to-pdf={made}",
                        f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()], capture_output=True, timeout=120)
        pages.append(len(re.findall(rb"/Type\s*/Page\b", made.read_bytes())))
    assert pages[0] >= pages[1] > 3, "closed ones take as many pages as open ones"


def test_the_first_screen_says_it_all(text: str) -> None:
    first = re.sub(r"<[^>]+>", "", html.unescape(text[text.index("<header>") : text.index("<details")]))
    words = " ".join(first.split())
    for said in ("Split.", "Experts beat one model by 18.1 ± 0.5 % perplexity at equal compute",
                 "Best split 30 to 60 % (law: 40 %; measured: 40 %)", "one standard error over 64 test windows",
                 "Take the experts split at 40 % and their router. no training", "splitjax export RUN --out models"):
        assert said in words
    assert "<title>a &lt;run&gt;</title>" in text
    assert "splitjax run configs/demo.yaml run_dir=runs/demo" in text
    assert "<pre>name: a &lt;run&gt;" in text
    assert "<script" not in text
    assert "http" not in text, "the page loads nothing"


def test_pictures_tell_their_values(text: str) -> None:
    assert "<title>planned, 40 %: 4.000 measured</title>" in text
    assert "<title>law at 40 %: 4.000 (90 % 3.900 to 4.100)</title>" in text
    assert text.count("<use ") >= text.count(" measured</title>") == 9
    (address,) = re.findall(r'download="split_curve.csv" href="data:text/csv;base64,([^"]+)"', text)
    lines = base64.b64decode(address).decode().splitlines()
    assert lines[0] == "what,fraction,loss,low,high"
    assert lines[1] == "planned,0.4,4.0,,"
    assert len(lines) == 1 + 9 + 201
    assert not re.search(r"#[0-9a-f]{6}", text[text.index("<svg") : text.index("</svg>")]), "colours are the page's own"
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(word-[^"]+)"', text)) <= set(ids), "each word leads to its meaning"


def test_words_are_explained_where_they_stand_and_in_the_docs() -> None:
    told = explained("The <law>: 80/20, experts; the law again.")
    assert told.count('class="word"') == 3
    assert "&lt;<a" in told
    assert 'href="#word-law"' in told
    assert WORDS["expert"].split(",")[0] in told
    docs = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert not [word for word, text in WORDS.items() if f"| {word} | {text} |" not in docs]
