"""Problems of rows: what each rule finds, all rows of a run on any cut, and apply without them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from naive_problems import problems_of as problems_of_text

import dedupe
from dedupe import SettingsError, Tuning
from dedupe.commands.problems import run as problems_run
from dedupe.commands.problems.table import NAME, Problems
from dedupe.commands.problems.twins import rows_with_others
from dedupe.errors import CorpusError, DamageError
from dedupe.kernels import problems as kernel
from dedupe.stages.problems import MANY_PROMPTS, NAMES, PROBLEMS, look_at, names_of

LONG = " ".join(f"{n}word" for n in range(60))


@pytest.mark.parametrize(
    ("row", "problems"),
    [
        ({"text": "A plain text that says something."}, set()),
        ({"text": " \n"}, {"empty"}),
        ({"text": None}, {"empty"}),
        ({"text": "word"}, {"one-word"}),
        ({"text": "a lost character \ufffd is here"}, {"malformed"}),
        ({"text": "itâ€™s cafÃ© time"}, {"mojibake"}),
        ({"text": "NÃO, São Paulo, Â is a letter"}, set()),
        ({"text": "a bell \x07 rings"}, {"control-characters"}),
        ({"text": "tabs\tand\nlines\r\nare fine"}, set()),
        ({"text": "<div><p>so it</p></div><br/>&nbsp;"}, {"markup"}),
        ({"text": "a < b and c > d, so x &amp y"}, set()),
        ({"text": "one\ntwo\n" * 3}, {"repeated-lines"}),
        ({"text": "one\ntwo\nthree\nfour\nfive"}, set()),
        ({"text": "buy now " * 30}, {"repeated-words"}),
        ({"prompt": "Do it.", "answer": "As an AI language model, I do not."}, {"refusal"}),
        ({"prompt": "Do it.", "answer": "I’m sorry, but I will not."}, {"refusal"}),
        ({"prompt": "Do it.", "answer": "I can't help with that."}, {"refusal"}),
        ({"prompt": "Do it.", "answer": "She was sorry, and I cannot say why."}, set()),
        ({"prompt": "Where?", "answer": "Not found."}, {"negative-answer"}),
        ({"prompt": "Where?", "answer": " N/A\n"}, {"negative-answer"}),
        ({"prompt": "Where?", "answer": "It was not found there."}, set()),
        ({"prompt": "Where is it?", "answer": ""}, {"empty-field"}),
        ({"system": None, "prompt": "Where is it?", "answer": "Over there."}, set()),
        ({"prompt": "Tell.", "answer": " ".join(f"word{n}" for n in range(60))}, set()),
        ({"prompt": "Tell.", "answer": LONG}, {"cut-off"}),
        ({"prompt": "Tell.", "answer": f"{LONG}."}, set()),
        ({"prompt": "Tell.", "answer": f"{LONG}。 \n"}, set()),
        ({"prompt": "a b", "chosen": "It is.", "rejected": "It is."}, {"same-answers"}),
        ({"prompt": "a b", "chosen": "It is.", "rejected": "It is not."}, set()),
    ],
)
def test_rules(row, problems):
    fields = {name: pa.array([text], pa.large_string()) for name, text in row.items()}
    assert set(names_of(int(look_at(fields, None).problems[0]))) == problems
    assert problems <= PROBLEMS.keys()


@pytest.mark.parametrize(
    ("letters", "problems", "turns", "speakers"),
    [
        ("p\na", set(), "2", "prompt, answer"),
        ("s\np\na\np\na", set(), "3 to 4", "system, prompt, answer"),
        ("p\nc\nt\na", set(), "3 to 4", "prompt, answer, call, tool"),
        ("p\nc\nt\nt\na", set(), "5 to 8", "prompt, answer, call, tool"),
        ("p", {"no-last-answer"}, "1", "prompt"),
        ("p\na\np", {"no-last-answer"}, "3 to 4", "prompt, answer"),
        ("p\nA", {"no-last-answer"}, "2", "prompt, answer"),
        ("a\np\na", {"turns"}, "3 to 4", "prompt, answer"),
        ("p\np\na", {"turns"}, "3 to 4", "prompt, answer"),
        ("p\na\na", {"turns"}, "3 to 4", "prompt, answer"),
        (None, set(), "none", None),
    ],
)
def test_rules_of_chats(letters, problems, turns, speakers):
    from dedupe.stages.problems import TURNS

    text = pa.array(["Something that is said here."], pa.large_string())
    seen = look_at({"prompt": text, "answer": text}, pa.array([letters], pa.large_string()))
    assert set(names_of(int(seen.problems[0]))) == problems
    assert TURNS[seen.turns[0]] == turns
    assert seen.speakers.to_pylist() == [speakers]


TEXTS = [
    None, "", " ", "yes", "Not found.", "A text that is fine.", "A second one, as good as that.",
    "cafÃ© time", "I cannot help with it.", "a\x00b c", LONG, "the same\n" * 5, "<b>bold</b> it",
]  # fmt: skip
said = st.sampled_from(TEXTS)
ROLES = {"s": "system", "p": "user", "a": "assistant", "c": "function_call", "t": "tool"}
message = st.tuples(st.sampled_from([*ROLES, "p", "a", "p", "a"]), said)
rows_of = {
    "text": st.lists(st.fixed_dictionaries({"text": said}), min_size=1, max_size=40),
    "pair": st.lists(
        st.fixed_dictionaries({"instruction": said, "output": said}), min_size=1, max_size=60
    ),
    "chat": st.lists(
        st.lists(message, max_size=5).map(
            lambda turns: {
                "messages": [{"role": ROLES[who], "content": text} for who, text in turns],
                "letters": [who if text else who.upper() for who, text in turns],
            }
        ),
        min_size=1,
        max_size=30,
    ),
}


def fields_of(row):
    """The fields of a row in plain words, and who speaks."""
    if "messages" not in row:
        prompt, answer = row.get("instruction"), row.get("output")
        return (
            {"text": row["text"]} if "text" in row else {"prompt": prompt, "answer": answer}
        ), None
    turns = defaultdict(list)
    names = {"system": "system", "assistant": "answer", "function_call": "answer"}
    for one in row["messages"]:
        if one["content"]:
            turns[names.get(one["role"], "prompt")].append(one["content"])
    before = {"system": "\n", "prompt": "\n\n", "answer": ""}  # where other columns could stand
    said = {name: "\n".join(turns[name]) for name in before}
    return {name: text and before[name] + text for name, text in said.items()}, row["letters"]


def wanted_of(rows):
    """The problems of all rows by plain rules: a set of names each."""
    found, twins = [], defaultdict(lambda: defaultdict(list))
    for number, row in enumerate(rows):
        fields, letters = fields_of(row)
        names, words = set(), 0
        blank = {}
        for name, text in fields.items():
            flags, count = problems_of_text((text or "").encode())
            words += count
            blank[name] = bool(flags & kernel.BLANK)
            of = {
                "malformed": kernel.MALFORMED, "mojibake": kernel.MOJIBAKE,
                "control-characters": kernel.CONTROL, "markup": kernel.MARKUP,
                "repeated-lines": kernel.REPEATED_LINES, "repeated-words": kernel.REPEATED_WORDS,
            }  # fmt: skip
            names |= {problem for problem, flag in of.items() if flags & flag}
            if "I cannot help" in (text or ""):
                names.add("refusal")
            if name == "answer":
                if (text or "").strip().lower() in ("not found.", "not found"):
                    names.add("negative-answer")
                if flags & kernel.UNENDED:
                    names.add("cut-off")
        if all(blank.values()):
            names.add("empty")
        elif any(is_blank for name, is_blank in blank.items() if name != "system"):
            names.add("empty-field")
        if words == 1:
            names.add("one-word")
        if letters is not None:
            lower = "".join(letters).lower()
            if lower.lstrip("s")[:1] in ("a", "c") or "pp" in lower or "aa" in lower:
                names.add("turns")
            if letters and letters[-1] not in ("a", "c"):
                names.add("no-last-answer")
        prompt, answer = fields.get("prompt"), fields.get("answer")
        if (prompt or "").strip() and (answer or "").strip():
            prompt = (fields.get("system") or "", prompt)
            twins["several-answers", prompt][answer].append(number)
            twins["many-prompts", answer][prompt].append(number)
        found.append(names)
    for (problem, _), others in twins.items():
        if len(others) >= {"several-answers": 2, "many-prompts": MANY_PROMPTS}[problem]:
            for number in (number for numbers in others.values() for number in numbers):
                found[number].add(problem)
    return found


def found_in(out):
    """The problems of each row of each shard, as problems.parquet has them."""
    found = defaultdict(set)
    for one in pq.read_table(out / NAME).to_pylist():
        found[one["shard"], one["row"]].add(one["problem"])
    return found


@pytest.mark.parametrize("kind", list(rows_of))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_all_rows_have_the_problems_of_the_plain_rules(tmp_path_factory, monkeypatch, kind, data):
    """On any cut into shards, formats, tasks, batches and partitions."""
    rows = data.draw(rows_of[kind])
    folder = tmp_path_factory.mktemp("problems")
    (folder / "corpus").mkdir()
    plain = [{name: row[name] for name in row if name != "letters"} for row in rows]
    at = data.draw(st.integers(0, len(rows)))
    for name, part in (("a", plain[:at]), ("b", plain[at:])):
        path = folder / "corpus" / name
        if data.draw(st.booleans()):
            path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
        elif part:
            table = pa.Table.from_pylist(part)
            if kind == "chat" and data.draw(st.booleans()):  # as `datasets` has mixed messages
                texts = pa.array([json.dumps(row["messages"]) for row in part])
                table = pa.table({"messages": pa.JsonArray.from_storage(pa.json_(), texts)})
            pq.write_table(table, path.with_suffix(".parquet"))
    if not any(plain) or all(row == {"messages": []} for row in plain):
        return
    tuning = Tuning(
        audit_text=data.draw(st.sampled_from([40, 10_000])),
        audit_rows=data.draw(st.sampled_from([3, 1000])),
        batch_bytes=data.draw(st.sampled_from([1, 200, 100_000])),
    )
    monkeypatch.setattr(problems_run, "PAIR_BYTES", data.draw(st.sampled_from([240, 10**8])))
    form = {"text": "text", "pair": "alpaca", "chat": "messages"}[kind]
    try:
        out = dedupe.deduplicate(folder / "corpus", folder / "out", format=form, near=False)
    except CorpusError:  # Arrow types of nothing but nulls, or of columns that are not there
        return
    counts = dedupe.find_problems(out, workers=2, tuning=tuning)
    wanted, found = wanted_of(rows), found_in(folder / "out")
    starts = {
        shard["path"]: 0 if shard["path"].split("/")[-1][0] == "a" else at for shard in out.shards
    }
    assert {(starts[path] + row): names for (path, row), names in found.items()} == {
        number: names for number, names in enumerate(wanted) if names
    }
    total = Counter(name for names in wanted for name in names)
    assert {name: one["rows"] for name, one in counts.items() if one["rows"]} == total
    keep = out.mask().tolist()
    kept = Counter(
        name for names, stays in zip(wanted, keep, strict=True) if stays for name in names
    )
    assert {name: one["kept"] for name, one in counts.items() if one["kept"]} == kept
    assert list(counts) == list(NAMES)
    before = (folder / "out" / NAME).read_bytes()
    out.find_problems()
    assert (folder / "out" / NAME).read_bytes() == before


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(1, 4))
def test_rows_with_others(pairs, least):
    keys, others = (
        np.array([[one[i], 7] for one in pairs], np.uint64).reshape(-1, 2) for i in (0, 1)
    )
    found = rows_with_others(keys, others, np.arange(len(pairs)) + 5, least)
    different = defaultdict(set)
    for key, other in pairs:
        different[key].add(other)
    wanted = [n + 5 for n, (key, _) in enumerate(pairs) if len(different[key]) >= least]
    assert sorted(found.tolist()) == wanted


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A run over rows with problems, of which some are copies."""
    folder = tmp_path_factory.mktemp("problems")
    rows = [
        {"instruction": f"Say {n} now.", "output": f"It is {n} and no more."} for n in range(40)
    ]
    rows += [{"instruction": "Where?", "output": "Not found."}] * 3
    rows += [
        {"instruction": "Where is it?", "output": ""},
        {"instruction": "x", "output": "itâ€™s"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    out = dedupe.deduplicate(folder / "rows.parquet", folder / "out")
    return folder, rows, out


def test_apply_leaves_rows_with_problems_out(here, tmp_path):
    folder, rows, out = here
    with pytest.raises(
        SettingsError, match=r"out has no problems.parquet: dedupe report .*out --pr"
    ):
        dedupe.apply(folder / "out", tmp_path / "clean", without_problems="mojibake")
    dedupe.find_problems(out)
    with pytest.raises(SettingsError, match="no problem 'nosuch': there are empty, empty-field"):
        dedupe.apply(folder / "out", tmp_path / "clean", without_problems=["mojibake", "nosuch"])
    with pytest.raises(SettingsError, match="force is for rows with problems"):
        dedupe.apply(folder / "out", tmp_path / "clean", force=True)
    names = "mojibake, empty-field,negative-answer"
    told = []
    kept = [row for row, stays in zip(rows, out.mask().tolist(), strict=True) if stays]
    for force in (False, True):
        clean, gone = tmp_path / f"clean{force}", tmp_path / f"gone{force}"
        made = dedupe.apply(
            out.path, clean, dropped=gone, without_problems=names, force=force, progress=Told(told)
        )
        wanted = [row for row in kept if row["output"] not in ("", "itâ€™s")]
        if force:
            wanted = [row for row in wanted if row["output"] != "Not found."]
        assert pq.read_table(clean / "rows.parquet").to_pylist() == wanted
        assert (made["kept"], made["dropped"]) == (len(wanted), len(rows) - len(wanted))
        dropped = pq.read_table(gone / "rows.parquet")
        reasons = Counter(dropped["dedupe_reason"].to_pylist())
        assert reasons == {"problem": 2 + force, "exact": 2}
    assert [line.partition(" row ")[0] for line in told] == [
        "1 kept rows with these problems, because of which 2 others were dropped, stay; --force "
        f"leaves them out, too: {folder}/rows.parquet",
        "1 kept rows with these problems, because of which 2 others were dropped, are left out all "
        f"the same: {folder}/rows.parquet",
    ]
    told_all = dedupe.apply(
        out.path, tmp_path / "all", add_columns=True, without_problems="mojibake"
    )
    columns = pq.read_table(tmp_path / "all" / "rows.parquet")
    assert (told_all["kept"], len(columns)) == (len(kept) - 1, len(rows))
    assert columns["dedupe_keep"].to_pylist()[-1] is False
    assert columns["dedupe_reason"].to_pylist()[-1] == "problem"
    cut = dedupe.apply(
        out.path, tmp_path / "cut", rows_per_file=7, without_problems="mojibake", repeat="1:2"
    )
    assert cut["kept"] == 2 * (len(kept) - 1)


class Told:
    """Progress that keeps what it is told."""

    def __init__(self, lines):
        self.lines = lines

    def note(self, text):
        self.lines.append(text)

    def __getattr__(self, name):
        return lambda *_: None


def test_a_file_that_is_not_that_of_the_run(here, tmp_path):
    _, rows, _ = here
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    out = dedupe.deduplicate(tmp_path / "rows.parquet", tmp_path / "out")
    dedupe.find_problems(out)
    assert Problems.are_there(out)
    other = dedupe.deduplicate(tmp_path / "rows.parquet", tmp_path / "other", keep="longest")
    (tmp_path / "other" / NAME).write_bytes((tmp_path / "out" / NAME).read_bytes())
    assert not Problems.are_there(other) or other.summary["corpus"] == out.summary["corpus"]
    data = bytearray((tmp_path / "out" / NAME).read_bytes())
    pq.write_table(pa.table({"shard": ["a"]}), tmp_path / "out" / NAME)
    with pytest.raises(SettingsError, match="is of another run or version"):
        Problems(out)
    data[30] ^= 1
    (tmp_path / "out" / NAME).write_bytes(data)
    with pytest.raises(DamageError, match=r"problems\.parquet"):
        list(Problems(out).tables())
    (tmp_path / "out" / NAME).write_bytes(b"no parquet")
    with pytest.raises(DamageError, match=r"problems\.parquet"):
        Problems(out)


def test_the_commands(tmp_path):
    rows = "".join(json.dumps({"text": text}) + "\n" for text in ["yes", "A text.", "cafÃ© one"])
    (tmp_path / "rows.jsonl").write_text(rows)

    def command(*words):
        return subprocess.run(
            [sys.executable, "-m", "dedupe", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = command("run", "rows.jsonl", "--output", "out", "--problems", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [
        (one["row"], one["problem"]) for one in pq.read_table(tmp_path / "out" / NAME).to_pylist()
    ] == [
        (0, "one-word"),
        (2, "mojibake"),
    ]
    again = command("run", "rows.jsonl", "--output", "out", "--problems", "--quiet")
    assert again.returncode == 0, again.stderr
    found = command("report", "out", "--json", "--quiet")
    counts = json.loads(found.stdout)["problems"]
    assert counts["looked_at"] == counts["of"] == 3
    assert {one["problem"]: one["rows"] for one in counts["found"] if one["rows"]} == {
        "one-word": 1,
        "mojibake": 1,
    }
    assert [one["text"] for one in counts["found"][2 + 2]["examples"]] == ["cafÃ© one"]
    (tmp_path / "out" / NAME).unlink()
    made = command("report", "out", "--problems", "--quiet")
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "out" / NAME).exists()
    gone = command("apply", "out", "-o", "clean", "--without-problems", "mojibake", "-q")
    assert gone.returncode == 0, gone.stderr
    assert len((tmp_path / "clean" / "rows.jsonl").read_text().splitlines()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clean", "out", "report.html", "report.json", "report.pairs.csv", "rows.jsonl",
    ]  # fmt: skip
