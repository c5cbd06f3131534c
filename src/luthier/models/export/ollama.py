"""A Modelfile, by which Ollama makes a model of GGUF files (github.com/ollama/ollama, docs/modelfile.md)."""

from __future__ import annotations

from luthier.data.render import Renderer
from luthier.errors import LuthierError

CHATML = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
"""ChatML in the language of Go's templates."""
LEFT_OUT = """# TEMPLATE is left out, as this chat template has no translation here. Ollama then looks whether it knows
# the one in the GGUF file: compare `ollama show --template` with it before you rely on answers."""
ASKED = [
    {"role": "user", "content": "One"},
    {"role": "assistant", "content": "Two"},
    {"role": "user", "content": "Three"},
]


def modelfile(renderer: Renderer, gguf: str, adapter: str | None) -> str:
    """FROM, ADAPTER, TEMPLATE, a system message where the template writes one by itself, and where answers end."""
    lines = [f"FROM ./{gguf}", *([f"ADAPTER ./{adapter}"] if adapter else [])]
    system = chatml_system(renderer)
    if system is None:
        lines.append(LEFT_OUT)
    else:
        lines.append(f'TEMPLATE """{CHATML}"""')
        lines += [f'SYSTEM """{system}"""'] if system else []
    names = {index: text for text, index in renderer.tokens.vocabulary.items()}
    lines += [f'PARAMETER stop "{names[index]}"' for index in renderer.eos_ids]
    return "\n".join([*lines, "PARAMETER temperature 0", ""])


def chatml_system(renderer: Renderer) -> str | None:
    """The system message that the template writes where none is given, empty where it writes none; None where the
    template is not ChatML."""
    try:
        written = renderer.tokens.tokenizer.decode(renderer.prompt(ASKED), skip_special_tokens=False)
        given = renderer.tokens.tokenizer.decode(
            renderer.prompt([{"role": "system", "content": "Zero"}, *ASKED]), skip_special_tokens=False
        )
    except LuthierError:
        return None
    start, end = "<|im_start|>system\n", "<|im_end|>\n"
    if given != f"{start}Zero{end}{_chatml()}" or not written.endswith(_chatml()):
        return None
    before = written[: -len(_chatml())]
    if not before:
        return ""
    whole = before.startswith(start) and before.endswith(end)
    return before[len(start) : -len(end)] if whole else None


def _chatml() -> str:
    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in ASKED)
    return f"{turns}<|im_start|>assistant\n"
