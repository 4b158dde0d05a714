#!/bin/bash
# Runs in the machine, as root; v1.deb and v2.deb lie beside it. Each step says what must be true; the first that is not ends it all.
# After the crash of the whole machine it is started again, with BOX_BOOT=2.
source /box/lib.sh
source /box/purges.sh

install_it() {
    dpkg -i /box/v1.deb >/box/out/install 2>&1 || { cat /box/out/install; fail "the installation"; }
    grep -q 'put the API key into' /box/out/install || fail "the installation does not say what to do next"
    [[ $(systemctl is-enabled reten-outbox) = enabled && $(systemctl is-active reten-outbox) = inactive ]] || fail "enabled, and not started"
    [[ $(stat -c '%a %U:%G' $INBOX) = '3730 reten-outbox:reten-submit' ]] || fail "$(stat -c '%a %U:%G' $INBOX)"
    [[ $(stat -c '%a %U:%G' $OUTBOX) = '700 reten-outbox:reten-outbox' ]] || fail "$(stat -c '%a %U:%G' $OUTBOX)"
    [[ -e /usr/share/man/man8/reten-outbox.8.gz && -e /usr/share/man/man5/reten-outbox.toml.5.gz ]] || fail "no pages"
    dpkg-query --showformat='${Conffiles}' --show reten-outbox | grep -q /etc/reten-outbox/config.toml || fail "no conffile"
    step "installed, nothing started without a key"
}

score() { systemd-analyze security --offline=yes --no-pager "$@" | sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p'; }
harden() {
    systemd-analyze verify $UNIT /usr/lib/systemd/system/reten-outbox{@acme,-tenant@acme,-check,-metrics}.service /usr/lib/systemd/system/reten-outbox-{check,metrics}.timer || fail "verify"
    systemd-analyze security --offline=yes --no-pager --threshold=11 $UNIT >/box/out/security || fail "exposure $(score $UNIT)"
    local plain; plain=$(score $UNIT)
    install -D -m 644 "$UNIT.d/ip-allow-list.conf.example" /etc/systemd/system/reten-outbox.service.d/ip.conf
    local listed; listed=$(score $UNIT)
    systemd-analyze security --offline=yes --no-pager --threshold=9 $UNIT >/dev/null || fail "with an allow-list: $listed"
    rm /etc/systemd/system/reten-outbox.service.d/ip.conf
    step "systemd $SYSTEMD: verify clean, exposure $plain, with an allow-list $listed"
}

start() {
    systemctl start reten-outbox 2>/dev/null && fail "started without a key"
    [[ $(property ExecMainStatus) = 78 && $(property NRestarts) = 0 && $(property ActiveState) = failed ]] || fail "without a key: $(property ExecMainStatus)"
    journalctl -u reten-outbox -p err -o cat | grep -q 'there is no API key: put it into /etc/reten-outbox/api-key' || fail "no word of the key"
    sleep 6 # Longer than RestartSec.
    [[ $(property ActiveState) = failed ]] || fail "restarted, though only a person can mend it"
    step "without a key: exit 78, a clear word, no restart"

    configure
    api_up
    rm /etc/reten-outbox/api-key
    readme root 'systemd/package.sh' '/^cargo\|^systemd\/\|^dpkg/d'
    systemctl is-active --quiet reten-outbox || fail "start"
    step "started as the README says: READY=1"
    eventually 10 "a status line" sh -c 'systemctl show -p StatusText reten-outbox | grep -q "gate open"'
    [[ $(stat -c '%a %U:%G' $ROWS) = '660 reten-outbox:reten-submit' ]] || fail "$ROWS: $(stat -c '%a %U:%G' $ROWS)"
    ps -o args= -C reten-outbox | grep -q "$KEY" && ps -o args= -p "$(property MainPID)" | grep -q "$KEY" && fail "the key on the command line"
    step "status line: $(property StatusText)"
}

drop() {
    for mask in 000 022 077; do drop_file alice $mask || fail "alice drops a file, umask $mask"; done
    drop_row alice || fail "alice inserts a row"
    as bob "umask 077; cp /box/copied.json $INBOX/copied.json" || fail "bob copies a file"; next >/dev/null
    readme alice 'cat > /var/spool'; next >/dev/null
    readme alice 'INSERT INTO inbox'; next >/dev/null
    all_delivered_once 15
    step "files of any umask, a copy and a row of two producers, the README's file and row: delivered"

    as mallory "echo '{}' >$INBOX/x.json" 2>/dev/null && fail "mallory dropped a file"
    as mallory "sqlite3 $ROWS 'INSERT INTO inbox (payload) VALUES (1)'" 2>/dev/null && fail "mallory inserted a row"
    as alice "ls $INBOX" 2>/dev/null && fail "alice can list the inbox"
    as alice "ls $OUTBOX" 2>/dev/null && fail "alice can see the outbox"
    as alice "umask 000; echo x >$INBOX/.secret.tmp"
    as bob "cat $INBOX/.secret.tmp" 2>/dev/null && fail "bob can read alice's file"
    as bob "rm -f $INBOX/.secret.tmp" 2>/dev/null && fail "bob can remove alice's file"
    as bob "mv $INBOX/.secret.tmp $INBOX/mine.json" 2>/dev/null && fail "bob can rename alice's file"
    as alice "rm $INBOX/.secret.tmp" || fail "alice cannot remove her own file"
    step "refused: who is not in the group; and producers among themselves"

    local n; n=$(next)
    result "$n" | as alice "umask 077; cat >/tmp/$n.json; install -m 600 /tmp/$n.json $INBOX/$n.json; rm /tmp/$n.json"
    eventually 10 "a word of the unreadable file" sh -c "journalctl -u reten-outbox -o json | grep -q file_left"
    [[ $(journalctl -u reten-outbox -o cat | grep -c "file_left") -le 1 ]] || fail "said more than once"
    as alice "chmod g+rw $INBOX/$n.json"
    all_delivered_once 20
    step "a file of mode 0600: left, said once, taken after chmod g+rw"
}

reload() {
    local pid; pid=$(property MainPID)
    echo '[delivery]
max_in_flight = 4' >/etc/reten-outbox/conf.d/20-reload.toml
    systemctl reload reten-outbox || fail "a good reload"
    eventually 10 "reloaded in the log" sh -c "journalctl -u reten-outbox -o cat | grep -q 'configuration, and the same API key'"
    echo '[delivery]
max_in_flihgt = 4' >/etc/reten-outbox/conf.d/20-reload.toml
    systemctl reload reten-outbox 2>/dev/null && fail "a wrong configuration did not fail the reload"
    journalctl -u reten-outbox -o cat | grep -q 'max_in_flihgt.*max_in_flight' || fail "the nearest key is not named"
    [[ $(property MainPID) = "$pid" && $(property ActiveState) = active ]] || fail "the daemon did not go on"
    rm /etc/reten-outbox/conf.d/20-reload.toml
    drop_file alice 022
    all_delivered_once 10
    step "reload: a good one in force, a wrong one refused, the daemon untouched"

    if [[ $SYSTEMD -ge 253 ]]; then
        install -m 644 "$UNIT.d/notify-reload.conf.example" /etc/systemd/system/reten-outbox.service.d/notify-reload.conf
        systemctl daemon-reload; systemctl restart reten-outbox
        systemctl reload reten-outbox || fail "notify-reload: a good one"
        echo '[delivery]
max_in_flihgt = 4' >/etc/reten-outbox/conf.d/20-reload.toml
        systemctl reload reten-outbox 2>/dev/null && fail "notify-reload: a wrong configuration did not fail the reload"
        [[ $(property ActiveState) = active ]] || fail "notify-reload: the daemon did not go on"
        rm /etc/reten-outbox/conf.d/20-reload.toml /etc/systemd/system/reten-outbox.service.d/notify-reload.conf
        systemctl daemon-reload; systemctl restart reten-outbox
        step "the same with Type=notify-reload"
    fi
}

mounts() {
    # A disk that is not there, in the place of the inbox.
    local unit; unit=$(systemd-escape --path --suffix=mount /var/spool/reten-outbox)
    printf '[Mount]\nWhat=nowhere\nWhere=/var/spool/reten-outbox\nType=nosuchfs\n' >"/etc/systemd/system/$unit"
    systemctl stop reten-outbox
    systemctl daemon-reload
    systemctl start reten-outbox 2>/dev/null && fail "started without its disk"
    rm "/etc/systemd/system/$unit"
    systemctl daemon-reload; systemctl reset-failed
    systemctl start reten-outbox || fail "start when the disk is no mount any more"
    step "the inbox's disk is not mounted: not started"

    local example=$UNIT.d/other-directories.conf.example n; n=$(next)
    sed -n 's/^#   //p' "$example" | bash -euo pipefail || fail "the example's commands: $example"
    result "$n" | as alice "cat >/srv/reten/spool/inbox/.$n.tmp && mv /srv/reten/spool/inbox/.$n.tmp /srv/reten/spool/inbox/$n.json" || fail "alice drops a file elsewhere"
    all_delivered_once 15
    systemctl start reten-outbox-check || fail "the check of directories elsewhere"
    rm /etc/reten-outbox/conf.d/20-directories.toml /etc/systemd/system/reten-outbox{,-check}.service.d/other-directories.conf
    systemctl daemon-reload; systemctl restart reten-outbox
    step "inbox and outbox elsewhere, by the example's own commands: delivered"
}

rotate() {
    api '{"api_key": "rtn_sk_rotated"}'
    drop_file alice 022
    eventually 10 "a closed gate" is_status .gate unauthorized
    systemctl is-active --quiet reten-outbox || fail "a bad key ended the daemon"
    install -m 600 /dev/stdin /etc/reten-outbox/api-key <<<rtn_sk_rotated
    eventually 15 "a word of the key that is not in force" sh -c "journalctl -u reten-outbox -o cat | grep -q 'api-key changed, but the key in force'"
    reten-outbox resume >/box/out/resume
    grep -q 'still holds the key of its start.*systemctl restart reten-outbox`' /box/out/resume || { cat /box/out/resume; fail "resume says nothing of the old key"; }
    grep -q rtn_sk /box/out/resume && fail "resume shows a key"
    status .gate_hint | grep -q 'a good key in place, then `systemctl restart reten-outbox`' || fail "status tells another way: $(status .gate_hint)"
    is_status .gate unauthorized || fail "a new key in place is in force before the restart"
    readme root 'systemctl restart reten-outbox' "s/$KEY/rtn_sk_rotated/"
    all_delivered_once 15
    reten-outbox resume | grep -q holds && fail "resume speaks of an old key behind the restart"
    step "key rotated by LoadCredential and a restart, as the README says: what it cost was put back and delivered"

    install -m 644 "$UNIT.d/key-file.conf.example" /etc/systemd/system/reten-outbox.service.d/key-file.conf
    chown root:reten-outbox /etc/reten-outbox/api-key; chmod 640 /etc/reten-outbox/api-key
    systemctl daemon-reload; systemctl restart reten-outbox
    api "{\"api_key\": \"$KEY\"}"
    drop_file alice 022
    eventually 10 "a closed gate" is_status .gate unauthorized
    echo "$KEY" >/etc/reten-outbox/api-key
    all_delivered_once 15
    step "key rotated in key_file, without a restart"

    systemd-creds setup >/dev/null 2>&1
    printf %s "$KEY" | systemd-creds encrypt --name=api-key --with-key=host - /etc/reten-outbox/api-key.cred 2>/dev/null || fail "systemd-creds"
    rm /etc/reten-outbox/api-key /etc/systemd/system/reten-outbox.service.d/key-file.conf
    install -m 644 "$UNIT.d/encrypted-key.conf.example" /etc/systemd/system/reten-outbox.service.d/encrypted-key.conf
    systemctl daemon-reload; systemctl restart reten-outbox || fail "start with an encrypted key"
    drop_file alice 022
    all_delivered_once 15
    api '{"api_key": "rtn_sk_another"}'
    printf rtn_sk_another | systemd-creds encrypt --name=api-key --with-key=host - /etc/reten-outbox/api-key.cred 2>/dev/null || fail "systemd-creds"
    systemctl restart reten-outbox || fail "start with another encrypted key"
    drop_file alice 022
    all_delivered_once 15
    api "{\"api_key\": \"$KEY\"}"
    rm /etc/systemd/system/reten-outbox.service.d/encrypted-key.conf
    install -m 600 /dev/stdin /etc/reten-outbox/api-key <<<"$KEY"
    systemctl daemon-reload; systemctl restart reten-outbox
    step "key from LoadCredentialEncrypted, and rotated there"
}

hang() {
    # As in the shipped unit, but sooner.
    drop_in watchdog <<<'[Service]
WatchdogSec=12s
RestartSec=100ms'
    systemctl restart reten-outbox
    local pid; pid=$(property MainPID)
    sleep 14
    [[ $(property MainPID) = "$pid" && $(property NRestarts) = 0 ]] || fail "the watchdog bit an idle daemon"
    step "idle for longer than WatchdogSec: not restarted"
    kill -STOP "$pid"
    drop_file alice 022
    eventually 30 "a restart by the watchdog" new_pid "$pid"
    journalctl -u reten-outbox -o cat | grep -q 'Watchdog timeout' || fail "not by the watchdog"
    all_delivered_once 15
    step "hung: restarted by the watchdog (WatchdogSec=12s), the drop of that time delivered"
}

kill_9() {
    api '{"down": true}'
    for _ in 1 2 3 4 5 6 7 8 9 10; do drop_file alice 022; done
    eventually 10 "ten taken in" is_status '.counts.pending + .counts.sending' 10
    local pid; pid=$(property MainPID)
    kill -9 "$pid"
    eventually 10 "a restart" new_pid "$pid"
    api '{"down": false}'
    all_delivered_once 20
    step "kill -9 with ten pending: restarted, each delivered once"
}

journald() {
    local pid restarts n=$1 began=$SECONDS; pid=$(pidof systemd-journald); restarts=$(property NRestarts)
    kill -STOP "$pid"
    # A line a result and more: far beyond the buffer and the socket.
    local first; first=$(($(cat $DROPPED) + 1))
    for i in $(seq "$first" $((first + n - 1))); do result "$i"; echo; done >/tmp/many.ndjson
    echo $((first + n - 1)) >$DROPPED
    cp /tmp/many.ndjson $INBOX/many.ndjson
    all_delivered_once 120
    # A minute in all: five times WatchdogSec.
    while [[ $((SECONDS - began)) -lt 60 ]]; do drop_file alice 022; sleep 0.5; done
    all_delivered_once 10
    [[ $(property NRestarts) = "$restarts" ]] || fail "the watchdog bit while the journal stood still"
    kill -CONT "$pid"
    eventually 20 "the count of lost lines" sh -c "journalctl -u reten-outbox RETEN_EVENT=lines_lost -o cat | grep -q ."
    step "journald stopped for $((SECONDS - began)) s: $(($(cat $DROPPED) - first + 1)) delivered meanwhile, lost lines told: $(journalctl -u reten-outbox RETEN_EVENT=lines_lost -o json | jq -r .RETEN_COUNT | jq -s add)"
}

fields() {
    local entry; entry=$(journalctl -u reten-outbox RETEN_EVENT=delivered -o json -n 1)
    [[ $(jq -r '.SYSLOG_IDENTIFIER + " " + .PRIORITY + " " + .RETEN_STATUS' <<<"$entry") = 'reten-outbox 6 201' ]] || fail "fields: $entry"
    journalctl -u reten-outbox -p err RETEN_EVENT=reload_failed -o cat | grep -q . || journalctl -u reten-outbox -p err RETEN_EVENT=file_left -o cat | grep -q . || fail "no error has priority err"
    journalctl -u reten-outbox -o cat --no-pager | grep -q "$KEY" && fail "the key is in the journal"
    readme root 'RETEN_SUBMISSION=4711' 's/4711/1/; s/^\(.* -f\) .*/timeout 1 \1 || [[ $? = 124 ]]/' >/box/out/watch
    grep -q 'submission=1 .*status=201' /box/out/watch || fail "the README's journalctl lines show nothing of submission 1"
    readme root 'list --state dead  ' 's/4711/1/; /^reten-outbox top/d' >/box/out/night
    grep -q 'gate.*open' /box/out/night || fail "the README's lines for 3 a.m. show no gate"
    step "journal: native fields, priorities, identifier, no key; what the README has an operator type works"
}

crash() {
    api '{"down": true}'
    for _ in 1 2 3 4 5; do drop_file alice 022; done
    drop_row alice
    eventually 10 "six taken in" is_status '.counts.pending + .counts.sending' 6
    step "crash of the whole machine with six pending"
    echo 6 >$DROPPED
    # A box-crash kills by cgroup.kill, after which Linux kills what a systemd from 254 on starts by clone3 into a new cgroup. So there the
    # kernel is asked to reboot on the spot: every process gets SIGKILL as well, and none is asked to stop.
    [[ $SYSTEMD -lt 254 ]] && exec box-crash
    : >/run/box/again
    systemctl reboot -ff
    exec sleep infinity
}

after_crash() {
    eventually 20 "active after the boot" systemctl is-active --quiet reten-outbox
    is_status '.counts.pending + .counts.sending' 6 || fail "six are pending after the crash: $(status .counts)"
    api_up
    all_delivered_once 20
    step "after the crash: started by itself, all six delivered"
}

upgrade() { upgrade_by dpkg -i /box/v2.deb; }

backup() {
    api '{"down": true}'
    for _ in 1 2; do drop_file alice 022; done
    eventually 10 "two taken in" is_status '.counts.pending + .counts.sending' 2
    readme root 'reten-outbox backup'
    readme root 'reten-outbox restore' 's/2026-11-24/$(date +%F)/'
    is_status '.counts.pending + .counts.sending' 2 || fail "two are pending in the backup"
    ls $OUTBOX/outbox.db.replaced-* >/dev/null || fail "the restore kept nothing aside"
    # A purge would not delete it.
    rm $OUTBOX/outbox.db.replaced-*
    api '{"down": false}'
    all_delivered_once 20
    step "backed up while running, restored: two pending delivered"
}

tenants() {
    for tenant in acme beta; do
        readme root 'reten-outbox-tenant@acme' "s/acme/$tenant/g" >"/box/out/tenant-$tenant" 2>&1
        printf '[api]\nbase_url = "%s"\n' $API >"/etc/reten-outbox@$tenant/conf.d/10-box.toml"
        chmod 644 "/etc/reten-outbox@$tenant/conf.d/10-box.toml"
        systemctl restart "reten-outbox@$tenant" || fail "tenant $tenant"
    done
    gpasswd --delete alice reten-submit-beta >/dev/null
    local n; n=$(next)
    result "$n" | as alice "cat >/var/spool/reten-outbox@acme/inbox/$n.json" || fail "alice drops for acme"
    as alice "touch /var/spool/reten-outbox@beta/inbox/x.json" 2>/dev/null && fail "alice drops for beta, too"
    eventually 15 "the tenant's result" delivered
    for place in /etc /var/lib /var/spool; do
        as reten-outbox-acme "ls $place/reten-outbox@beta" 2>/dev/null && fail "acme sees $place/reten-outbox@beta"
        as reten-outbox "ls $place/reten-outbox@acme" 2>/dev/null && fail "the main one sees $place/reten-outbox@acme"
    done
    [[ $(reten-outbox --config /etc/reten-outbox@acme/config.toml status --json | jq .counts.delivered) = 1 ]] || fail "acme's status"
    systemctl stop reten-outbox@acme reten-outbox@beta
    step "two tenants: each delivers its own, none sees the other's"
}

no_systemd() {
    local dir=/var/tmp/plain n; n=$(next)
    install -d -o alice -g alice $dir $dir/inbox $dir/db
    printf '[api]\nbase_url = "%s"\n[inbox]\ndir = "%s/inbox"\ndatabase = "%s/db/inbox.db"\n' $API $dir $dir >$dir/config.toml
    # As the first process of its own world, as in a container; no init, no journal, no socket to notify.
    unshare --pid --fork --mount-proc setpriv --reuid alice --regid alice --clear-groups \
        env -i HOME=/home/alice CONFIGURATION_DIRECTORY=$dir STATE_DIRECTORY=$dir RETEN_API_KEY="$KEY" reten-outbox run 2>$dir/log &
    local outer=$! inner
    result "$n" | as alice "cat >$dir/inbox/$n.json"
    eventually 15 "delivered without systemd: $(cat $dir/log)" delivered
    [[ -e $dir/outbox.db ]] || fail "STATE_DIRECTORY was not honoured"
    inner=$(pgrep -P $outer)
    kill -TERM "$inner"
    wait $outer || fail "SIGTERM to process 1: exit $?"
    [[ $(jq -r .event $dir/log | tail -1) = stopped ]] || { cat $dir/log; fail "no JSON on standard error"; }
    step "without systemd, as process 1: delivered, ended by SIGTERM, JSON on standard error"
}

check_timer() {
    systemctl start reten-outbox-check || fail "the check of a healthy queue"
    reten-outbox pause >/dev/null
    systemctl start reten-outbox-check 2>/dev/null && fail "the check of a paused queue"
    journalctl -u reten-outbox-check -o cat | grep -q paused || fail "no reason"
    reten-outbox resume >/dev/null
    systemctl enable --now --quiet reten-outbox-check.timer
    step "the check: quiet when well, fails with a reason when not"
}

metrics() {
    systemctl start reten-outbox-metrics || fail "metrics where no node exporter is"
    # As its package makes it: neither root's nor ours.
    install -d -o nobody -m 755 /var/lib/prometheus/node-exporter
    systemctl start reten-outbox-metrics || { journalctl -u reten-outbox-metrics -o cat; fail "metrics"; }
    local written=/var/lib/prometheus/node-exporter/reten-outbox.prom
    grep -q '^reten_outbox_up 1$' $written || { cat $written; fail "what the metrics say"; }
    runuser -u nobody -- test -r $written || fail "who collects the metrics cannot read them"
    [[ $(find /var/lib/reten-outbox ! -user reten-outbox | wc -l) = 0 ]] || fail "the metrics left root's files in the outbox"
    systemctl enable --now --quiet reten-outbox-metrics.timer
    step "metrics: written as a whole where the collector looks, and readable for it"
}

remove() {
    api '{"down": true}'
    drop_file alice 022
    eventually 10 "one taken in" is_status '.counts.pending + .counts.sending' 1
    dpkg --purge reten-outbox >/box/out/purge 2>&1 || { cat /box/out/purge; fail "purge"; }
    grep -q 'NOT deleted.*1 pending' /box/out/purge || { cat /box/out/purge; fail "purge said nothing of what is left"; }
    [[ -e $OUTBOX/outbox.db ]] || fail "purge deleted an undelivered result"
    [[ ! -e /etc/reten-outbox/api-key ]] || fail "purge left the key"
    step "purged with one pending: kept, and said"

    dpkg -i /box/v2.deb >/box/out/again 2>&1 || fail "the second installation"
    configure
    api '{"down": false}'
    systemctl start reten-outbox || fail "start after the second installation"
    all_delivered_once 20
    rm -r /etc/reten-outbox/conf.d
    cp /usr/bin/reten-outbox /usr/local/bin/
    dpkg -r reten-outbox >/box/out/remove 2>&1 || fail "remove"
    [[ -e $OUTBOX/outbox.db && -e /etc/reten-outbox/config.toml ]] || fail "remove deleted too much"
    dpkg --purge reten-outbox >/box/out/purge2 2>&1 || fail "the second purge"
    [[ ! -e $OUTBOX && ! -e /var/spool/reten-outbox && ! -e /etc/reten-outbox ]] || { cat /box/out/purge2; fail "purge left something"; }
    step "installed again: delivered; removed: kept; purged with nothing undelivered: gone"
}

at_home() {
    # The package is gone, and its program has no configuration in the system's place: all of carol's lies at home.
    local home=/home/carol n; n=$(next)
    useradd --create-home carol
    install -D -o carol -g carol -m 600 /dev/stdin $home/.config/reten-outbox/api-key <<<"$KEY"
    printf '[api]\nbase_url = "%s"\n' $API >$home/.config/reten-outbox/config.toml
    as carol "HOME=$home exec /usr/local/bin/reten-outbox run 2>$home/log" &
    local pid=$!
    eventually 10 "an inbox at home" test -d $home/.local/state/reten-outbox/inbox
    result "$n" | as carol "cat >$home/.local/state/reten-outbox/inbox/$n.json"
    eventually 15 "delivered from home: $(cat $home/log)" delivered
    pkill -TERM -u carol -x reten-outbox
    wait $pid || fail "SIGTERM: exit $?"
    step "a plain user, with all of it at home: delivered"
}

if [[ $BOX_BOOT = 1 ]]; then
    echo 0 >$DROPPED
    for user in alice bob mallory; do useradd --create-home "$user"; done
    result copied >/box/copied.json; chmod 644 /box/copied.json
    install_it
    never_started
    install_it
    usermod -aG reten-submit alice; usermod -aG reten-submit bob
    harden
    start
    drop
    fields
    reload
    mounts
    rotate
    hang
    kill_9
    journald 8000
    crash
fi
after_crash
upgrade
backup
tenants
no_systemd
check_timer
metrics
remove
purges
at_home
