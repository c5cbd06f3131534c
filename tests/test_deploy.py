"""The image and its services, checked by the tools that would build and start them; neither needs a daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from test_docs import parse

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def tool(name: str) -> str:
    """A program of the development environment."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    return found or pytest.skip(f"{name} is not installed")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = run(tool("hadolint"), "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def services() -> dict:
    done = run(tool("docker-compose"), "--profile", "postgres", "config", "--format", "json", POSTGRES_PASSWORD="word")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def test_compose_reads_its_file(services: dict) -> None:
    assert set(services) == {"gateway", "database"}
    assert services["database"]["environment"]["POSTGRES_PASSWORD"] == "word"
    assert services["database"]["profiles"] == ["postgres"]


def test_the_port_is_this_machines_and_the_home_is_a_volume(services: dict) -> None:
    (port,) = services["gateway"]["ports"]
    assert port["host_ip"] == "127.0.0.1"
    (volume,) = services["gateway"]["volumes"]
    assert (volume["type"], volume["target"]) == ("volume", "/data")
    assert "LUTHIER_HOME=/data" in DOCKERFILE
    assert services["gateway"]["cap_drop"] == ["ALL"]


def test_the_image_is_not_roots_and_holds_no_secret() -> None:
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 1000
    assert not re.search(r"(?i)password|secret|token|api_key", DOCKERFILE)
    assert (ROOT / ".dockerignore").read_text().startswith("*\n")


def test_what_is_copied_is_not_ignored() -> None:
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY ([^-].*) \S+$", DOCKERFILE, re.MULTILINE)
    assert {name.removeprefix("./") for line in copied for name in line.split()} == set(kept)
    assert all((ROOT / name).exists() for name in kept)


def test_its_commands_are_verbs() -> None:
    written = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    parse(json.loads(written[-1]))
    parse(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["gateway"]["command"])


def test_verbs_of_the_page_parse() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    verbs = re.findall(r"docker compose run --rm gateway ([a-z][^`\n]*)", page)
    assert len(verbs) >= 3
    for words in verbs:
        parse(words.split())


def test_health_is_asked_where_it_answers() -> None:
    from luthier.api.routes.health import router

    (path,) = re.findall(r"127\.0\.0\.1:8000(/\w+)", DOCKERFILE)
    assert path in {route.path for route in router.routes}


def test_extras_and_torch_are_the_projects_own() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"'\.\[(.+)\]'", DOCKERFILE)
    assert set(asked.split(",")) <= set(extras)
    (torch,) = re.findall(r"torch==[\d.]+", DOCKERFILE)
    assert torch in (ROOT / "Makefile").read_text()
