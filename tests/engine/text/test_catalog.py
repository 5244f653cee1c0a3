"""The catalog: names and paths, adding, removing, fetching from a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.folders import cache_dir, config_dir, default_corpora_dir, state_dir
from engine.preset_files import own_folder
from engine.text import catalog, fetch
from engine.text.card import CARD, read_card, write_card
from engine.text.catalog import add_corpus, fetch_corpus, find_corpus, list_corpora, remove_corpus, slug
from engine.text.corpus import Corpus
from engine.text.template import Template

BOOK = """\ufeffThe Project Gutenberg eBook of A Small Book

Title: A Small Book
Author: Nobody

*** START OF THE PROJECT GUTENBERG EBOOK A SMALL BOOK ***


Chapter 1

It began.

And *** so on.

*** END OF THE PROJECT GUTENBERG EBOOK A SMALL BOOK ***
Updated editions will replace the previous one.
"""


class Server(http.server.BaseHTTPRequestHandler):
    """Answers by path; what a test needs to go wrong goes wrong here."""

    pages: dict[str, bytes]

    def do_GET(self) -> None:
        body = self.pages.get(self.path.partition("?")[0])
        if body is None:
            self.send_error(404, "Not Found")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=latin-1" if "latin" in self.path else "text/plain")
        self.send_header("Content-Length", str(len(body) + (100 if "short" in self.path else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of `Server.pages`; Gutenberg's books come from there too."""
    monkeypatch.setenv("no_proxy", "*")
    Server.pages = {
        "/book.txt": b"Some text.\n",
        "/latin.txt": "caf\u00e9\n".encode("latin-1"),
        "/short.txt": b"half of it",
        "/binary": b"\x7fELF\0\0",
        "/empty.txt": b"",
        "/cache/epub/84/pg84.txt": BOOK.encode().replace(b"\n", b"\r\n"),
    }
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(fetch, "GUTENBERG_URL", address + "/cache/epub/{id}/pg{id}.txt")
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    return tmp_path / "corpora"


def shipped_with(folder: Path, site: str, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `plays`, whose file is at `site`/plays.txt, the only corpus that tinytui knows."""
    (folder / "plays").mkdir(parents=True)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "plays" / CARD).write_text(
        f'title = "P"\nfile = "plays.txt"\nurl = "{site}/plays.txt"\nsha256 = "{digest}"\n'
    )
    monkeypatch.setattr(catalog, "shipped_dir", lambda: folder)


def text_in(corpus: Corpus, tmp_path: Path) -> str:
    return corpus.prepare(tmp_path / "cache").path.read_text(encoding="utf-8")


def write(path: Path, data: str) -> Path:
    path.write_text(data, encoding="utf-8")
    return path


def nothing_left(corpora: Path) -> bool:
    return not corpora.exists() or not list(corpora.iterdir())


# --- finding


def test_shipped_and_known_corpora_are_listed(corpora: Path) -> None:
    names = {corpus.name: corpus for corpus in list_corpora(corpora)}
    assert {"soap-notes", "dialogues", "python-stdlib", "tinyshakespeare"} <= set(names)
    assert all(corpus.problem is None and corpus.title and corpus.license for corpus in names.values())
    assert names["soap-notes"].available and names["python-stdlib"].available
    assert not names["tinyshakespeare"].available


def test_a_name_that_is_nearly_right_is_suggested(corpora: Path) -> None:
    with pytest.raises(CorpusError, match="did you mean soap-notes"):
        find_corpus("soap-note", corpora)
    with pytest.raises(CorpusError, match="there are dialogues"):
        find_corpus("zzz", corpora)
    with pytest.raises(CorpusError, match="corpora list"):
        find_corpus(" ", corpora)


def test_a_known_corpus_that_is_not_here_says_how_to_get_it(corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpora fetch tinyshakespeare.*corpora add FILE --name tinyshakespeare"):
        find_corpus("tinyshakespeare", corpora).prepare(tmp_path / "cache")
    with pytest.raises(CorpusError, match="corpora fetch gutenberg:84"):
        find_corpus("gutenberg:84", corpora)
    with pytest.raises(CorpusError, match="fetch it first"):
        find_corpus("https://example.org/a.txt", corpora)


def test_places_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TINYTUI_CORPORA", "TINYTUI_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_corpora_dir() == tmp_path / ".local/share/tinytui/corpora"
    assert cache_dir() == tmp_path / ".cache/tinytui"
    assert (config_dir(), state_dir()) == (tmp_path / ".config/tinytui", tmp_path / ".local/state/tinytui")
    assert own_folder() == config_dir() / "presets"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert default_corpora_dir() == tmp_path / "data/tinytui/corpora"
    assert cache_dir() == tmp_path / ".cache/tinytui"
    monkeypatch.setenv("TINYTUI_CORPORA", "~/mine")
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "c"))
    assert (default_corpora_dir(), cache_dir()) == (tmp_path / "mine", tmp_path / "c")


# --- cards

text = st.text(st.characters(codec="utf-8"), max_size=30)


@given(text, st.lists(text, max_size=3), text, text, text.filter(bool))
def test_a_card_is_read_back_as_it_was_written(
    tmp_path: Path, title: str, examples: list[str], prefix: str, infix: str, boundary: str
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(exist_ok=True)
    corpus = Corpus(
        "mine",
        title=title,
        format="csv",
        path=folder / "a.csv",
        columns=("p", "r"),
        examples=tuple(examples),
        template=Template(prefix, infix, "\n", ("<END>",)),
        boundary=boundary,
        sha256="0" * 64,
        url="https://example.org",
    )
    write_card(folder, corpus)
    assert read_card(folder, shipped=False) == corpus


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ("title = ", "not valid TOML"),
        ("title = " + "[" * 50_000, "not valid TOML: it is nested too deeply"),
        (".".join(["a"] * 50_000) + " = 1", "not valid TOML: it has a key of more than 16 parts"),
        ("title = 3\nfile = 'a'", "title must be text"),
        ("file = 'a'\ncolour = 'red'", "no such entry 'colour'"),
        ("file = 'a'\nformat = 'xml'", "format must be one of text, csv, jsonl, parquet, not 'xml'"),
        ("file = '../../etc/passwd'", "beside the card"),
        ("title = 'x'", "file must name"),
        ("file = 'a.csv'\nformat = 'csv'", "columns must name"),
        ("builder = 'magic'", "no builder 'magic'"),
        ("file = 'a'\ntemplate = 'x'", "template must be a table"),
        ("file = 'a'\n[template]\nrecord = 'x'", "a template needs"),
        ("file = 'a'\nexamples = 'x'", "examples must be a list"),
    ],
)
def test_a_damaged_card_is_listed_with_its_problem(corpora: Path, card: str, says: str) -> None:
    (corpora / "mine").mkdir(parents=True)
    write(corpora / "mine" / CARD, card)
    listed = next(corpus for corpus in list_corpora(corpora) if corpus.name == "mine")
    assert listed.problem is not None and not listed.available
    with pytest.raises(CorpusError, match=says):
        find_corpus("mine", corpora).prepare(corpora / "cache")


# --- adding and removing


def test_an_added_text_is_copied_found_and_removed(corpora: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "My Text.txt", "hello\n")
    added = add_corpus(path, None, corpora)
    assert added.name == "My-Text" and not added.shipped
    path.unlink()
    assert text_in(find_corpus("My-Text", corpora), tmp_path) == "hello\n"
    assert "My-Text" in [corpus.name for corpus in list_corpora(corpora)]
    remove_corpus("My-Text", corpora)
    assert nothing_left(corpora)


def test_an_added_table_keeps_its_columns(corpora: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "faq.csv", "id,ask,tell\n1,Hi,Hello\n")
    with pytest.raises(CorpusError, match="has columns id, ask, tell"):
        add_corpus(path, "faq", corpora)
    corpus = add_corpus(path, "faq", corpora, prompt_column="ask", response_column="tell")
    assert corpus.columns == ("ask", "tell")
    assert text_in(corpus, tmp_path) == "You: Hi\nBot: Hello<END>\n"
    alone = add_corpus(path, "asked", corpora, prompt_column="ask")
    assert text_in(alone, tmp_path) == "Hi\n\n" and alone.template is None


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"prompt_column": "no", "response_column": "tell"}, "no column 'no'"),
        ({"response_column": "tell"}, "needs --prompt-column"),
        ({"prompt_column": "ask", "response_column": "ask"}, "both column 'ask'"),
    ],
)
def test_columns_that_cannot_be_are_refused(corpora: Path, tmp_path: Path, columns: dict[str, str], says: str) -> None:
    path = write(tmp_path / "faq.csv", "id,ask,tell\n1,Hi,Hello\n")
    with pytest.raises(CorpusError, match=says):
        add_corpus(path, "faq", corpora, **columns)
    assert nothing_left(corpora)


def test_columns_of_a_text_are_refused(corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no columns"):
        add_corpus(write(tmp_path / "a.txt", "x"), "a", corpora, prompt_column="p")


def test_adding_never_overwrites(corpora: Path, tmp_path: Path) -> None:
    add_corpus(write(tmp_path / "a.txt", "first"), "mine", corpora)
    with pytest.raises(CorpusError, match="there is a corpus mine already"):
        add_corpus(write(tmp_path / "b.txt", "second"), "mine", corpora)
    with pytest.raises(CorpusError, match="shipped"):
        add_corpus(tmp_path / "b.txt", "soap-notes", corpora)
    assert text_in(find_corpus("mine", corpora), tmp_path) == "first"
    assert [path.name for path in corpora.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "-x", "a\nb", "x" * 65, "gutenberg:84x", "a b"])
def test_names_that_cannot_be_folders_are_refused(corpora: Path, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.txt", "x")
    if name:
        with pytest.raises(CorpusError, match="cannot name a corpus"):
            add_corpus(path, name, corpora)
    with pytest.raises(CorpusError, match="cannot name a corpus"):
        remove_corpus(name, corpora)
    assert nothing_left(corpora)


@given(st.text(max_size=80))
def test_every_file_name_makes_a_good_name(stem: str) -> None:
    assert catalog.check_name(slug(stem)) == slug(stem)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"a\0b", "NUL"),
        ("a.csv", b"prompt,response\n", "no records"),
        ("a.csv", b"prompt,response\n\xff,a\n", "offset 16"),
    ],
)
def test_what_is_not_sound_is_not_added(corpora: Path, tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError, match=says):
        add_corpus(tmp_path / name, "mine", corpora)
    assert nothing_left(corpora)


def test_a_full_disk_leaves_nothing(corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(catalog.shutil, "copyfile", full)
    with pytest.raises(CorpusError, match="no space left on device"):
        add_corpus(write(tmp_path / "a.txt", "x"), "mine", corpora)
    assert nothing_left(corpora)


def test_a_file_named_like_the_card_can_be_added(corpora: Path, tmp_path: Path) -> None:
    corpus = add_corpus(write(tmp_path / "corpus.toml", "just text\n"), "odd", corpora)
    assert text_in(corpus, tmp_path) == "just text\n"


def test_an_edited_copy_is_noticed(corpora: Path, tmp_path: Path) -> None:
    corpus = add_corpus(write(tmp_path / "a.txt", "first"), "mine", corpora)
    write(corpus.path, "other text")
    with pytest.raises(CorpusError, match="corpora rm mine"):
        corpus.prepare(tmp_path / "cache")


def test_shipped_unknown_and_outside_corpora_are_not_removed(corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="shipped"):
        remove_corpus("soap-notes", corpora)
    with pytest.raises(CorpusError, match="no corpus 'mine'"):
        remove_corpus("mine", corpora)
    add_corpus(write(tmp_path / "a.txt", "x"), "other", tmp_path / "elsewhere")
    corpora.mkdir()
    (corpora / "link").symlink_to(tmp_path / "elsewhere" / "other")
    with pytest.raises(CorpusError, match="is a link"):
        remove_corpus("link", corpora)
    (corpora / "plain").mkdir()
    with pytest.raises(CorpusError, match="no corpus 'plain'"):
        remove_corpus("plain", corpora)
    assert (tmp_path / "elsewhere" / "other" / "a.txt").is_file() and (corpora / "plain").is_dir()


# --- fetching


def test_any_address_is_fetched_as_text(site: str, corpora: Path, tmp_path: Path) -> None:
    told: list[float] = []
    corpus = fetch_corpus(f"{site}/book.txt", corpora, lambda _, done: told.append(done))
    assert (corpus.name, corpus.url) == ("book", f"{site}/book.txt")
    assert text_in(corpus, tmp_path) == "Some text.\n"
    assert told[-1] == 1.0
    named = fetch_corpus(f"{site}/book.txt?x=1", corpora, name="mine")
    assert named.name == "mine"
    with pytest.raises(CorpusError, match="already"):
        fetch_corpus(f"{site}/book.txt", corpora)


def test_the_servers_encoding_is_respected(site: str, corpora: Path, tmp_path: Path) -> None:
    assert text_in(fetch_corpus(f"{site}/latin.txt", corpora), tmp_path) == "caf\u00e9\n"


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("/gone.txt", "404 Not Found"),
        ("/short.txt", "ended after 10 of 110 bytes"),
        ("/binary", "is a program"),
        ("/empty.txt", "is empty"),
    ],
)
def test_a_failed_fetch_is_one_line_and_leaves_nothing(site: str, corpora: Path, page: str, says: str) -> None:
    with pytest.raises(CorpusError, match=says) as caught:
        fetch_corpus(site + page, corpora)
    assert "\n" not in str(caught.value) and ".partial" not in str(caught.value) and ".tmp" not in str(caught.value)
    assert nothing_left(corpora)


def test_a_book_comes_without_its_licence_and_with_its_title(site: str, corpora: Path, tmp_path: Path) -> None:
    corpus = fetch_corpus("gutenberg:84", corpora)
    assert corpus.title == "A Small Book"
    assert text_in(corpus, tmp_path) == "Chapter 1\n\nIt began.\n\nAnd *** so on.\n"
    assert find_corpus("gutenberg:84", corpora) == corpus
    assert fetch_corpus("gutenberg:84", corpora) == corpus, "a second fetch changes nothing"
    remove_corpus("gutenberg:84", corpora)
    assert nothing_left(corpora)


def test_a_book_without_marks_is_kept_whole(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", "Line one\n\nLine two\n")
    assert fetch.cut_gutenberg(source, tmp_path / "b.txt") == ""
    assert (tmp_path / "b.txt").read_text() == "Line one\n\nLine two\n"


def test_a_known_corpus_is_fetched_and_verified(
    site: str, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped_with(tmp_path / "shipped", site, b"the plays\n", monkeypatch)
    Server.pages["/plays.txt"] = b"other plays\n"
    with pytest.raises(CorpusError, match=r"is not plays.*corpora add FILE --name plays"):
        fetch_corpus("plays", corpora)
    assert nothing_left(corpora)
    Server.pages["/plays.txt"] = b"the plays\n"
    corpus = fetch_corpus("plays", corpora)
    assert text_in(corpus, tmp_path) == "the plays\n"
    assert find_corpus("plays", corpora).available and not corpus.shipped
    assert fetch_corpus("plays", corpora) == corpus
    assert [c.name for c in list_corpora(corpora)] == ["plays"], "listed once"
    remove_corpus("plays", corpora)
    assert not find_corpus("plays", corpora).available


def test_offline_a_known_corpus_can_be_added_from_a_copy(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    shipped_with(tmp_path / "shipped", "http://127.0.0.1:9", b"the plays\n", monkeypatch)  # nobody listens on port 9
    with pytest.raises(CorpusError, match=r"online\?.*corpora add FILE --name plays"):
        fetch_corpus("plays", corpora)
    with pytest.raises(CorpusError, match=r"is not plays: its SHA-256 is .*another --name"):
        add_corpus(write(tmp_path / "a.txt", "other plays\n"), "plays", corpora)
    assert nothing_left(corpora)
    corpus = add_corpus(write(tmp_path / "b.txt", "the plays\n"), "plays", corpora)
    assert corpus.title == "P" and text_in(corpus, tmp_path) == "the plays\n"


@pytest.mark.parametrize("name", ["nothing", "gutenberg:0", "gutenberg:x", "ftp://a/b", "file:///etc/passwd"])
def test_what_cannot_be_fetched_says_what_can(corpora: Path, name: str) -> None:
    with pytest.raises(CorpusError, match="tinyshakespeare, gutenberg:ID or an http"):
        fetch_corpus(name, corpora)
    assert nothing_left(corpora)


def test_what_a_killed_add_left_is_not_listed_and_swept_later(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = corpora / ".mine.abc.partial"
    left.mkdir(parents=True)
    write(left / CARD, 'file = "a"')
    assert all("mine" not in corpus.name for corpus in list_corpora(corpora))
    path = write(tmp_path / "a.txt", "x")
    add_corpus(path, "one", corpora)
    assert left.is_dir(), "it may be another process at work"
    os.utime(left, (0, 0))
    add_corpus(path, "two", corpora)
    assert not left.exists()


def test_a_shipped_card_is_not_shadowed_by_a_users_folder(corpora: Path) -> None:
    (corpora / "dialogues").mkdir(parents=True)
    write(corpora / "dialogues" / CARD, 'file = "a.txt"')
    assert find_corpus("dialogues", corpora) == replace(find_corpus("dialogues", corpora.parent / "none"))
    assert find_corpus("dialogues", corpora).shipped


def test_what_is_a_path_without_saying_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes").write_text("a text of some words\n" * 30)
    monkeypatch.chdir(tmp_path)
    assert find_corpus("notes").path == Path("notes")
    assert find_corpus(".").path == Path()


@pytest.mark.parametrize(("name", "kept"), [("a.csv", "a.csv"), ("a.jsonl", "a.jsonl"), ("a.md", "a.txt")])
def test_a_copied_table_keeps_its_kind_and_a_text_is_one(tmp_path: Path, name: str, kept: str) -> None:
    (tmp_path / name).write_text('{"text": "b c d"}\n' * 30 if name == "a.jsonl" else "text,more\n" + "a,b\n" * 30)
    assert add_corpus(tmp_path / name, "own", tmp_path / "corpora").path.name == kept
