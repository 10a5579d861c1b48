#!/bin/bash
# A SLURM of one node on this machine, for tests: Debian's slurm-wlm and munge, as root, all traffic on the loopback.
#
#   slurm.sh start FOLDER    configure it in FOLDER and start its daemons; prints the variable that clients need
#   slurm.sh stop FOLDER     end the daemons that were started, and no others
#
# The node has two GPUs that are none (gres.conf names two terminals), and runs four jobs at a time. There is no
# accounting, so `sacct` says nothing.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
what=$1 folder=$2

start() {
    mkdir -p "$folder"/{ctld,d,munge} && chmod 755 "$folder" && chmod 700 "$folder/munge"
    folder=$(cd "$folder" && pwd)
    name=$(hostname -s)
    head -c 128 /dev/urandom > "$folder/munge/key" && chmod 600 "$folder/munge/key"
    mkdir -p "$folder/socket" && chmod 755 "$folder/socket"
    munged --force --socket="$folder/socket/munge" --key-file="$folder/munge/key" --pid-file="$folder/munge/pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    cat > "$folder/gres.conf" <<END
NodeName=$name Name=gpu File=/dev/tty[0-1]
END
    cat > "$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=${SLURM_PORT:-16817}
SlurmdPort=$((${SLURM_PORT:-16817} + 1))
AuthType=auth/munge
AuthInfo=socket=$folder/socket/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
GresTypes=gpu
ReturnToService=2
StateSaveLocation=$folder/ctld
SlurmdSpoolDir=$folder/d
SlurmctldPidFile=$folder/ctld/pid
SlurmdPidFile=$folder/d/pid
SlurmctldLogFile=$folder/ctld/log
SlurmdLogFile=$folder/d/log
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=1
KillWait=5
NodeName=$name NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=test Nodes=$name Default=YES MaxTime=1:00:00 OverSubscribe=NO State=UP
END
    export SLURM_CONF=$folder/slurm.conf
    slurmctld -f "$SLURM_CONF" -c
    slurmd -f "$SLURM_CONF" -N "$name"
    for _ in $(seq 60); do
        [ "$(sinfo -h -o %T 2> /dev/null)" = idle ] && break
        sleep 1
    done
    [ "$(sinfo -h -o %T)" = idle ] || { tail -5 "$folder/ctld/log" "$folder/d/log" >&2; exit 1; }
    echo "SLURM_CONF=$SLURM_CONF"
}

stop() {
    export SLURM_CONF=$folder/slurm.conf
    scancel --state=PENDING --state=RUNNING --user=root 2> /dev/null || true
    for file in "$folder"/d/pid "$folder"/ctld/pid "$folder"/munge/pid; do
        [ -f "$file" ] && kill "$(cat "$file")" 2> /dev/null || true
    done
}

"$what"
