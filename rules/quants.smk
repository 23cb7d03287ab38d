"""Quants: config/models.yaml becomes results/quants/{model}/{precision}/, weights with a manifest of their sha256.

Steps: build the weights by the precision's recipe from its source, a checkpoint or another precision.
"""


rule build_weights:
    """The weights of one precision, built by its recipe, and their manifest."""
    input:
        source=quant_source,
        engine=lambda wildcards: f"results/engines/{BUILDER}.json",
    output:
        "results/quants/{model}/{precision}/manifest.json",
    log:
        "results/logs/quants/{model}-{precision}.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("build_weights"),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
        python=lambda wildcards: engine_python(BUILDER),
    message:
        "Build the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "{params.python} -m scripts.build_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --output {output} 2>&1 | tee -i {log} >&2"
