"""The parts of docs/benchmarks.md about models in service."""

from __future__ import annotations

from typing import Any

from harness.markdown import gemms, part, table, times

BESIDE_BARE = """The gateway over llama.cpp, and xllamacpp called in a process of its own with the same token ids, in
turns: streamed answers of at most 32 tokens. The clients run on the same two cores. Both sides write as many answers at
once, each with room for the model's whole context; the last row's bare side has 16 places of 1024 tokens."""


def serve(found: dict[str, Any]) -> str:
    """The gateway and the engines behind it."""
    lines, gemm = [], [part["gemm_gflops"] for part in found.values()]
    if "gateway" in found:
        taken = [(str(row["clients"]), row) for row in found["gateway"]["clients"]]
        taken.append((f"{found['gateway']['wide']['clients']}, bare wide", found["gateway"]["wide"]))
        rows = [[name, f"{row['gateway_rate']:.1f}", f"{row['bare_rate']:.1f}", f"{row['ratio']:.3f}",
                 f"{row['added_first_ms']:.1f} ms"] for name, row in taken]  # fmt: skip
        lines.append(BESIDE_BARE)
        lines.append(table(["clients", "gateway, tokens/s", "bare, tokens/s", "ratio", "first token later by"], rows))
        first = found["gateway"]["first"]
        lines.append(
            f"Over {first['answers']} answers, a client who asks alone has the first token after "
            f"{first['gateway_ms']:.1f} ms through the gateway and {first['bare_ms']:.1f} ms without it."
        )
    if "batching" in found:
        b = found["batching"]
        lines.append(f"The torch engine, asked by {b['clients']} clients at once through the gateway, writes "
                     f"{b['engine_rate']:.1f} tokens/s; transformers.generate, one prompt at a time, "
                     f"{b['generate_rate']:.1f}: {times(b['ratio'])}.")  # fmt: skip
    if "adapters" in found:
        a = found["adapters"]
        rows = [[name, f"{size / 1e6:,.0f} MB"] for name, size in a["held_bytes"].items()]
        lines.append(f"LoRA adapters on one base in the torch engine, each of {a['adapter_bytes'] / 1e6:.0f} MB; the "
                     f"base has {a['base_bytes'] / 1e6:.0f} MB.")  # fmt: skip
        lines.append(table(["adapters", "memory of the engine's process"], rows))
    return part("In service: SmolLM2-135M", "python bench/serve.py", *lines, f"GEMM {gemms(gemm)}.")


def siege(found: dict[str, Any]) -> str:
    """What a server stands."""
    lines = []
    if "load" in found:
        one = found["load"]
        grown = ", ".join(f"{name} {100 * value:+.1f} %" for name, value in one["memory_growth"].items())
        lines.append(f"32 clients at a server that takes 16 requests, for {one['seconds']:.0f} s: {one['answered']:,} "
                     f"answers, {one['refused']:,} refusals with a time to come back, {one['given_up']} given up; "
                     f"memory over the last three fifths: {grown}.")  # fmt: skip
    if "chaos" in found:
        two = found["chaos"]
        lines.append(f"8 clients and {two['kills']} SIGKILLs to the engine in {two['seconds']:.0f} s: "
                     f"{two['answered']:,} answers, {two['given_up']} requests lost, "
                     f"{two['answers_without_a_trace']} answers without a row in the trace table; the longest answer "
                     f"took {two['longest_answer_seconds']:.1f} s.")  # fmt: skip
    wrong = [what for one in found.values() for what, holds in one["checks"].items() if not holds]
    lines.append(f"What did not hold: {'; '.join(wrong)}." if wrong else "All that is checked holds.")
    engines = {one["engine"] for one in found.values()} - {"auto"}
    command = " ".join(["python bench/siege.py", *(f"--engine {engine}" for engine in sorted(engines))])
    return part("Under siege", command, *lines)
