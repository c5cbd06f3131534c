from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Annotated, Any

import typer

from luthier.cli.options import AsJson
from luthier.cli.screen import harmless, one_line
from luthier.errors import LuthierError

COMMANDS = "/reset forgets the conversation, /system TEXT says what the model is, /quit (or Ctrl-D) ends"
PROMPT = "> "

Asked = Annotated[
    str | None, typer.Argument(metavar="MODEL", help="A registered model or a base model.", show_default=False)
]
Url = Annotated[
    str | None, typer.Option("--url", help="A server, such as http://127.0.0.1:8000/v1.", show_default=False)
]


def chat(
    model: Asked = None,
    url: Url = None,
    system: Annotated[str, typer.Option("--system", help="A system message.", show_default=False)] = "",
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Ask this one thing, and leave.", show_default=False)
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0, max=2, help="0 is the likeliest answer.")] = 0.7,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="The most an answer may have.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Talk to a model, through a server or opened here."""
    if as_json and prompt is None:
        raise LuthierError("--json is for one answer", mend="Give the question: --prompt TEXT")
    with answering(model, url) as (name, ask):
        options = {"model": name, "temperature": temperature} | ({"max_tokens": max_tokens} if max_tokens else {})
        talk = Talk(ask, options, system)
        if prompt is None:
            converse(talk, input)
        elif as_json:
            print(talk.completion(prompt))
        else:
            talk.answer(prompt)


@contextmanager
def answering(model: str | None, url: str | None) -> Iterator[tuple[str, Any]]:
    """The model's name, and what it is asked through."""
    from luthier.jobs import chat as job

    key = os.environ.get("LUTHIER_API_KEY") or os.environ.get("OPENAI_API_KEY")
    known = served(url or job.LOCAL_URL, key, wanted=url is not None)
    if known is not None:
        name, at = model or default_of(known), url or job.LOCAL_URL
        note(f"{name}, answered by {at}")
        yield name, job.of_server(at, key)
        return
    from luthier.cli.up import default_model
    from luthier.jobs.deploy import open_deck
    from luthier.store import Home

    name = model or str(default_model())
    more = [name] if os.path.isdir(name) else []
    note(f"{name}, opened here: no server is at {job.LOCAL_URL}")
    with job.in_process(lambda: open_deck(Home.open(), more=more, engine=None, waiting=1, note=note), name) as ask:
        yield name, ask


def served(url: str, key: str | None, wanted: bool) -> list[str] | None:
    """The models of the server at `url`; None where there is none, and none is `wanted`."""
    from luthier.jobs.chat import names_of_server
    from luthier.serve.refusals import Refusal

    try:
        return names_of_server(url, key)
    except Refusal:
        raise
    except LuthierError:
        if wanted:
            raise
        return None


def default_of(known: list[str]) -> str:
    """The model that `luthier up` would name, where the server has it, or its only one."""
    from luthier.cli.up import default_model

    default = default_model()
    if default in known or len(known) == 1:
        return str(default) if default in known else known[0]
    raise LuthierError("it is not clear which model is meant", mend=f"Name one of: {', '.join(known)}")


class Talk:
    """A conversation as it goes on."""

    def __init__(self, ask: Any, options: Mapping[str, Any], system: str = "") -> None:
        self._ask, self._options = ask, options
        self.system = system
        self.turns: list[dict[str, Any]] = []

    def body(self, question: str) -> dict[str, Any]:
        first = [{"role": "system", "content": self.system}] if self.system else []
        asked = [*first, *self.turns, {"role": "user", "content": question}]
        return {**self._options, "messages": asked, "stream": True, "stream_options": {"include_usage": True}}

    def answer(self, question: str) -> None:
        """Print an answer as it comes, and remember what was said. Ctrl-C ends it there.

        What is refused is not remembered.
        """
        said = ""
        try:
            with closing(self._ask(self.body(question))) as chunks:
                for chunk in chunks:
                    said += spoken(chunk)
            print()
        except KeyboardInterrupt:
            print(" …")
        except LuthierError:
            print(end="\n" if said else "")
            raise
        if said:
            self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": said}]

    def completion(self, question: str) -> str:
        """An answer as the JSON of a `chat.completion`."""
        from luthier.serve.whole import Whole
        from luthier.store.files import to_json

        whole, last = Whole(), dict[str, Any]()
        with closing(self._ask(self.body(question))) as chunks:
            for chunk in chunks:
                whole.add(chunk)
                last = chunk
        return to_json(whole.completion(last["id"], last["model"]), indent=2)


def spoken(chunk: Mapping[str, Any]) -> str:
    """The text of a chunk, which is printed."""
    text = "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
    print(harmless(text), end="", flush=True)
    return text


def converse(talk: Talk, read: Callable[[str], str]) -> None:
    """Ask what `read` reads, line by line, until its end or /quit."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  lines can be edited and called back

        note(COMMANDS)
    prompt = PROMPT if sys.stdin.isatty() else ""
    while True:
        try:
            line = read(prompt).strip()
        except KeyboardInterrupt:
            note(f"\n{COMMANDS}")
            continue
        except EOFError:
            print(end="\n" if prompt else "")
            return
        if line == "/quit":
            return
        if line.startswith("/"):
            obey(talk, line)
        elif line:
            try:
                talk.answer(line)
            except LuthierError as error:
                note(f"error: {one_line(error)}")


def obey(talk: Talk, line: str) -> None:
    command, _, rest = line.partition(" ")
    if command == "/reset":
        talk.turns = []
        note("The conversation is forgotten.")
    elif command == "/system":
        talk.system = rest.strip()
        note("The model is told so from now on." if talk.system else "There is no system message now.")
    else:
        note(COMMANDS)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
