"""Quants: config/models.yaml becomes results/quants/{model}/{precision}/, weights with a manifest of their sha256.

Steps: pull the weights, draw them, or build or prune them by the precision's recipe from its source, a checkpoint or another
precision; where `evict_weights` is true, delete them once no cell of the grid needs them. A manifest is kept until its
successor is whole (`update`), since what was made from deleted weights goes by it.
"""


localrules:
    fetch_weights,
    evict_weights,


# Where weights are quantised, which is nothing that they follow from.
IN_CONTAINER = ("scripts.quants.in_container",)
WEIGHTS = needs(2, PLAN.weights_needs)


rule build_weights:
    """The weights of one precision, built by its recipe, and their manifest."""
    input:
        evicted=first(2, evicted),
        source=quant_source("build_weights"),
        engine=[
            engine_file(each) for each in [PLAN.builder(CONFIG.quantise_in)] if each
        ],
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=PLAN.quants_with("llama-quantize"),
        precision="[^/]+",
    priority: PLAN.bring_priority(pulled=False)
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        **WEIGHTS,
        on_gpus=first(2, PLAN.serving_gpus),
        quantise_in=CONFIG.quantise_in,
    params:
        code=source_digest("build_weights", IN_CONTAINER),
        entry=first(2, PLAN.quant_entry),
        python=lambda wildcards, resources: PLAN.builder_python(resources.quantise_in),
    message:
        "Build the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "{params.python} -m scripts.build_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --runtime {resources.quantise_in} --output {output} 2>&1 | tee -i {log} >&2"


rule convert_weights:
    """Weights that are brought into another form or shape, from a checkpoint, a package or a GGUF file, and their manifest."""
    input:
        evicted=first(2, evicted),
        source=quant_source("convert_weights"),
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=PLAN.quants_with("gguf-bf16", "package", "dequantise", "reshape"),
        precision="[^/]+",
    priority: PLAN.bring_priority(pulled=False)
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        **WEIGHTS,
        on_gpus=first(2, PLAN.serving_gpus),
    params:
        code=source_digest("build_weights", IN_CONTAINER),
        content=first(2, PLAN.quant_content),
        entry=first(2, PLAN.quant_entry),
    message:
        "Convert the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.build_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --output {output} 2>&1 | tee -i {log} >&2"


rule prune_weights:
    """A precision with the least active of its experts pruned, calibrated on drawn episodes, and its manifest."""
    input:
        evicted=first(2, evicted),
        source=quant_source("prune_weights"),
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=PLAN.quants_with("reap"),
        precision="[^/]+",
    priority: PLAN.bring_priority(pulled=False)
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        **WEIGHTS,
        on_gpus=first(2, PLAN.serving_gpus),
    params:
        code=source_digest("prune_weights"),
        entry=first(2, PLAN.quant_entry),
    message:
        "Prune the experts of {wildcards.model} to {wildcards.precision}."
    shell:
        "python -m scripts.prune_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --output {output} 2>&1 | tee -i {log} >&2"


rule draw_weights:
    """A checkpoint with random weights of a given shape, drawn from a seed, and its manifest."""
    input:
        evicted=first(2, evicted),
        shape=first(2, PLAN.quant_files),
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=PLAN.quants_with("random"),
        precision="[^/]+",
    priority: PLAN.bring_priority(pulled=False)
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        **WEIGHTS,
        on_gpus=first(2, PLAN.serving_gpus),
    params:
        code=source_digest("draw_weights"),
        entry=first(2, PLAN.quant_entry),
    message:
        "Draw the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.draw_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --output {output} 2>&1 | tee -i {log} >&2"


rule quantise_weights:
    """The weights of one precision, made from another by llm-compressor, checked tensor by tensor, and their manifest."""
    input:
        evicted=first(2, evicted),
        source=quant_source("quantise_weights"),
        lock="envs/quantise.lock",
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=PLAN.quants_with("model-free-ptq"),
        precision="[^/]+",
    priority: PLAN.bring_priority(pulled=False)
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        **WEIGHTS,
        on_gpus=first(2, PLAN.serving_gpus),
        quantise_in=CONFIG.quantise_in,
        gpu=int(PLAN.takes_gpus),
    params:
        code=source_digest("quantise_weights", IN_CONTAINER),
        entry=first(2, PLAN.quant_entry),
    message:
        "Quantise {wildcards.model} to {wildcards.precision}."
    shell:
        "python -m scripts.quantise_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --runtime {resources.quantise_in} --output {output} 2>&1 | tee -i {log} >&2"


rule fetch_weights:
    """The weights of one precision, pulled from a hub at a pinned revision or found in a folder, and their manifest."""
    input:
        evicted=first(2, evicted),
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=PLAN.quants_with(None),
        precision="[^/]+",
    priority: PLAN.bring_priority(pulled=True)
    retries: 3
    conda:
        "../envs/workflow.yaml"
    threads: PLAN.cores if PLAN.evictable else 1
    resources:
        on_gpus=first(2, PLAN.serving_gpus),
    params:
        code=source_digest("fetch_weights"),
        entry=first(2, PLAN.quant_entry),
    message:
        "Bring the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.fetch_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --output {output} 2>&1 | tee -i {log} >&2"


# No temp(): turned on where all is done it deletes nothing; and ancient() heeds no file that is missing, so that one
# more session of a quant whose weights temp() had deleted made all of them run again (tried on Snakemake 9.27.1).
rule evict_weights:
    """The weights of one precision, deleted once every cell that needs them is done; their manifest stays."""
    input:
        sessions=lambda wildcards: [
            file
            for names in PLAN.users(*wildcards[:2])
            for file in session_files(*names)
            + PLAN.forced(*names)
            + PLAN.fed([PLAN.cells[names]])
            + PLAN.cells[names].sweep_files
        ],
    output:
        "results/evicted/{model}/{precision}.json",
    log:
        "results/logs/quants/{model}-{precision}.evicted.log",
    wildcard_constraints:
        model=one_of(model for model, _ in PLAN.evictable),
        precision="[^/]+",
    priority: 100 * ROUNDS[0]
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("evict_weights"),
    message:
        "Delete the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.evict_weights results/quants/{wildcards.model}/{wildcards.precision}"
        " --output {output} 2>&1 | tee -i {log} >&2"
