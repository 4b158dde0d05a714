# shellcheck shell=bash disable=SC2154
# What a purge of the package keeps, and says. Sourced by deb.sh.

# Before the first start, when there is no outbox to ask: what a producer dropped counts.
never_started() {
    usermod -aG reten-submit alice
    drop_file alice 022
    echo 0 >$DROPPED
    dpkg --purge reten-outbox >/box/out/purge0 2>&1 || { cat /box/out/purge0; fail "purge before the first start"; }
    grep -q 'NOT deleted.*1 waiting_files' /box/out/purge0 || { cat /box/out/purge0; fail "purge before the first start said nothing of a file"; }
    [[ -e $INBOX/1.json ]] || fail "purge deleted a file that was never taken"
    rm $INBOX/1.json
    dpkg -i /box/v1.deb >/dev/null 2>&1 || fail "the installation after the first purge"
    [[ ! -e /var/lib/reten-outbox.left ]] || fail "an installation leaves the last removal's note"
    dpkg -r reten-outbox >/dev/null 2>&1 || fail "the first removal"
    # A file that is moved here brings its time along.
    result 1 >/var/tmp/old.json
    touch -d 2020-01-01 /var/tmp/old.json
    mv /var/tmp/old.json $INBOX/old.json
    dpkg --purge reten-outbox >/box/out/purge0 2>&1 || fail "purge behind a removal"
    grep -q 'NOT deleted.*1 files in' /box/out/purge0 || { cat /box/out/purge0; fail "purge said nothing of a file that came after the removal"; }
    [[ -e $INBOX/old.json ]] || fail "purge deleted a file that came after the removal"
    rm $INBOX/old.json
    dpkg -i /box/v1.deb >/dev/null 2>&1 || fail "the installation after the second purge"
    dpkg --purge reten-outbox >/box/out/purge0 2>&1 || fail "purge of nothing"
    [[ ! -e $OUTBOX && ! -e /var/spool/reten-outbox ]] || { cat /box/out/purge0; fail "purge before the first start left empty directories"; }
    step "purged before the first start: a file dropped, or moved here after the removal, is kept, and said; else all is gone"
}

# kept WHAT PATTERN: a purge that must delete nothing and say why; then the package is there again.
kept() {
    dpkg --purge reten-outbox >/box/out/kept 2>&1 || { cat /box/out/kept; fail "purge with $1"; }
    grep -q "NOT deleted.*$2" /box/out/kept || { cat /box/out/kept; fail "purge with $1 did not say: $2"; }
    [[ -e $OUTBOX && -e $INBOX ]] || fail "purge with $1 deleted"
    dpkg -i /box/v2.deb >/box/out/again 2>&1 || fail "the installation after a purge with $1"
}

untouched() {
    [[ $(cat /srv/victim) = kept && $(stat -c '%U %a' /srv/victim) = 'root 644' && $(cat /srv/precious/file) = kept ]] || fail "the packages' scripts went through a link"
}

purges() {
    local other=/srv/other dropped; dropped=$(cat $DROPPED)
    dpkg -i /box/v2.deb >/dev/null 2>&1 || fail "the third installation"
    configure
    # An outbox that is configured elsewhere, and a row inbox that nobody looked into for it.
    install -d -o reten-outbox -g reten-outbox $other
    printf '[outbox]\ndatabase = "%s/outbox.db"\n' $other >/etc/reten-outbox/conf.d/20-other.toml
    result elsewhere | reten-outbox enqueue >/dev/null || fail "enqueue into another outbox"
    [[ -e $other/outbox.db ]] || fail "the outbox is not where it is configured"
    kept "an outbox elsewhere" '1 pending, where the configuration says'
    # The other way round: the rest of an earlier configuration in the usual place.
    rm /etc/reten-outbox/conf.d/20-other.toml
    configure
    result usual | reten-outbox enqueue >/dev/null || fail "enqueue into the usual outbox"
    printf '[outbox]\ndatabase = "%s/outbox.db"\n' $other/new >/etc/reten-outbox/conf.d/20-other.toml
    install -d -o reten-outbox -g reten-outbox $other/new
    kept "a rest in the usual place" '1 pending, in the usual places'
    rm -f $OUTBOX/outbox.db* /etc/reten-outbox/conf.d/20-other.toml
    configure
    echo 'no results' | as reten-outbox "cat >$INBOX/rejected/bad.json"
    kept "a rejected file" '1 rejected_files'
    rm $INBOX/rejected/bad.json
    configure
    systemctl start reten-outbox || fail "start for a row"
    systemctl stop reten-outbox
    drop_row alice
    kept "a row" '1 waiting_rows'
    sqlite3 $ROWS 'DELETE FROM inbox'
    as reten-outbox "touch $OUTBOX/backup.db"
    kept "a backup beside the outbox" '1 files beside the outbox'
    rm $OUTBOX/backup.db
    dpkg -r reten-outbox >/dev/null 2>&1 || fail "remove before a row"
    drop_row alice
    dpkg --purge reten-outbox >/box/out/kept 2>&1
    grep -q 'NOT deleted.*rows that came after' /box/out/kept || { cat /box/out/kept; fail "purge with a row that came after the removal"; }
    dpkg -i /box/v2.deb >/dev/null 2>&1; sqlite3 $ROWS 'DELETE FROM inbox'
    step "purge keeps, and says: an outbox elsewhere, a rest in the usual place, rejected files, rows, backups, what came after the removal"

    # What the daemon's user or a producer may have left in its directories leads nowhere: root neither writes nor deletes through it.
    mkdir /srv/precious; echo kept >/srv/precious/file; echo kept >/srv/victim; chmod 644 /srv/victim
    as reten-outbox "ln -s /srv/victim $OUTBOX/left-at-removal; ln -s /srv/precious $OUTBOX/dir; rm -rf $INBOX/rejected; ln -s /srv/precious $INBOX/rejected"
    as alice "ln -s /srv/precious $INBOX/link; ln -s /srv/victim /var/spool/reten-outbox/db/inbox.db-x"
    dpkg --purge reten-outbox >/box/out/links 2>&1 || { cat /box/out/links; fail "purge with links"; }
    untouched
    # The same without the one that stands for rejected files, so that all is deleted.
    rm $INBOX/rejected
    dpkg -i /box/v2.deb >/dev/null 2>&1 || fail "the last installation"
    [[ -L $OUTBOX/dir && -L $INBOX/link ]] || fail "the links are gone before the purge"
    dpkg --purge reten-outbox >/box/out/links 2>&1 || { cat /box/out/links; fail "purge with links"; }
    [[ ! -e $OUTBOX && ! -e /var/spool/reten-outbox ]] || { cat /box/out/links; fail "purge left something beside links"; }
    untouched
    rm -rf /etc/reten-outbox $other
    echo "$dropped" >$DROPPED
    step "purge with links in the daemon's directories: nothing behind them was touched"
}
