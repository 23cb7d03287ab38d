#!/usr/bin/env bash
# For continuous integration on a bare Debian machine, as root: installs Slurm where it is missing and starts a cluster of
# two nodes on this machine, each with four "GPUs" (device files that do nothing); the second has a process namespace of
# its own, so that nothing can rest on process numbers. Where a step is not possible, or a Slurm is configured here, it says
# so and leaves things as they are; `stop` ends what was started.
#   bash tests/workflow/start_slurm.sh [stop]
set -uo pipefail

folder=/run/tempzero-slurm
config=/etc/slurm/slurm.conf # where clients look without being told: a step of a job is not told
mark="# The cluster of tests/workflow/start_slurm.sh"

give_up() {
    echo "no Slurm here: $1; the tests that need it are skipped" >&2
    exit 0
}

stop() {
    local file
    for file in "$folder"/two.pid "$folder"/slurmd-one.pid "$folder"/slurmctld.pid "$folder"/munge/pid; do
        [[ -s $file ]] && kill -KILL "$(< "$file")" 2> /dev/null
    done
    rm -rf "$folder" "$config" /etc/slurm/gres.conf
}

is_ours() {
    [[ -e $config && $(head -1 "$config") == "$mark" ]]
}

is_up() {
    [[ -e $config && $(sinfo --noheader --states=idle,mixed,allocated --format=%D 2> /dev/null) == 2 ]]
}

[[ ! -e $config ]] || is_ours || give_up "another one is configured"
if [[ ${1:-} == stop ]]; then
    stop
    exit 0
fi
if ! is_up; then
    [[ $(id -u) == 0 ]] || give_up "only root can start it"
    if ! command -v slurmctld > /dev/null || ! command -v munged > /dev/null; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends slurm-wlm munge; } > /dev/null 2>&1 \
            || give_up "it could not be installed"
    fi
    stop
    mkdir -p "$folder"/{state,spool,munge} "${config%/*}"
    host=$(hostname -s)
    cat > "$config" << END
$mark
ClusterName=tempzero
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MinJobAge=300
KillWait=30
ReturnToService=2
GresTypes=gpu
NodeName=one,two NodeAddr=127.0.0.1 NodeHostname=$host Port=16821,16822 CPUs=2 RealMemory=64000 Gres=gpu:4
PartitionName=all Nodes=one,two Default=YES
END
    printf 'Name=gpu File=/dev/%s\n' null zero full random > /etc/slurm/gres.conf
    dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
    chown -R munge: "$folder/munge"
    chmod 400 "$folder/munge/key"
    runuser -u munge -- munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" \
        > /dev/null 2>&1 || give_up "munged did not start"
    slurmctld > /dev/null 2>&1 || give_up "slurmctld did not start"
    slurmd -N one > /dev/null 2>&1 || give_up "slurmd did not start"
    # Its first process, bash, sees to the end of those that have lost their parent.
    setsid unshare --pid --fork --kill-child --mount-proc bash -c 'slurmd -D -N two; exit' \
        > /dev/null 2>&1 < /dev/null &
    echo $! > "$folder/two.pid"
    for _ in $(seq 100); do
        is_up && break
        sleep 0.2
    done
    is_up || give_up "its nodes did not come up (see $folder)"
fi
echo "$(sinfo --version) runs" >&2
