"""From a name to a model's files, and what is said where that fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from luthier.errors import ModelError
from luthier.models import packaged
from luthier.models.locate import locate


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    """A model that a test may spoil."""
    return shutil.copytree(tiny_llama, tmp_path / "model")


def configure(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_a_folder_is_described_without_loading_it(tiny_llama: Path, tmp_path: Path) -> None:
    files = locate(str(tiny_llama), tmp_path)
    assert files.folder == tiny_llama
    assert (files.kind, files.source, files.licence, files.quantised) == ("decoder", "local", None, None)
    assert files.context_length == 512
    assert files.config["hidden_size"] == 32
    assert len(files.sha256) == 64


def test_parameters_are_counted_as_torch_counts_them(tiny_llama: Path, tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    for folder, kind in ((tiny_llama, AutoModelForCausalLM), (tiny_bert, AutoModel)):
        expected = sum(parameter.numel() for parameter in kind.from_pretrained(folder).parameters())
        assert locate(str(folder), tmp_path).num_parameters == expected


def test_an_encoder(tiny_bert: Path, tmp_path: Path) -> None:
    assert locate(str(tiny_bert), tmp_path).kind == "encoder"


def test_roberta_positions_start_behind_the_padding(folder: Path, tmp_path: Path) -> None:
    configure(folder, model_type="roberta", max_position_embeddings=514, pad_token_id=1)
    assert locate(str(folder), tmp_path).context_length == 512


def test_the_hash_is_of_the_content_and_remembered(folder: Path, tmp_path: Path) -> None:
    first = locate(str(folder), tmp_path / "cache").sha256
    moved = folder.rename(tmp_path / "elsewhere")
    assert locate(str(moved), tmp_path / "cache").sha256 == first
    notes = list((tmp_path / "cache" / "sha256").iterdir())
    assert {note.read_text() for note in notes} == {first}
    for note in notes:
        note.write_text("remembered")
    assert locate(str(moved), tmp_path / "cache").sha256 == "remembered"
    weights = moved / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(weights, ns=(1, 1))
    assert locate(str(moved), tmp_path / "cache").sha256 != first


def test_the_licence_is_read_from_the_readme(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: 'mit'\n---\n# A model\nlicense: other\n")
    assert locate(str(folder), tmp_path).licence == "mit"
    (folder / "README.md").write_text("# A model\nlicense: other\n")
    assert locate(str(folder), tmp_path).licence is None


def test_shards_are_found_and_missed(folder: Path, tmp_path: Path) -> None:
    single = locate(str(folder), tmp_path).num_parameters
    (folder / "model.safetensors").rename(folder / "model-1-of-1.safetensors")
    index = {"weight_map": {"a": "model-1-of-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert locate(str(folder), tmp_path).num_parameters == single
    index["weight_map"]["b"] = "model-2-of-2.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"lacks model-2-of-2\.safetensors"):
        locate(str(folder), tmp_path)


def test_pickles_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickles \(pytorch_model\.bin\).*save_pretrained"):
        locate(str(folder), tmp_path)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        locate(str(folder), tmp_path)


@pytest.mark.parametrize("spoil", [lambda content: content[:-5], lambda content: b"not safetensors" * 9])
def test_broken_weights_are_refused(folder: Path, tmp_path: Path, spoil) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(spoil(weights.read_bytes()))
    with pytest.raises(ModelError, match=r"model\.safetensors: .*Copy it again"):
        locate(str(folder), tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_missing_files_are_named(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"has no {name}"):
        locate(str(folder), tmp_path)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_configuration_is_refused(folder: Path, tmp_path: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json: is not (JSON|a JSON object)"):
        locate(str(folder), tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "t5", "is_encoder_decoder": True}, "`t5` is an encoder-decoder"),
        *(
            ({"model_type": family}, f"`{family}` is a state-space, recurrent or convolutional model")
            for family in ("mamba", "mamba2", "falcon_mamba", "jamba", "bamba", "rwkv", "recurrent_gemma", "lfm2")
        ),
        *(
            ({"model_type": family}, f"`{family}` is a state-space, recurrent or convolutional model")
            for family in ("zamba", "zamba2", "qwen3_next", "granitemoehybrid", "nemotron_h", "xlstm", "convbert")
        ),
        ({"model_type": "llava"}, "also reads images"),
        ({"model_type": "new", "is_encoder_decoder": True}, "`new` is an encoder-decoder"),
        ({"model_type": "new", "auto_map": {"AutoModel": "code.New"}}, "code from its own repository"),
        ({"model_type": "new"}, "not known here.*llama"),
        ({"model_type": ""}, "no `model_type`"),
        ({"max_position_embeddings": None}, "how many positions"),
    ],
)
def test_families_that_cannot_be_tuned_are_named(folder: Path, tmp_path: Path, changes: dict, reason: str) -> None:
    configure(folder, **changes)
    with pytest.raises(ModelError, match=reason):
        locate(str(folder), tmp_path)


def test_an_adapter_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base/model"}))
    with pytest.raises(ModelError, match="is an adapter of `base/model`"):
        locate(str(tmp_path), tmp_path)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    for name, reason in (
        ("weights.gguf", "GGUF cannot be trained"),
        ("model.safetensors", "Give the folder"),
    ):
        (tmp_path / name).touch()
        with pytest.raises(ModelError, match=reason):
            locate(str(tmp_path / name), tmp_path)


def test_an_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Did you mean `smollm2-135m-instruct`"):
        locate("smollm2-135m", tmp_path)
    with pytest.raises(ModelError, match=r"`zzz`\. Packaged models: smollm2-135m-instruct, all-minilm-l6-v2"):
        locate("zzz", tmp_path)


def test_a_packaged_model_in_any_case(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, tmp_path, tiny_bert)
    files = locate("Tiny-BERT", tmp_path / "cache")
    assert (files.name, files.source, files.licence) == ("tiny-bert", "packaged", "mit")


def _install(monkeypatch: pytest.MonkeyPatch, place: Path, model: Path) -> None:
    """A Python package with a model in it."""
    (place / "site" / "tiny_bert_package").mkdir(parents=True)
    (place / "site" / "tiny_bert_package" / "__init__.py").touch()
    shutil.copytree(model, place / "site" / "tiny_bert_package" / "model")
    monkeypatch.syspath_prepend(place / "site")
    table = {"tiny-bert": packaged.Packaged("tiny-bert-package", "tiny_bert_package/model", licence="mit")}
    monkeypatch.setattr("luthier.models.locate.PACKAGED", table)
    monkeypatch.setattr(packaged, "PACKAGED", table)


HUB = """
import sys, time
from pathlib import Path
from luthier.errors import ModelError
from luthier.models.locate import locate
start = time.monotonic()
try:
    print(locate("owner/name", Path(sys.argv[1]), print))
except ModelError as error:
    print(error)
print(f"{time.monotonic() - start:.1f} s", {"torch", "transformers"} & set(sys.modules))
"""


def _ask_hub(tmp_path: Path, answer: bytes | None, **environment: str) -> str:
    """What `locate` says of a hub id in a process of its own, where the hub gives one `answer` to all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, answer), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1"}
        program = [sys.executable, "-c", HUB, str(tmp_path)]
        env = {**os.environ, **settings, **environment}
        return subprocess.run(program, capture_output=True, text=True, check=True, env=env).stdout


def _serve(server: socket.socket, answer: bytes | None) -> None:
    silent = []
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        if answer is None:
            silent.append(connection)
            continue
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
            time.sleep(0.05)


def _http(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "", ""]).encode()


def test_no_network_is_said_at_once(tmp_path: Path) -> None:
    said = _ask_hub(tmp_path, b"")
    assert "there is no folder `owner/name`, and the hub cannot be reached" in said
    assert said.endswith("s set()\n")


def test_offline_is_honoured(tmp_path: Path) -> None:
    said = _ask_hub(tmp_path, _http("500 No"), HF_HUB_OFFLINE="1")
    assert "the hub cannot be reached (OfflineModeIsEnabled)" in said


@pytest.mark.slow
def test_a_silent_hub_is_left_after_five_seconds(tmp_path: Path) -> None:
    said = _ask_hub(tmp_path, None)
    assert "cannot be reached" in said
    assert float(said.splitlines()[-1].split()[0]) < 5.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "reason"), [("RepoNotFound", "the hub has no such model"), ("GatedRepo", "only on request")]
)
def test_what_the_hub_refuses_is_said(tmp_path: Path, code: str, reason: str) -> None:
    status = "404 Not Found" if code == "RepoNotFound" else "403 Forbidden"
    assert reason in _ask_hub(tmp_path, _http(status, f"X-Error-Code: {code}"))


def test_a_copy_in_the_hubs_cache_serves_offline(tiny_llama: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "hub" / "models--owner--name"
    shutil.copytree(tiny_llama, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    said = _ask_hub(tmp_path, b"", HF_HUB_OFFLINE="1")
    assert "the copy in" in said
    assert "source='hub'" in said
