"""Engines: opened once, adapters loaded once, closed when idle and in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gateway import FakeRemote, Service

from luthier.errors import ModelError
from luthier.registry import aliases
from luthier.serve import deck as module
from luthier.serve.deck import Deck
from luthier.serve.refusals import UnknownModel
from luthier.store import Home


@pytest.fixture
def service(home: Home, tiny_llama: Path, tiny_bert: Path) -> Service:
    return Service(home, {"tiny-llama": tiny_llama, "tiny-bert": tiny_bert}, {})


def deck_of(service: Service, **settings: Any) -> Deck:
    deck = service.state().deck
    for name, value in settings.items():
        setattr(deck, name, value)
    return deck


def test_all_who_ask_first_wait_for_one_engine(service: Service) -> None:
    async def slow(spec: Mapping[str, Any]) -> Any:
        await asyncio.sleep(0.02)
        return await service.open_engine(spec)

    async def run() -> None:
        deck = deck_of(service, open_engine=slow)
        models = await asyncio.gather(*(deck.open("tiny-llama") for _ in range(5)))
        assert len({id(model.engine) for model in models}) == 1
        assert (len(service.remotes), len(service.found)) == (1, 1)
        assert models[0].engine_name == "fake"

    asyncio.run(run())


def test_who_leaves_does_not_stop_the_others(service: Service) -> None:
    async def slow(spec: Mapping[str, Any]) -> Any:
        await asyncio.sleep(0.05)
        return await service.open_engine(spec)

    async def run() -> None:
        deck = deck_of(service, open_engine=slow)
        first = asyncio.create_task(deck.open("tiny-llama"))
        second = asyncio.create_task(deck.open("tiny-llama"))
        await asyncio.sleep(0.02)
        first.cancel()
        assert (await second).ref == "tiny-llama"

    asyncio.run(run())


def test_a_failure_is_told_and_tried_again(service: Service) -> None:
    failures = [ModelError("broken"), ModelError("broken")]

    async def sometimes(spec: Mapping[str, Any]) -> Any:
        if failures:
            raise failures.pop()
        return await service.open_engine(spec)

    async def run() -> None:
        deck = deck_of(service, open_engine=sometimes)
        for _ in range(2):
            with pytest.raises(ModelError, match="broken"):
                await deck.open("tiny-llama")
        assert (await deck.open("tiny-llama")).engine.alive

    asyncio.run(run())


def test_unknown_names_open_nothing(service: Service) -> None:
    async def run() -> None:
        with pytest.raises(UnknownModel, match="'nobody'"):
            await deck_of(service).open("nobody")

    asyncio.run(run())
    assert service.remotes == []


def test_idle_engines_make_room_and_busy_ones_stay(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        deck = deck_of(service, memory_bytes=50)
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
        llama = await deck.open("tiny-llama")
        async with deck.line(llama).place():
            bert = await deck.open("tiny-bert")
            assert llama.engine.alive
        await deck.open("tiny-bert")
        service.folders = {**service.folders, "other-bert": service.folders["tiny-bert"]}
        await deck.open("other-bert")
        assert not llama.engine.alive
        assert not bert.engine.alive
        again = await deck.open("tiny-llama")
        assert again.engine is not llama.engine

    asyncio.run(run())


def test_an_engine_that_was_just_asked_for_is_not_closed(service: Service) -> None:
    async def run() -> None:
        deck = deck_of(service, memory_bytes=50)
        llama = await deck.open("tiny-llama")
        await deck.open("tiny-bert")
        assert llama.engine.alive
        await deck.close()
        assert not any(remote.alive for remote in service.remotes)

    asyncio.run(run())


def test_a_moved_alias_is_another_model_at_once(service: Service, home: Home, tmp_path: Path) -> None:
    from registering import register

    refs = [register(home, tmp_path / "adapter") for _ in range(2)]

    async def run() -> None:
        deck = deck_of(service)
        for ref in (*refs, refs[0]):
            aliases.promote(home, ref, "production", "")
            model = await deck.open("tickets@production")
            assert (model.ref, model.name) == (ref, "tickets@production")
            assert model.adapter in service.remotes[0].loaded
        assert len(service.remotes) == 1
        assert len(service.remotes[0].loaded) == 2
        assert isinstance(model.engine, FakeRemote)

    asyncio.run(run())
