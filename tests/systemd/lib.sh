# shellcheck shell=bash disable=SC2034
# What the scripts that run in the machine have in common: how to say what must be true, and what a producer, an operator and the simulated
# API do. Sourced by deb.sh and rpm.sh.
set -uo pipefail
shopt -s inherit_errexit

readonly INBOX=/var/spool/reten-outbox/inbox ROWS=/var/spool/reten-outbox/db/inbox.db OUTBOX=/var/lib/reten-outbox
readonly API=http://127.0.0.1:8088 KEY=rtn_sk_box_0123456789
SYSTEMD=$(systemctl --version | sed -n '1s/systemd \([0-9]*\).*/\1/p')
readonly SYSTEMD
readonly UNIT=/usr/lib/systemd/system/reten-outbox.service
# How many results were dropped so far: across the crash, too. Each has its own activity.
readonly DROPPED=/var/tmp/dropped
step_began=${EPOCHREALTIME/./}

step() { local now=${EPOCHREALTIME/./}; printf '  %6d ms  %s\n' $(((now - step_began) / 1000)) "$1"; step_began=$now; }
fail() {
    echo "FAILED: $*"
    # It may be stopped, and what it was not told yet is what we want to know.
    pkill -CONT systemd-journal && sleep 1
    cp -r $OUTBOX /box/out/ 2>/dev/null
    for state in dead parked pending sending; do reten-outbox list --state $state; done 2>/dev/null
    for id in $(reten-outbox list --state parked --json 2>/dev/null | jq .id | head -2); do reten-outbox show "$id"; done
    systemctl --no-pager -l status reten-outbox | head -20
    journalctl --no-pager -u reten-outbox -n 25 -o cat
    exit 1
}
# eventually SECONDS WHAT COMMAND...
eventually() {
    local end=$((SECONDS + $1)) what=$2; shift 2
    until "$@" >/dev/null 2>&1; do [[ $SECONDS -lt $end ]] || fail "not in time: $what"; sleep 0.1; done
}
property() { systemctl show --value -p "$1" reten-outbox; }
status() { reten-outbox status --json | jq -r "$1"; }
is_status() { [[ $(status "$1") = "$2" ]]; }
delivered() { [[ $(curl -s $API/_sandbox/results | jq length) = "$(cat $DROPPED)" ]]; }
settled() { [[ $(status '.counts.pending + .counts.sending') = 0 ]]; }
# The API registers a result once; a second request for it would be a 409, and the submission be parked.
all_delivered_once() {
    eventually "$1" "$(cat $DROPPED) results at the API, each once" delivered
    eventually 10 "nothing pending" settled
    [[ $(status '.counts.dead + .counts.parked') = 0 ]] || fail "something is dead or parked"
}
# Not the numbers of the README's own results.
result() { printf '{"provider_activity_id": "box-%s", "commerce_external_id": "COM-1", "occurred_at": "2026-11-20T15:04:05Z", "status": "EFFECTIVE", "task_result": {"result": "SALE_COMPLETED"}}' "$1"; }
next() { echo $(($(cat $DROPPED) + 1)) >$DROPPED; cat $DROPPED; }
# As whom to drop a file, under which umask.
drop_file() { local n; n=$(next); result "$n" | as "$1" "umask $2; cat >$INBOX/.$n.tmp && mv $INBOX/.$n.tmp $INBOX/$n.json"; }
drop_row() { local n; n=$(next); as "$1" "sqlite3 -cmd '.timeout 5000' $ROWS \"INSERT INTO inbox (payload) VALUES ('$(result "$n" | sed 's/"/\\"/g')')\""; }
as() { runuser -u "$1" -- sh -c "$2"; }
drop_in() { mkdir -p /etc/systemd/system/reten-outbox.service.d; cat >"/etc/systemd/system/reten-outbox.service.d/$1.conf"; systemctl daemon-reload; }
# readme USER TEXT [EXPRESSION]: runs the commands of the README's block that holds TEXT, as they stand there but for what sed changes.
readme() {
    local block
    block=$(awk -v text="$2" '/^```/ { if (inside && index(block, text)) { printf "%s", block; exit } inside = !inside; block = ""; next } inside { block = block $0 "\n" }' \
        /usr/share/doc/reten-outbox/README.md)
    [[ $block ]] || fail "the README has no block with: $2"
    runuser -u "$1" -- bash -euo pipefail -c "$(sed "s/^[#$] //; s/rtn_sk_…/$KEY/; ${3:-}" <<<"$block")" || fail "the README's commands: $block"
}
# Settings of one's own, and the key.
configure() {
    mkdir -p /etc/reten-outbox/conf.d
    printf '[api]\nbase_url = "%s"\n[retry]\nmax_interval = "1s"\n[log]\nsummary_interval = "1s"\n' $API >/etc/reten-outbox/conf.d/10-box.toml
    install -m 600 /dev/stdin /etc/reten-outbox/api-key <<<"$KEY"
}
api_up() {
    # What it knows it keeps in memory: the crash of the machine takes it along, so that only later results count after it.
    systemd-run --quiet --unit=api --property=Restart=no reten-outbox sandbox --listen 127.0.0.1:8088 --api-key "$KEY" --quiet
    eventually 10 "the simulated API" curl -sf $API/_sandbox/stats
}
api() { curl -sf -X POST $API/_sandbox/settings -d "$1" >/dev/null || fail "the simulated API refused $1"; }
new_pid() { [[ $(property MainPID) != "$1" && $(property MainPID) != 0 && $(property ActiveState) = active ]]; }
# upgrade_by COMMAND...: installs the second version while results are pending.
upgrade_by() {
    api '{"down": true}'
    for _ in 1 2 3; do drop_file alice 022; done
    eventually 10 "three taken in" is_status '.counts.pending + .counts.sending' 3
    echo '# mine' >>/etc/reten-outbox/config.toml
    local pid; pid=$(property MainPID)
    "$@" >/box/out/upgrade 2>&1 || { cat /box/out/upgrade; fail "the upgrade"; }
    new_pid "$pid" || fail "the new version does not run"
    tail -1 /etc/reten-outbox/config.toml | grep -q mine || fail "the configuration was overwritten"
    is_status '.counts.pending + .counts.sending' 3 || fail "three are pending after the upgrade"
    api '{"down": false}'
    all_delivered_once 20
    step "upgraded with three pending: the new version delivered them, the edited configuration stayed"
}
