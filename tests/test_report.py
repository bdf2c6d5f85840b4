"""`dedupe report`: its numbers are those of the keep-lists, and no text gets out of its place."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import dedupe as command

import dedupe
from dedupe import SettingsError
from dedupe.commands.report.card import card_of
from dedupe.commands.report.page import MOST_BYTES, page_of, visible
from dedupe.commands.report.template import template_of
from dedupe.commands.report.verdicts import verdicts_of

HOSTILE = (
    '</script><script>alert("x")</script> <img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %} '
    "\u202egnp.exe\u2066 \u2028 \x1b[31m \x07 \x00 <!-- --> ]]> &lt; \" ' ` \ufeff\u200b"
)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Two files with columns, and a run over them."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "corpus").mkdir()
    rows = []
    for number in range(400):
        words = " ".join(f"w{number % 90}_{place}" for place in range(12))
        tail = {0: "", 1: " and", 2: " and more of it"}[number % 3]
        rows.append(
            {
                "text": words + tail,
                "source": "abc"[number % 3] if number % 7 else None,
                "lang": "de" if number % 16 == 0 else "en",
                "other": f"{number}",
            }
        )
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.slice(0, 250), folder / "corpus" / "a.parquet")
    pq.write_table(table.slice(250), folder / "corpus" / "b.parquet")
    dedupe.deduplicate(folder / "corpus", folder / "out")
    return folder


def test_numbers_are_those_of_duckdb(here, tmp_path):
    found = dedupe.report(here / "out", tmp_path / "report.html", by="lang")
    assert found == json.loads((tmp_path / "report.json").read_text())
    assert found == dedupe.Result(here / "out").report(tmp_path / "again.html", by="lang")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "report.html").read_bytes()
    base = duckdb.connect()
    base.execute(
        f"""
        create table corpus as select *, row_number() over () - 1 as position, 'a' as file
            from '{here}/corpus/a.parquet'
        union all select *, row_number() over () - 1, 'b' from '{here}/corpus/b.parquet';
        create table kept as select *, 'a' as file from '{here}/out/keep/00000-a.parquet'
        union all select *, 'b' from '{here}/out/keep/00001-b.parquet';
        create table both_ as select c.*, k.* exclude (file)
            from corpus c join kept k on c.file = k.file and c.position = k.row
        """
    )

    def ask(query):
        return base.execute(query).fetchall()

    assert found["rows"] == 400
    assert found["kept"] == ask("select count(*) from kept where keep")[0][0]
    assert found["reasons"] == dict(ask("select reason, count(*) from kept group by 1"))
    for column in ("source", "lang"):
        (of,) = (one for one in found["by"] if one["column"] == column)
        told = {one["value"]: (one["before"], one["after"]) for one in of["values"]}
        query = f"select {column}, count(*), sum(keep::int) from both_ group by 1"
        assert told == {value: (before, after) for value, before, after in ask(query)}
        after = sum(one["after"] for one in of["values"])
        for one in of["values"]:
            assert one["moved"] == pytest.approx(
                one["after"] / after - one["before"] / 400, abs=1e-6
            )
            assert one["is_few"] == (one["after"] < 20 <= one["before"])
    assert any(one["is_few"] for one in found["by"][0]["values"])
    told = {(one["source"], one["because_of"]): one["dropped"] for one in found["because_of"]}
    assert told == {
        (one, other): count
        for one, other, count in ask(
            """select d.source, w.source, count(*) from both_ d join both_ w
            on w.row = d.witness_row and d.witness_shard like '%/' || w.file || '.parquet'
            where not d.keep group by 1, 2"""
        )
    }
    bins = Counter({round(one["from"], 2): one["dropped"] for one in found["similarities"]})
    query = "select floor(jaccard * 100 + 1e-9)::int, count(*) from kept where not keep group by 1"
    assert +bins == {share / 100: count for share, count in ask(query)}
    shingles = [max(len(text.split()) - 4, 1) for (text,) in ask("select text from both_")]
    keep = [stays for (stays,) in ask("select keep from both_")]
    for name, one in found["lengths"].items():
        low, _, high = name.replace(" or more", " to 99999999").partition(" to ")
        inside = range(int(low), int(high or low) + 1)
        own = [stays for count, stays in zip(shingles, keep, strict=True) if count in inside]
        assert (one["kept"], one["dropped"]) == (own.count(True), own.count(False))
    both = list(zip(shingles, keep, strict=True))
    assert found["shingles"] == {
        "kept": sum(count for count, stays in both if stays),
        "dropped": sum(count for count, stays in both if not stays),
    }
    assert [one["shingles"] for one in found["longest"]] == sorted(shingles)[:-11:-1]
    sizes = ask(
        """select size, count(*) from (select count(*) + 1 as size from kept where not keep
        group by cluster) group by 1"""
    )
    assert found["cluster_sizes"] == {str(size): count for size, count in sizes}
    assert found["largest"][0]["rows"] == max(size for size, _ in sizes)
    assert len(found["pairs"]) == min(200, 400 - found["kept"])
    similar = [one["jaccard"] for one in found["pairs"]]
    assert min(similar) == ask("select min(jaccard) from kept")[0][0]


def test_a_report_is_not_written_over_the_corpus_or_the_run(tmp_path):
    rows = [{"text": f"row {n // 2} of it"} for n in range(20)]
    (tmp_path / "corpus").mkdir()
    for name in ("train.json", "corpus/rows.json"):
        (tmp_path / name).write_text(json.dumps(rows))
    before = (tmp_path / "train.json").read_bytes()
    run = dedupe.deduplicate(tmp_path / "train.json", tmp_path / "o")
    for given in (tmp_path / "train.json", run):
        with pytest.raises(SettingsError, match=r"train\.json would be written over or into"):
            dedupe.report(given, tmp_path / "train.html")
    out = dedupe.deduplicate(tmp_path / "corpus", tmp_path / "out")
    for given in (tmp_path / "corpus", out):
        with pytest.raises(SettingsError, match="choose a place outside it"):
            dedupe.report(given, tmp_path / "corpus" / "report.html")
    with pytest.raises(SettingsError, match="out: choose a place outside it"):
        out.report(tmp_path / "out" / "report.html")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(SettingsError, match=r"a folder: name a file like report\.html"):
        run.report(folder)
    with pytest.raises(SettingsError, match="pairs is -1"):
        out.report(tmp_path / "report.html", pairs=-1)
    assert (tmp_path / "train.json").read_bytes() == before
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["rows.json"]


def test_files_that_were_left_out_are_left_out_here_too(tmp_path):
    (tmp_path / "corpus").mkdir()
    rows = [{"text": f"row {n // 2} of it all", "source": "ab"[n % 2]} for n in range(40)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "corpus" / "a.jsonl").write_text(lines + "no json\n")
    (tmp_path / "corpus" / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:40])
    how = {"on_bad_row": "skip", "on_bad_file": "skip"}
    out = dedupe.deduplicate(tmp_path / "corpus", tmp_path / "out", **how)
    sampled = out.report(tmp_path / "report.html")
    (column,) = sampled["by"]
    assert sum(one["before"] for one in column["values"]) == 41  # with the row that has no source
    out.find_problems()
    exact = out.report(tmp_path / "report.html")
    for found in (sampled, exact):
        assert (found["problems"]["looked_at"], found["problems"]["of"]) == (40, 40)
    of_all = {one["problem"]: one["rows"] for one in exact["problems"]["found"]}
    of_sample = {one["problem"]: one["rows"] for one in sampled["problems"]["found"]}
    assert of_sample.items() <= of_all.items()


def test_the_card_of_exact_copies_says_so(here, tmp_path):
    out = dedupe.deduplicate(here / "corpus", tmp_path / "out", near=False)
    out.report(tmp_path / "report.html", card=tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text()
    assert "Only exact copies were looked for." in card
    assert "exact join" not in card
    assert "Jaccard" not in card


@pytest.mark.parametrize("by_file", [True, False])
def test_a_source_of_which_nothing_stays_comes_first(tmp_path, by_file):
    (tmp_path / "corpus").mkdir()
    many = [f"some words of row {n // 3} in a large source" for n in range(90)]
    few = many[:6]
    for name, texts in (("a", many), ("b", few)):
        table = pa.table({"text": texts, **({} if by_file else {"source": [name] * len(texts)})})
        pq.write_table(table, tmp_path / "corpus" / f"{name}.parquet")
    out = dedupe.deduplicate(tmp_path / "corpus", tmp_path / "out")
    found = out.report(tmp_path / "report.html")
    told = [(one["dropped"], one["is_gone"]) for one in found["because_of"]]
    assert told == [(6, True), (60, False)]
    assert "no row of it stays" in (tmp_path / "report.html").read_text()


def test_pairs_are_of_each_similarity_source_and_size(tmp_path):
    """A quarter are the least similar; the rest are not crowded out by what there is most of."""
    rows = []
    for number in range(900):  # many pairs of one source and size, and of one similarity
        rows += [{"text": f"{' '.join(f'a{number}x{k}' for k in range(26))}{end}", "source": "a"}
                 for end in ("", " and so on")]  # fmt: skip
    for number in range(12):  # few of others: exact copies, a large cluster, another source
        text = " ".join(f"b{number}x{k}" for k in range(30))
        rows += [{"text": text, "source": "b"}] * 2
    rows += [{"text": " ".join(f"c{k}" for k in range(30)), "source": "c"}] * 9
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = dedupe.deduplicate(tmp_path / "c.jsonl", tmp_path / "out")
    pairs = out.report(tmp_path / "report.html", by="source", pairs=40)["pairs"]
    texts = [rows[one["row"]["row"]]["text"] for one in pairs]
    of = Counter(text[0] for text in texts)
    assert len(pairs) == 40
    assert set(of) == {"a", "b", "c"}
    assert of["b"] == 12
    assert of["c"] == 8
    similar = [one["jaccard"] for one in pairs]
    assert similar == sorted(similar)
    assert Counter(text[0] for text in texts[:10]) == {"a": 10}


def test_pairs_say_what_goes(here, tmp_path):
    found = dedupe.report(here / "out", tmp_path / "report.html", pairs=5)
    assert len(found["pairs"]) == 5
    for one in found["pairs"]:
        (field,) = one["fields"]
        own = "".join(text for mark, text in field["changes"] if mark != "-")
        if one["jaccard"] < 1:
            assert re.search(r"\b(and|more of it)\b", own) or "-" in dict(field["changes"])
        assert one["show"].startswith(f"dedupe show {here}/out --row ")
    other = dedupe.report(here / "out", tmp_path / "report.html", pairs=5, seed=2)
    assert other["pairs"] != found["pairs"]
    none = dedupe.report(here / "out", tmp_path / "report.html", pairs=0)
    assert none["pairs"] == []
    assert 'id="pairs"' not in (tmp_path / "report.html").read_text()


class Page(HTMLParser):
    """Every tag and attribute of a page, and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text = Counter(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a run over texts that would like to get out."""
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "<b>&'corpus'.parquet"
    rows = [
        {
            "text": f"{HOSTILE} {number // 3} " * 3 + "x" * (number % 3 == 2),
            "source": f"{HOSTILE}{number % 4}",
            "</style><svg onload=alert(1)>": HOSTILE,
        }
        for number in range(60)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    dedupe.deduplicate(path, folder / "out<i>", shingle="word:2")
    by = "</style><svg onload=alert(1)>"
    found = dedupe.report(folder / "out<i>", folder / "report.html", by=by)
    assert len(found["pairs"]) > 10
    assert found["pairs"][0]["show"].startswith(f"dedupe show '{folder}/out<i>' --row 0:")
    return folder / "report.html"


def test_no_text_gets_out_of_its_place(hostile):
    text = hostile.read_text()
    page = Page(text)
    assert page.tags["script"] == page.tags["style"] == 1
    known = {
        "html", "head", "meta", "title", "style", "body", "header", "p", "bdi", "h1", "h2", "h3",
        "nav", "ul", "li", "a", "main", "section", "div", "table", "caption", "thead", "tbody",
        "tr", "th", "td", "svg", "rect", "line", "text", "details", "summary", "article", "strong",
        "code", "ins", "del", "input", "span", "script",
    }  # fmt: skip
    assert page.tags.keys() <= known
    for name, value in page.attributes:
        assert not name.startswith("on"), (name, value)
        assert name not in ("src", "action", "style", "srcdoc")
        assert name != "href" or value.startswith("#")
    said = "".join(page.text)
    assert '</script><script>alert("x")</script>' in said
    assert "{{ 7 * 7 }} {% raw %}" in said
    assert "⟨U+202E⟩gnp.exe⟨U+2066⟩" in said
    for hidden in "\u202e\u2066\u2028\x1b\x07\x00\ufeff\u200b":
        assert hidden not in text
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Policy" content="(.*?)"', text)
    assert policy[1] == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"https?://", text)


def test_a_browser_runs_its_script_and_asks_for_nothing(hostile, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("there is no chromium here")
    log = tmp_path / "net.json"
    done = subprocess.run(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom",
         f"file://{hostile}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert '<th scope="col"><button type="button">reason</button></th>' in done.stdout
    asked = re.findall(r'"url":"((?:https?|ws)://[^"]+)"', log.read_text())
    own = ("google", "gvt1")  # chromium's own, for its updates
    assert not [url for url in asked if not any(one in url for one in own)]


def test_a_page_is_small_whatever_the_corpus(tmp_path):
    rows = [
        {"text": f"{number // 2} " + "<&\"'> " * 20_000, "category": f"{'<' * 300}{number}"}
        for number in range(40)
    ]
    more = [{"text": f"text number {n}", "category": f"{'&' * 300}{n}"} for n in range(9_500)]
    pq.write_table(pa.Table.from_pylist(rows + more), tmp_path / "rows.parquet")
    dedupe.deduplicate(tmp_path / "rows.parquet", tmp_path / "out", shingle="word:2")
    found = dedupe.report(tmp_path / "out", tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size <= MOST_BYTES
    (category,) = found["by"]
    assert len(category["values"]) == 9_540
    pairs = found["pairs"] * 400
    page = page_of({**found, "pairs": pairs})
    assert len(page) <= MOST_BYTES
    assert f"Of {len(pairs)} pairs" in page.decode()


def test_a_column_of_too_many_values_is_no_category(tmp_path):
    rows = [{"text": f"text {n // 2} of it", "category": str(n)} for n in range(10_050)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    dedupe.deduplicate(tmp_path / "rows.parquet", tmp_path / "out")
    found = dedupe.report(tmp_path / "out", tmp_path / "report.html")
    assert found["by"] == []
    assert found["source"] is None
    assert found["because_of"] == [
        {"source": f"{tmp_path}/rows.parquet", "because_of": f"{tmp_path}/rows.parquet",
         "dropped": 5_025, "is_gone": False}
    ]  # fmt: skip


def test_the_command(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("report", str(here / "out"), "--card", "CARD.md", "--pairs", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The report is in report.html\n"
    card = (tmp_path / "CARD.md").read_text()
    assert card.startswith("## Deduplication\n\nThis corpus had 400 rows, of which ")
    assert (
        "16 bands of 6 rows), which proposes a pair at the threshold with a chance of 99.2" in card
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "CARD.md",
        "report.html",
        "report.json",
        "report.pairs.csv",
    ]
    found = json.loads(command("report", str(here / "out"), "--json").stdout)
    assert found["rows"] == 400
    wrong = command("report", str(here / "out"), "--by", "nosuch")
    assert wrong.returncode == 2
    assert 'no column "nosuch" in the corpus: there are' in wrong.stderr
    (tmp_path / "unfinished" / "keep").mkdir(parents=True)
    (tmp_path / "unfinished" / "keep" / "00000-a.parquet").touch()
    nothing = command("report", str(tmp_path / "unfinished"))
    assert nothing.returncode == 2
    assert "is not the output of a finished run" in nothing.stderr
    nothing = command("report", str(tmp_path / "nosuch"))
    assert nothing.returncode == 2
    assert "no such file or directory" in nothing.stderr


def test_a_corpus_is_looked_at_without_a_run(here, tmp_path):
    before = sorted(here.rglob("*"))
    found = dedupe.report([here / "corpus"], tmp_path / "report.html", by="lang")
    assert sorted(here.rglob("*")) == before
    exact = dedupe.deduplicate(here / "corpus", tmp_path / "out", near=False)
    assert (found["rows"], found["kept"]) == (400, exact.kept)
    assert found["out"] == str(here / "corpus")
    assert all(one["show"] is None for one in (*found["pairs"], *found["largest"]))
    text = (tmp_path / "report.html").read_text()
    assert f"400 rows, of which {400 - exact.kept} are exact copies of others" in text
    assert "Only exact copies were looked for: dedupe run finds" in text
    assert "dedupe show" not in text


def test_rows_that_would_stay_at_other_thresholds(here, tmp_path):
    settings = {"threshold": 0.7, "recall": "exact", "keep": "longest"}
    out = dedupe.deduplicate(here / "corpus", tmp_path / "out", **settings)
    found = out.report(tmp_path / "report.html", thresholds="0.6:0.9:0.1")
    kept = {one["threshold"]: one["kept"] for one in found["sweep"]["steps"]}
    assert list(kept) == [0.6, 0.7, 0.8, 0.9]
    assert kept[0.7] == out.kept
    other = dedupe.deduplicate(here / "corpus", tmp_path / "o", **{**settings, "threshold": 0.9})
    assert kept[0.9] == other.kept
    text = (tmp_path / "report.html").read_text()
    assert "Rows that would stay at other thresholds" in text
    assert "Rows kept by threshold" in text
    with pytest.raises(SettingsError, match="thresholds"):
        out.report(tmp_path / "report.html", thresholds="x")


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string()])
def test_difficulty_is_told_in_ranges(tmp_path, kind):
    grades = [number * 7 % 100 for number in range(300)] + [None] * 5
    texts = [f"row {number // 2} of these" for number in range(305)]
    table = pa.table({"text": texts, "grade": pa.array(grades, pa.int64()).cast(kind)})
    pq.write_table(table, tmp_path / "rows.parquet")
    out = dedupe.deduplicate(tmp_path / "rows.parquet", tmp_path / "out")
    found = dedupe.report(out, tmp_path / "report.html", difficulty="grade")
    (column,) = (one for one in found["by"] if one["column"] == "grade")
    stays = out.mask().tolist()
    wanted = []
    for low in range(0, 100, 10):
        keep = [stays[n] for n, grade in enumerate(grades) if grade in range(low, low + 10)]
        wanted.append((f"{low} to {low + 9}", len(keep), sum(keep)))
    wanted.append((None, 5, sum(stays[300:])))
    assert [(one["value"], one["before"], one["after"]) for one in column["values"]] == wanted
    few = pa.table({"text": texts, "grade": pa.array([n % 3 for n in range(305)]).cast(kind)})
    pq.write_table(few, tmp_path / "few.parquet")
    out = dedupe.deduplicate(tmp_path / "few.parquet", tmp_path / "few")
    found = dedupe.report(out, tmp_path / "report.html", difficulty="grade")
    (column,) = (one for one in found["by"] if one["column"] == "grade")
    assert [one["value"] for one in column["values"]] == ["0", "1", "2"]


def test_references_test_sets_and_fields_are_told(tmp_path):
    rows = [
        {"instruction": f"say number {n // 2} in plain words", "output": f"it is {n // 2} of all"}
        for n in range(60)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:6]), tmp_path / "reference.parquet")
    item = "what is it that a model ought to answer when nobody has told it anything at all"
    rows.append({"instruction": item, "output": "nothing"})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "items.jsonl").write_text(json.dumps({"question": item}) + "\n")
    dedupe.deduplicate(
        tmp_path / "rows.parquet",
        tmp_path / "out",
        against=tmp_path / "reference.parquet",
        evals=str(tmp_path / "items.jsonl"),
        threshold=0.7,
    )
    found = dedupe.report(tmp_path / "out", tmp_path / "report.html")
    assert found["reasons"]["reference"] == 6
    assert found["reasons"]["contaminated"] == 1
    assert sum(one["dropped"] for one in found["because_of"]) == 27
    assert {one["field"] for one in found["pairs"][0]["fields"]} == {"prompt", "answer"}
    text = (tmp_path / "report.html").read_text()
    assert "6 rows untouched, 6 duplicates of them dropped" in text
    assert found["test_sets"]["benchmarks"][0]["contaminated"] == 1
    assert "Test sets: an item is contaminated if at least 60.0% of its question" in text
    assert "Two rows are duplicates" in text


def test_a_corpus_that_was_held_against_test_sets_alone(tmp_path):
    item = "what is it that a model ought to answer when nobody has told it anything at all"
    rows = [{"text": f"row {number} of some"} for number in range(30)] + [{"text": item}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    out = tmp_path / "out"
    dedupe.decontaminate(tmp_path / "rows.parquet", out, evals=[{"question": item}])
    found = dedupe.report(out, tmp_path / "report.html", card=tmp_path / "card.md")
    assert found["test_sets"]["benchmarks"][0]["rows"] == 1
    text = (tmp_path / "report.html").read_text()
    assert "held against test sets, not against one another" in text
    assert "Two rows are duplicates" not in text
    assert (tmp_path / "card.md").read_text().startswith("## Decontamination\n\nThis corpus had 31")
    done = command("show", str(out), "--png", str(tmp_path / "a.png"))
    assert done.returncode == 0, done.stderr


def test_a_split_is_no_run(tmp_path):
    pq.write_table(
        pa.table({"text": [f"row {n} of it" for n in range(30)]}), tmp_path / "a.parquet"
    )
    dedupe.split(tmp_path / "a.parquet", tmp_path / "splits")
    with pytest.raises(SettingsError, match="is a split: a report is of a finished run"):
        dedupe.report(tmp_path / "splits", tmp_path / "report.html")


def test_what_cannot_be_read_again_is_an_error(tmp_path):
    rows = pa.table({"text": ["a b c d e f", "a b c d e f", "g h"]})
    with pytest.raises(SettingsError, match="rows in memory"):
        dedupe.report(dedupe.deduplicate(rows), tmp_path / "report.html")
    pq.write_table(rows, tmp_path / "rows.parquet")
    out = dedupe.deduplicate(tmp_path / "rows.parquet", tmp_path / "out")
    pq.write_table(rows.slice(1), tmp_path / "rows.parquet")
    with pytest.raises(dedupe.CorpusError, match="has changed since the run"):
        dedupe.report(out, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_run_without_rows(tmp_path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    dedupe.deduplicate(tmp_path / "rows.parquet", tmp_path / "out")
    found = dedupe.report(tmp_path / "out", tmp_path / "report.html")
    assert (found["rows"], found["pairs"], found["largest"]) == (0, [], [])
    assert "0 of 0 rows were dropped" in (tmp_path / "report.html").read_text()
    assert card_of(found).startswith("## Deduplication\n\nThis corpus had 0 rows")


def test_a_template_has_slots_where_rows_differ():
    texts = [f"Dear {name}, we thank you for your order number {n} of last week." for n, name in
             enumerate(["Ann", "Bob", "Cy", "Di"])]  # fmt: skip
    found = template_of(texts[0], texts[1:])
    assert found == "▢ we thank you for your order number ▢ of last week."
    assert template_of("one two three four", ["one two three four"]) == "one two three four"
    assert template_of("one two three", ["four five six"]) is None
    assert template_of("one two three", []) is None
    assert template_of("--- ---", ["--- ---"]) == "--- ---"


def test_what_cannot_be_seen_has_a_name():
    assert visible("a\u202eb\x1b[0m\u200d\U000e0041") == "a⟨U+202E⟩b⟨U+001B⟩[0m\u200d⟨U+E0041⟩"
    assert visible("tab\tline\nŻółć 漢字 🎉") == "tab\tline\nŻółć 漢字 🎉"


def test_verdicts_give_precision_by_similarity(here, tmp_path):
    found = dedupe.report(here / "out", tmp_path / "report.html")
    path = tmp_path / "report.pairs.csv"
    lines = path.read_text().splitlines()
    assert lines[0] == "pair,jaccard,reason,path,row,witness_path,witness_row,verdict"
    assert len(lines) == 1 + len(found["pairs"])
    said = [f"{line}{'no' if number % 4 == 0 else 'yes'}" for number, line in enumerate(lines[1:])]
    path.write_text("\n".join([lines[0], *said]))
    done = command(
        "report", str(here / "out"), "-o", str(tmp_path / "again.html"), "--verdicts", str(path)
    )
    assert done.returncode == 0, done.stderr
    verdicts = json.loads((tmp_path / "again.json").read_text())["verdicts"]
    expected: dict[float, list[int]] = {}
    for number, pair in enumerate(found["pairs"]):
        counts = expected.setdefault(int(pair["jaccard"] * 20 + 1e-9) / 20, [0, 0])
        counts[0] += number % 4 != 0
        counts[1] += 1
    assert {one["from"]: [one["duplicates"], one["of"]] for one in verdicts["ranges"]} == expected
    for one in verdicts["ranges"]:
        assert one["low"] <= one["precision"] <= one["high"]
    dropped = sum(one["dropped"] for one in verdicts["ranges"])
    assert dropped == 400 - found["kept"]
    weighted = sum(one["dropped"] * one["precision"] for one in verdicts["ranges"]) / dropped
    assert verdicts["precision"] == pytest.approx(weighted)
    assert "Dropped rows that people call duplicates" in (tmp_path / "again.html").read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pair,jaccard,verdict\n1,0.9,perhaps\n", "line 2: verdict is 'perhaps': write yes or no"),
        ("pair,jaccard,verdict\n1,nan,yes\n", "line 2: jaccard is 'nan'"),
        ("pair,jaccard,verdict\n1,,yes\n", "line 2: jaccard is ''"),
        ("pair,verdict\n1,yes\n", "has no column jaccard"),
        ("", "has no column jaccard and verdict"),
        ('pair,jaccard,verdict\n"1', "cannot be read as CSV"),
        (b"\xff\xfe", "cannot be read as CSV"),
    ],
)
def test_verdicts_that_are_none(text, complaint):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(SettingsError, match=re.escape(complaint)):
        verdicts_of(data, "pairs.csv", [])


def test_ranges_without_verdicts_leave_the_whole_open(here, tmp_path):
    similarities = [{"from": 0.8, "dropped": 10}, {"from": 0.91, "dropped": 5}]
    some = b"jaccard,verdict\n0.80,yes\n0.84,no\n0.92,\n"
    found = verdicts_of(some, "pairs.csv", similarities)
    assert [one["of"] for one in found["ranges"]] == [2, 0]
    assert found["precision"] is None
    with pytest.raises(SettingsError, match=r"nosuch\.csv cannot be read: No such file"):
        dedupe.report(here / "out", tmp_path / "r.html", verdicts=tmp_path / "nosuch.csv")


def test_a_run_is_drawn(here, tmp_path):
    pytest.importorskip("matplotlib")
    for number, more in enumerate(((), ("--by", "lang"), ("--by", "other"))):
        path = tmp_path / f"{number}.png"
        done = command("show", str(here / "out"), "--png", str(path), *more)
        assert done.returncode == 0, done.stderr
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        assert int.from_bytes(data[16:20], "big") == 13 * 150
    wrong = command("show", str(here / "out"), "--png", str(tmp_path / "no" / "a.png"))
    assert wrong.returncode == 2
    assert "a.png cannot be written: No such file or directory" in wrong.stderr
