"""Write ``docs/results.md`` from the lines in ``results``.

python -m benchmarks.results_page
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import (
    allocation,
    batch_scaling,
    binary_kernels,
    binary_nets,
    binary_training,
    checking,
    choose_binary_training,
    choose_fine_tuning,
    choose_recipe,
    codebook_kernels,
    compile_time,
    demo_cost,
    equality,
    fusion,
    fuzz,
    global_layer_kernels,
    idle_threads,
    kill_resume,
    l1_compression,
    latency_budget,
    latency_prediction,
    main_job,
    memory,
    onnx_round_trip,
    optimizer_overhead,
    optimizers,
    peers,
    real_files,
    robustness,
    router_overhead,
    routing,
    scaffolding,
    search_failures,
    search_front,
    search_ray,
    search_samplers,
    selective,
    self_distillation,
    sparse_at_init,
    sparse_kernels,
    substitution,
    variation,
)
from benchmarks.records import Records

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
#: Each appends to its own lines, and has a ``section`` that turns them into Markdown.
EXPERIMENTS = (
    main_job,
    choose_recipe,
    choose_fine_tuning,
    allocation,
    sparse_at_init,
    l1_compression,
    self_distillation,
    fusion,
    sparse_kernels,
    codebook_kernels,
    choose_binary_training,
    binary_training,
    binary_kernels,
    binary_nets,
    substitution,
    global_layer_kernels,
    optimizers,
    optimizer_overhead,
    latency_budget,
    batch_scaling,
    routing,
    router_overhead,
    selective,
    scaffolding,
    latency_prediction,
    search_samplers,
    search_front,
    search_failures,
    search_ray,
    peers,
    variation,
    idle_threads,
    memory,
    equality,
    kill_resume,
    demo_cost,
    compile_time,
    checking,
    robustness,
    fuzz,
    onnx_round_trip,
    real_files,
)


def main() -> None:
    parts = [
        "# Results\n\nWritten by `python -m benchmarks.results_page` from `benchmarks/results`."
    ]
    missing = []
    for experiment in EXPERIMENTS:
        name = experiment.__name__.rpartition(".")[2]
        runs = Records(name).read()
        if runs:
            parts += experiment.section(runs)
        else:
            missing.append(f"`python -m benchmarks.{name}`")
    if missing:
        parts.append(f"## Not measured yet\n\n{', '.join(missing)}.")
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
