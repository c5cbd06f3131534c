"""The row formats: one file each, in one table."""

from __future__ import annotations

from luthier.data.sources.formats.alpaca import ALPACA
from luthier.data.sources.formats.chat import CHAT
from luthier.data.sources.formats.classification import CLASSIFICATION
from luthier.data.sources.formats.format import Format
from luthier.data.sources.formats.kto import KTO
from luthier.data.sources.formats.preference import PREFERENCE
from luthier.data.sources.formats.prompt_completion import PROMPT_COMPLETION
from luthier.data.sources.formats.sharegpt import SHAREGPT
from luthier.data.sources.formats.text import TEXT

FORMATS: dict[str, Format] = {
    form.name: form for form in (CHAT, SHAREGPT, ALPACA, PROMPT_COMPLETION, TEXT, PREFERENCE, KTO, CLASSIFICATION)
}
"""Every value of a data entry's `type` but `auto`."""
