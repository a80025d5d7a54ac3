#!/usr/bin/env bash
# A real Apache Kafka broker for the tests: one node, KRaft, on 127.0.0.1 only.
# See README.md beside this file for the commands and the variables.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=kafka
asked_port=${KAFKA_PORT:-}
default_port=29192
dir="$target/brokers/kafka-$instance"
find_port
jars="$target/brokers/kafka/jars"
log="$dir/kafka.log"
properties="$dir/server.properties"

broker_pid() { pid_of "$dir/kafka.pid"; }

# Metadata names a broker only once the controller has let it in, so this answer
# means that topics can be made and records written.
ready() { kcat -b "127.0.0.1:$port" -L -m 3 2>/dev/null | grep "broker 1 at 127.0.0.1:$port" >/dev/null; }

# Copies the jars that pom.xml asks for, once for each state of that file.
fetch_jars() {
    local stamp="$target/brokers/kafka/stamp" sum
    sum=$(sha256sum <"$here/pom.xml")
    mkdir -p "$target/brokers/kafka"
    # Two instances may start at the same time on a machine that has no jars yet.
    exec 8>"$target/brokers/kafka/lock"
    flock 8
    if [[ ! -d $jars || ! -f $stamp || $(<"$stamp") != "$sum" ]]; then
        say "fetching Kafka's jars with maven"
        rm -rf "$jars"
        mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$jars" </dev/null >&2
        echo "$sum" >"$stamp"
    fi
    exec 8>&-
}

# The command that the broker and the tools have in common.
java=(java -cp "$jars/*" "-Dlog4j2.configurationFile=$here/log4j2.properties")

# The tools live for a second, so the JVM should start fast rather than run fast.
tool() { "${java[@]}" -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog.level=ERROR "$@"; }

write_properties() {
    cat >"$properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=true
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
# A test that waits for its first records should not wait for other members first,
group.initial.rebalance.delay.ms=0
# and one that kills a consumer may ask for a short session to be rid of it soon.
group.min.session.timeout.ms=1000
# The controller lets a killed broker back in only when its last session is over.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
EOF
}

start() {
    lock_instance
    if ! broker_pid >/dev/null; then
        fetch_jars
        claim_ports 2
        echo "--- start $(date -u +%FT%TZ), port $port" >>"$log"
        write_properties
        if [[ ! -f $dir/data/meta.properties ]]; then
            # The cluster's id only has to be a valid one: nothing joins this cluster.
            tool kafka.tools.StorageTool format -t YnJpZGdlLXRlc3RzLWJyaw -c "$properties" >>"$log" 2>&1 ||
                fail "cannot format the data folder"
        fi
        launch "$dir/kafka.pid" "$log" \
            "${java[@]}" -Xmx512m -XX:+ExitOnOutOfMemoryError kafka.Kafka "$properties"
    fi
    wait_ready
}

stop() {
    lock_instance
    end_process TERM broker_pid
}

# Prints "topic partition offset" for each partition that the group has committed.
# A group that the broker does not know has committed nothing, which is no error.
committed() {
    local out
    if ! out=$(tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand \
        --bootstrap-server "127.0.0.1:$port" --describe --offsets --group "$1" 2>&1); then
        [[ $out == *GroupIdNotFoundException* || $out == *"does not exist"* ]] && return
        echo "$out" >&2
        return 1
    fi
    # The columns are found by their titles, as a release may add one.
    awk '$1 == "GROUP" { for (i = 1; i <= NF; i++) column[$i] = i; next }
         ("TOPIC" in column) && $column["CURRENT-OFFSET"] ~ /^[0-9]+$/ {
             print $column["TOPIC"], $column["PARTITION"], $column["CURRENT-OFFSET"]
         }' <<<"$out"
}

case "${1:-}" in
start) start ;;
stop) stop ;;
wait) wait_ready ;;
restart)
    stop
    start
    ;;
kill)
    lock_instance
    end_process KILL broker_pid
    ;;
status) print_status ;;
env) echo "KAFKA_BOOTSTRAP=127.0.0.1:$port" ;;
log) cat "$log" ;;
committed) committed "${2:?which GROUP?}" ;;
*)
    echo "usage: $0 {start|stop|wait|restart|status|env|log|committed GROUP|kill}" >&2
    exit 2
    ;;
esac
