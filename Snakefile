"""tempzero: does this deployment of a language model return the same bytes twice at temperature 0?

`snakemake --cores 1 results/table.md` makes the grid of config/config.yaml: environments and weights, then the
sessions of every cell, then the table. `snakemake -n` says what would be done and what it costs.
config/README.md explains every key, the README how to run a cell, a session or a precision again.
"""

from snakemake.utils import min_version

min_version("9.27")

# A cluster cancels a job by SIGTERM to all its processes: a command heeds it (scripts/common/command.py), and its shell
# and `tee` wait until it has cleared up. The rest is Snakemake's own prefix, whose place this takes.
shell.prefix("set -euo pipefail; trap '' TERM; ")


include: "rules/common.smk"


configfile: "config/config.yaml"


if not PLAN.partial:

    include: "rules/engines.smk"
    include: "rules/quants.smk"
    include: "rules/sessions.smk"


include: "rules/cells.smk"
include: "rules/tables.smk"
include: "rules/side_tables.smk"
include: "rules/curves.smk"
include: "rules/report.smk"
include: "rules/archive.smk"


localrules:
    all,


rule all:
    """The table of the grid, its controls checked, the ablations, the curves, and the report."""
    default_target: True
    input:
        TABLE,
        CONTROLS,
        PAGES,
        CURVES,
        REPORT,


onerror:
    PLAN.note_deletions()
    print(AFTER_AN_ERROR, file=sys.stderr)
