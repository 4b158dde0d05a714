#!/bin/bash
# The rpm's own part: what its scriptlets do at installation, upgrade and removal. v1.rpm and v2.rpm lie beside it. The machine is a Debian
# that gets rpm from its archive, so that dependencies are not looked for.
source /box/lib.sh

get_rpm() {
    { apt-get update && apt-get install --yes --no-install-recommends rpm; } >/box/out/apt 2>&1 || { tail /box/out/apt; fail "no rpm to be had"; }
    step "$(rpm --version)"
}

install_it() {
    rpm --install --nodeps /box/v1.rpm >/box/out/install 2>&1 || { cat /box/out/install; fail "the installation"; }
    grep -q 'put the API key into' /box/out/install || { cat /box/out/install; fail "the installation does not say what to do next"; }
    [[ $(systemctl is-active reten-outbox) = inactive ]] || fail "started without a key"
    [[ $(stat -c '%a %U:%G' $INBOX) = '3730 reten-outbox:reten-submit' ]] || fail "$(stat -c '%a %U:%G' $INBOX)"
    [[ $(stat -c '%a %U:%G' $OUTBOX) = '700 reten-outbox:reten-outbox' ]] || fail "$(stat -c '%a %U:%G' $OUTBOX)"
    [[ -e /usr/share/man/man8/reten-outbox.8.gz && -e /usr/share/man/man5/reten-outbox.toml.5.gz ]] || fail "no pages"
    [[ $(rpm -q --configfiles reten-outbox) = /etc/reten-outbox/config.toml ]] || fail "no configuration file"
    # Who is a user of the package must come from the package, or no resolver installs it.
    for what in 'user(reten-outbox)' 'group(reten-submit)'; do
        rpm -q --provides reten-outbox | grep -qF "$what" || fail "$what is required and not provided"
    done
    rpm --verify --nodeps reten-outbox || fail "what is installed is not what was packed"
    step "installed, nothing started without a key"
}

start() {
    usermod -aG reten-submit alice
    configure
    api_up
    systemctl enable --now --quiet reten-outbox || fail "start"
    drop_file alice 022
    drop_row alice
    all_delivered_once 15
    step "started: a file and a row of a producer delivered"
}

upgrade() {
    upgrade_by rpm --upgrade --nodeps /box/v2.rpm
    [[ $(systemctl is-enabled reten-outbox) = enabled ]] || fail "no longer enabled"
}

remove() {
    api '{"down": true}'
    drop_file alice 022
    eventually 10 "one taken in" is_status '.counts.pending + .counts.sending' 1
    rpm --erase --nodeps reten-outbox >/box/out/erase 2>&1 || { cat /box/out/erase; fail "the removal"; }
    grep -q "kept.*$OUTBOX" /box/out/erase || { cat /box/out/erase; fail "the removal said nothing of what is left"; }
    [[ -e $OUTBOX/outbox.db ]] || fail "the removal deleted an undelivered result"
    [[ $(systemctl is-active reten-outbox) != active ]] || fail "it still runs"
    rpm --install --nodeps /box/v2.rpm >/box/out/again 2>&1 || { cat /box/out/again; fail "the second installation"; }
    api '{"down": false}'
    systemctl start reten-outbox || fail "start after the second installation"
    all_delivered_once 20
    step "removed with one pending: kept, and said; installed again: delivered"
}

useradd --create-home alice
echo 0 >$DROPPED
get_rpm
install_it
start
upgrade
remove
