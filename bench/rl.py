"""Does a small model earn more when it learns from rewards?

    python bench/rl.py [--objective grpo] [--steps 20] [--time 15m]

Reviews are to be called positive or negative; an answer earns 1 where it names the right word and not the other one.
Reviews of the held-out rows use phrases that no training row has. Does the whole job with SmolLM2-135M, prints the
reward by step and what greedy answers to the held-out rows earn before and after, and writes bench/results/rl.json.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

THINGS = ["kettle", "lamp", "jacket", "router", "chair", "printer", "watch", "bicycle", "tent", "desk", "radio", "oven"]
PHRASES = {
    "train": {
        "positive": ["I love it", "It works very well", "Best one I ever had", "My family is very happy with it",
                     "Worth every cent", "It is beautiful", "I would buy it again", "Great quality"],
        "negative": ["It broke after a day", "I hate it", "It is a waste of money", "I am very disappointed",
                     "It never worked", "It looks cheap and ugly", "I sent it back", "Terrible quality"],
    },
    "test": {
        "positive": ["It is fantastic", "I am so glad I bought it", "A wonderful gift", "Perfect in every way"],
        "negative": ["It is awful", "I regret buying it", "It fell apart at once", "Poorly made and far too loud"],
    },
}  # fmt: skip
RECIPE = """
name: rewards
base_model: smollm2-135m-instruct
data:
  - {{path: {folder}/train.jsonl}}
  - {{path: {folder}/test.jsonl, split: test}}
splits: {{validation: 0}}
objective: {{type: {objective}, reward: "{program}:reward", num_generations: {generations}}}
train: {{max_steps: {steps}, batch_size: {prompts}, learning_rate: {rate}, lr_scheduler: constant, max_time: {time}}}
evaluate: {{metrics: [exact_match], baselines: [base], forgetting: false, max_new_tokens: 16}}
ship: {{require: nothing, alias: null}}
"""
SHOWN = ("reward", "truncated", "answer_tokens", "entropy")


def reward(answer: str, example: Any) -> float:
    """1 where the answer names the right word and not the other one."""
    said = {word for word in ("positive", "negative") if word in answer.lower()}
    return float(said == {example.answer()})


def main() -> None:
    """Run it, print what came out."""
    from harness.luthier import luthier
    from harness.machine import gemm
    from harness.output import read_result, write_result

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--objective", choices=["grpo", "ppo"], default="grpo")
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--time", default="15m")
    options.add_argument("--rate", default="5e-4")
    options.add_argument("--prompts", type=int, default=8)
    options.add_argument("--generations", type=int, default=8)
    asked = options.parse_args()
    before = gemm()
    with tempfile.TemporaryDirectory() as scratch:
        for split in PHRASES:
            (Path(scratch) / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(split)))
        recipe = Path(scratch) / "recipe.yaml"
        recipe.write_text(RECIPE.format(folder=scratch, program=Path(__file__).resolve(), **vars(asked)))
        done = luthier(scratch, "run", str(recipe))
        result = measured(done, Path(scratch)) | {"settings": vars(asked), "gemm_gflops": [before, gemm()]}
    show(result)
    write_result("rl", read_result("rl") | {asked.objective: result})


def rows(split: str) -> list[dict[str, str]]:
    """Questions and answers: every phrase about some of the things, in a fixed random order."""
    draw = random.Random(0)
    found = [
        {"prompt": f'Review of a {thing}: "{phrase}."\nIs this review positive or negative?', "completion": label}
        for label, phrases in PHRASES[split].items()
        for phrase in phrases
        for thing in draw.sample(THINGS, 10)
    ]
    return draw.sample(found, len(found))


def measured(done: dict[str, Any], home: Path) -> dict[str, Any]:
    """What the answers of the run earned, by step and on the held-out rows."""
    from luthier.data.example import Example
    from luthier.evaluate.paired import compare
    from luthier.evaluate.scores import Scores

    def earned(name: str) -> Scores:
        scores = Scores.from_jsonl((home / "runs" / done["run_id"] / "scores" / f"{name}.jsonl").read_text())
        own = [
            replace(s, scores={"reward": reward(s.prediction or "", Example("", prompt="", completion=s.reference))})
            for s in scores.samples
        ]
        return replace(scores, samples=tuple(own))

    base, tuned = earned("base"), earned("tuned")
    return {
        "curves": {name: done["curves"][name] for name in SHOWN},
        "base": asdict(base.estimate("reward")), "tuned": asdict(tuned.estimate("reward")),
        "delta": asdict(compare(tuned, base, "reward")), "answers": [s.prediction for s in tuned.samples[:5]],
        "seconds": done["actual"]["seconds"], "steps": done["actual"]["steps"],
        "peak_memory_bytes": done["peak_memory_bytes"], "forecast": done["forecast"],
    }  # fmt: skip


def show(result: dict[str, Any]) -> None:
    """The table."""
    print("step  " + "  ".join(f"{name:>13}" for name in SHOWN))
    for points in zip(*result["curves"].values(), strict=True):
        print(f"{points[0][0]:4.0f}  " + "  ".join(f"{value:13.3f}" for _, value in points))
    for name in ("base", "tuned", "delta"):
        found = result[name]
        print(f"held-out reward, {name}: {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})")
    print(f"{result['steps']:.0f} steps in {result['seconds']:.0f} s; GEMM {result['gemm_gflops']} GFLOP/s")


if __name__ == "__main__":
    main()
