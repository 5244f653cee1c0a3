"""The corpora there are: shipped with tinytui, the user's own, known ones to fetch, and any file or folder by its path.

The user's corpora are folders in `corpora_dir` (default `default_corpora_dir()`), each with a file and its corpus.toml.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from engine.errors import CorpusError
from engine.files import FORGOTTEN, NAME, doing, named_well, open_folder, remove_folder, sweep
from engine.folders import cache_dir, default_corpora_dir, shipped_dir
from engine.text.card import CARD, read_card, write_card
from engine.text.corpus import Corpus, Text
from engine.text.prepared import Prepared, is_prepared, read_prepared
from engine.text.scan import Progress
from engine.text.source import Source, known_suffix, stem
from engine.text.tables import Columns, choose_columns

CAME = "came"  # the folder of what is fetched, until it is a corpus
GUTENBERG = re.compile(r"gutenberg:([1-9][0-9]{0,6})")


def check_name(name: str) -> str:
    """`name` itself when it can name a corpus and its folder; otherwise CorpusError."""
    return named_well(name, "corpus", CorpusError)


def _folder_name(name: str) -> str:
    """The folder of a corpus: `gutenberg:84` lives in gutenberg-84."""
    return name.replace(":", "-", 1) if GUTENBERG.fullmatch(name) else name


def list_corpora(corpora_dir: Path | None = None) -> list[Corpus]:
    """Every corpus with a name: the shipped and known ones, then the user's, each by name.

    A known corpus that has been fetched or added stands in its known place. Damaged cards are listed, with `problem`.
    """
    shipped = {corpus.name: corpus for corpus in _cards(shipped_dir(), shipped=True)}
    own = {corpus.name: corpus for corpus in _cards(corpora_dir or default_corpora_dir(), shipped=False)}
    first = [own.pop(name, corpus) if _only_known(corpus) else corpus for name, corpus in shipped.items()]
    return first + [corpus for name, corpus in own.items() if name not in shipped]


def _cards(folder: Path, shipped: bool) -> Iterator[Corpus]:
    if not folder.is_dir():
        return
    for inner in sorted(folder.iterdir()):
        if (inner / CARD).is_file() and NAME.fullmatch(inner.name):
            yield read_card(inner, shipped)


def _only_known(corpus: Corpus) -> bool:
    """Whether tinytui brings the card of this corpus but not its file."""
    return corpus.url is not None and not corpus.path.is_file()


def find_corpus(name_or_path: str, corpora_dir: Path | None = None) -> Corpus:
    """The corpus of that name, or the file or folder at that path: text, tables, conversations, archives of them.

    Raises CorpusError that names near matches when there is neither, or says what is wrong with the file.
    """
    if not name_or_path.strip():
        raise CorpusError("no corpus named; see tinytui corpora list")
    corpora = {corpus.name: corpus for corpus in list_corpora(corpora_dir)}
    if found := corpora.get(_folder_name(name_or_path)):
        return found
    if GUTENBERG.fullmatch(name_or_path):
        raise CorpusError(f"{name_or_path} is not on this machine yet: tinytui corpora fetch {name_or_path}")
    if name_or_path.startswith(("http://", "https://")):
        raise CorpusError(f"fetch it first, then train on it by its name: tinytui corpora fetch {name_or_path}")
    path = Path(name_or_path).expanduser()
    # a folder is named with a slash, so that a corpus' name never means whatever folder happens to be here
    looks_like_path = known_suffix(path) or "/" in name_or_path or name_or_path in (".", "..")
    if not (looks_like_path or path.is_file() or is_prepared(path)):
        if path.is_dir():
            raise CorpusError(f"no corpus {name_or_path!r}; the folder of that name is {name_or_path}/, with a slash")
        near = get_close_matches(name_or_path, corpora, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(corpora)}, or give a path"
        raise CorpusError(f"no corpus {name_or_path!r}; {hint}")
    return corpus_at(path)


def corpus_at(path: Path, prompt_column: str | None = None, response_column: str | None = None) -> Corpus:
    """The corpus of what lies at `path`, without a card; of a table the columns named, else guessed. CorpusError."""
    if is_prepared(path):
        return corpus_of(read_prepared(path))
    columns: Columns = ()
    chat = False
    with Source(path) as source:
        format = source.format
        if format != "text":
            columns, chat = choose_columns(source, prompt_column, response_column)
        elif prompt_column or response_column:
            raise CorpusError(
                f"{path} is no table (CSV, JSONL, Parquet), so it has no columns; leave out --prompt-column"
            )
    title = path.name or str(path)
    return Corpus(slug(stem(path)), title=title, source=str(path), format=format, path=path, columns=columns, chat=chat)


def corpus_of(tokens: Prepared) -> Corpus:
    """Tokens that were made ahead, as a corpus: it has no text to look at, and can be trained on."""
    kind, shards = tokens.tokenizer["kind"], len(tokens.train.shards)
    said = f"tokens made ahead of {tokens.name} ({kind}, {shards:,} shards to train on)"
    source = str(tokens.asked.get("source", ""))
    name = slug(stem(tokens.path))
    return Corpus(name, said, source=source, path=tokens.path, template=tokens.template, prepared=tokens)


def slug(text: str) -> str:
    """`text` as a name for a corpus or a run: letters, digits, dot, dash and underscore only; never empty."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")
    return kept[:64].rstrip("-._") or "corpus"


def add_corpus(
    file: Path,
    name: str | None = None,
    corpora_dir: Path | None = None,
    *,
    prompt_column: str | None = None,
    response_column: str | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Copies `file` and a card into the user's corpora, whole or not at all; `name` defaults to the file's.

    A text, CSV or JSONL file is kept as it is; of everything else (folders, archives, Parquet, conversations) the text
    is kept that it becomes. A known corpus' name (tinyshakespeare) takes its card, and its file must have the known
    hash. Raises CorpusError for a file that is not sound, a name that is taken or cannot be one.
    """
    file = Path(file).expanduser()
    corpus = corpus_at(file, prompt_column, response_column)
    folder = check_name(_folder_name(name) if name else corpus.name)
    known = next((card for card in _cards(shipped_dir(), shipped=True) if card.name == folder), None)
    if known is not None and not _only_known(known):
        raise CorpusError(f"{folder} is shipped with tinytui; choose another --name")
    with new_folder(folder, corpora_dir) as staging:
        text = corpus.prepare(cache_dir(), progress)  # says what is wrong with any of it
        card = _card_to_add(corpus, folder, text, staging)
        if known is not None:
            card = _as_known(known, card, "add it under another --name")
        write_card(staging, card)
    return find_corpus(folder, corpora_dir)


def _card_to_add(corpus: Corpus, folder: str, text: Text, staging: Path) -> Corpus:
    """The card of `corpus`, whose file is copied into `staging`, or the text it becomes where that is what is kept."""
    with Source(corpus.path) as source:
        as_it_is = source.plain and not corpus.chat and corpus.format in ("text", "csv", "jsonl")
        expected = source.digest() if as_it_is else text.sha256
    # never named like the card
    suffix = corpus.path.suffix.lower() if as_it_is and corpus.format != "text" else ".txt"
    target = staging / f"{slug(stem(corpus.path))}{suffix}"
    with doing("copy", corpus.path, CorpusError):
        shutil.copyfile(corpus.path if as_it_is else text.path, target)
    with Source(target, corpus.format if as_it_is else "text") as copy:
        if copy.digest() != expected:
            raise CorpusError(f"{corpus.path} changed while it was copied; add it again")
    card = replace(corpus, name=folder, source=f"added from {corpus.title}", path=target, sha256=expected)
    if as_it_is:
        return card
    about = f"left out of it: {text.left_out}" if text.left_out else ""
    return replace(card, about=about, format="text", columns=(), chat=False, boundary=text.boundary)


def _as_known(known: Corpus, card: Corpus, otherwise: str) -> Corpus:
    """The known corpus with the file that came. Raises CorpusError that ends in advice where it is another one."""
    if known.sha256 not in (None, card.sha256):
        raise CorpusError(
            f"{card.title} is not {known.name}: its SHA-256 is {str(card.sha256)[:12]}..., "
            f"not {str(known.sha256)[:12]}... ({card.path.stat().st_size:,} bytes); {otherwise}"
        )
    target = card.path.with_name(known.path.name)
    card.path.rename(target)
    return replace(known, path=target, shipped=False)


@contextlib.contextmanager
def new_folder(name: str, corpora_dir: Path | None) -> Iterator[Path]:
    """A folder to fill that becomes the corpus `name` when the block ends without an error, and is gone otherwise."""
    root = corpora_dir or default_corpora_dir()
    target = root / check_name(name)
    taken = CorpusError(f"there is a corpus {name} already; choose another --name, or tinytui corpora rm {name}")
    if target.exists() or target.is_symlink():
        raise taken
    if root.exists() and not root.is_dir():
        raise CorpusError(f"{root} is a file, and corpora lie in a folder; name another one with --corpora")
    with doing("write to", root, CorpusError):
        try:
            root.mkdir(parents=True, exist_ok=True)
            sweep(root, older_than=FORGOTTEN)
            with open_folder(target) as staging:
                yield staging
        except FileExistsError:
            raise taken from None


def fetch_corpus(
    name_or_url: str, corpora_dir: Path | None = None, progress: Progress | None = None, name: str | None = None
) -> Corpus:
    """Downloads a known corpus, `gutenberg:ID`, or any http(s) address as text into the user's corpora.

    A corpus that is there already is returned as it is. Raises CorpusError when it cannot be had, is not text, or has
    another hash than the known one; nothing is left behind then.
    """
    from engine.text.fetch import fetch_into

    known: Corpus | None = None
    if name_or_url.startswith(("http://", "https://")):
        folder = slug(stem(Path(name_or_url.split("?")[0].rstrip("/"))))
    else:
        folder = _folder_name(name_or_url)
        corpora = {corpus.name: corpus for corpus in list_corpora(corpora_dir)}
        known = corpora.get(folder)
        if known is not None and (known.available or known.url is None):
            return known
        if known is None and GUTENBERG.fullmatch(name_or_url) is None:
            choice = ", ".join([*(corpus.name for corpus in corpora.values() if corpus.url), "gutenberg:ID"])
            raise CorpusError(f"{name_or_url!r} cannot be fetched; give {choice} or an http(s) address")
    folder = check_name(name) if name else folder
    with new_folder(folder, corpora_dir) as staging:
        (staging / CAME).mkdir()
        whence = fetch_into(staging / CAME, name_or_url, known, progress)
        try:
            corpus = corpus_at(whence.path)
            card = _card_to_add(corpus, folder, corpus.prepare(cache_dir(), progress), staging)
        except CorpusError as error:
            raise CorpusError(str(error).replace(str(whence.path), str(whence.url))) from None
        shutil.rmtree(staging / CAME)
        if known is not None:
            again = f"try again, or tinytui corpora add FILE --name {known.name}"
            card = _as_known(known, replace(card, title=f"what {known.url} sent"), again)
        else:
            card = replace(card, title=whence.title, source=whence.source, license=whence.license, url=whence.url)
        write_card(staging, replace(card, name=folder))
    return find_corpus(folder, corpora_dir)


def check_removable(name: str, corpora_dir: Path | None = None) -> Path:
    """The folder of the user's own corpus `name`. Raises CorpusError for shipped ones, paths and unknown names."""
    root = corpora_dir or default_corpora_dir()
    folder = root / check_name(_folder_name(name))
    if folder.is_symlink():
        raise CorpusError(f"{folder} is a link out of {root}; remove it yourself")
    if not (folder / CARD).is_file():
        if (shipped_dir() / folder.name / CARD).is_file():
            raise CorpusError(f"{name} is shipped with tinytui and cannot be removed; only your own corpora can")
        raise CorpusError(f"no corpus {name!r} of your own in {root}; see tinytui corpora list")
    return folder


def remove_corpus(name: str, corpora_dir: Path | None = None) -> None:
    """Removes a corpus of the user's own with its file. Raises CorpusError for shipped ones and unknown names."""
    folder = check_removable(name, corpora_dir)
    with doing("remove", folder, CorpusError):
        remove_folder(folder)
