"""A model is asked through a server, or through an engine that is opened here; both say the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from luthier.data.render import Renderer
from luthier.errors import LuthierError
from luthier.jobs.chat import in_process, names_of_server, of_server
from luthier.serve.engines.engine import Ask, Piece, Token
from luthier.serve.model import Model
from luthier.serve.refusals import BadRequest, Refusal

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Hello?"}], "stream": True}


class Engine:
    """Says `ids`; `asks` is what it was asked, `ended` how many answers it has ended early."""

    def __init__(self, ids: list[int]) -> None:
        self.ids, self.asks, self.ended = ids, list[Ask](), 0

    async def stream(self, ask: Ask) -> Any:
        self.asks.append(ask)
        done = False
        try:
            for id in self.ids:
                yield Piece((Token(id),))
            yield Piece(finish="stop")
            done = True
        finally:
            self.ended += not done


class Deck:
    def __init__(self, folder: Path) -> None:
        self.renderer = Renderer.from_folder(folder)
        self.engine = Engine(self.renderer.encode("About 150 €."))
        self.opened, self.closed = list[str](), False

    async def open(self, name: str) -> Model:
        self.opened.append(name)
        return Model(name, name, name, None, None, "decoder", self.renderer, 512, self.engine, "fake", 0)  # type: ignore[arg-type]

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def deck(tiny_llama: Path) -> Deck:
    return Deck(tiny_llama)


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Answers each path with the status and the lines of `said`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.heard.append((self.path, self.headers["authorization"], self.body()))  # type: ignore[attr-defined]
            status, text = self.server.said[self.path]  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def body(self) -> Any:
            length = int(self.headers["content-length"] or 0)
            return json.loads(self.rfile.read(length)) if length else None

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.said, server.heard = {}, []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/v1"


def said(chunks: Iterator[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def test_an_engine_of_this_process_answers(deck: Deck) -> None:
    with in_process(lambda: deck, "tiny") as ask:  # type: ignore[arg-type,return-value]
        assert deck.opened == ["tiny"]
        assert [said(ask(BODY)), said(ask(BODY))] == ["About 150 €."] * 2
        assert not deck.closed
    assert deck.closed
    assert deck.engine.ended == 0


def test_an_answer_that_is_left_ends_in_the_engine(deck: Deck) -> None:
    with in_process(lambda: deck, "tiny") as ask:  # type: ignore[arg-type,return-value]
        with closing(ask(BODY)) as chunks:  # type: ignore[type-var]
            next(chunks)
        assert deck.engine.ended == 1
        assert said(ask(BODY)) == "About 150 €."


def test_what_is_refused_can_be_asked_otherwise(deck: Deck) -> None:
    with in_process(lambda: deck, "tiny") as ask:  # type: ignore[arg-type,return-value]
        with pytest.raises(BadRequest, match="temperature"):
            next(ask(BODY | {"temperature": 9}))
        assert said(ask(BODY)) == "About 150 €."


def test_a_server_answers(server: HTTPServer) -> None:
    chunks = [{"choices": [{"delta": {"content": text}}]} for text in ("150", " €")]
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    server.said = {  # type: ignore[attr-defined]
        "/v1/models": (200, '{"data": [{"id": "tiny"}]}'),
        "/v1/chat/completions": (200, f": waiting\n\n{events}data: [DONE]\n\n"),
    }
    assert names_of_server(url(server), "sk-1") == ["tiny"]
    assert said(of_server(url(server) + "/", "sk-1")(BODY)) == "150 €"
    heard = server.heard  # type: ignore[attr-defined]
    assert heard == [("/v1/models", "Bearer sk-1", None), ("/v1/chat/completions", "Bearer sk-1", BODY)]


def test_a_server_refuses(server: HTTPServer) -> None:
    body = json.dumps({"error": {"message": "Too hot.", "param": "temperature", "code": None}})
    server.said = {"/v1/chat/completions": (400, body), "/v1/models": (502, "<html>")}  # type: ignore[attr-defined]
    with pytest.raises(Refusal, match=r"Too hot\.") as refused:
        next(of_server(url(server), None)(BODY))
    assert (refused.value.status, refused.value.param) == (400, "temperature")
    with pytest.raises(Refusal, match="status 502"):
        names_of_server(url(server), None)
    server.said["/v1/chat/completions"] = (200, f"data: {body}\n\n")  # type: ignore[attr-defined]
    with pytest.raises(Refusal, match=r"Too hot\."):
        next(of_server(url(server), None)(BODY))


def test_where_no_server_is_the_error_says_so(server: HTTPServer) -> None:
    server.said = {"/v1/models": (200, "Hello")}  # type: ignore[attr-defined]
    with pytest.raises(LuthierError, match="no server of models"):
        names_of_server(url(server), None)
    with pytest.raises(LuthierError, match="no server answers"):
        names_of_server("http://127.0.0.1:9/v1", None)
    for address in ("127.0.0.1:8000", "ftp://x/v1", ""):
        with pytest.raises(LuthierError, match="is not the address"):
            names_of_server(address, None)
