"""Does LoRA on a real instruction set lower the held-out likelihood loss, and how fast is it trained?

    python bench/dolly.py --data dolly.jsonl [--steps 12]

Does the whole job with SmolLM2-135M and a bound on its steps, and writes bench/results/dolly.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from harness.luthier import luthier
from harness.machine import gemm
from harness.output import write_result

RECIPE = """
name: dolly
base_model: smollm2-135m-instruct
data: {{path: {data}, type: alpaca, field_instruction: instruction, field_input: context, field_output: response}}
splits: {{validation: 0.02}}
train: {{max_steps: {steps}, batch_size: 16, learning_rate: 1e-3, sequence_len: 512, truncation: right}}
evaluate: {{metrics: [nll], baselines: [base], forgetting: false, max_rows: 150}}
"""


def main() -> None:
    """Run it, print what came out."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--steps", type=int, default=12)
    asked = options.parse_args()
    before = gemm()
    with tempfile.TemporaryDirectory() as scratch:
        recipe = Path(scratch) / "recipe.yaml"
        recipe.write_text(RECIPE.format(data=asked.data.resolve(), steps=asked.steps))
        done = luthier(scratch, "run", str(recipe))
    result = {
        "steps": done["actual"]["steps"], "batch_size": 16, "base": done["base"]["nll"], "tuned": done["tuned"]["nll"],
        "delta": done["deltas"]["base"]["nll"], "tokens_per_second": done["tokens_per_second"],
        "peak_memory_bytes": done["peak_memory_bytes"], "verdict": done["verdict"], "gemm_gflops": [before, gemm()],
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    write_result("dolly", result)


if __name__ == "__main__":
    main()
