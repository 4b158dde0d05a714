#!/bin/bash
# Builds target/debian/reten-outbox_*.deb, and with --rpm target/generate-rpm/*.rpm, the same bytes from the same sources wherever they lie.
#
#   systemd/package.sh [--profile PROFILE] [--revision N] [--rpm]
#
# Needs cargo-deb (and cargo-generate-rpm for --rpm), from `cargo install --locked cargo-deb cargo-generate-rpm`.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=release revision=1 rpm=''
while [[ $# -gt 0 ]]; do case $1 in
    --profile) profile=$2; shift 2;;
    --revision) revision=$2; shift 2;;
    --rpm) rpm=1; shift;;
    *) sed -n '2,/^set /{/^#/!d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2;;
esac; done

# What would differ from one builder to the next: times, and the places of the sources, which stand in every backtrace.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}
export LC_ALL=C.UTF-8
umask 022
if [[ $profile = release ]]; then
    export SOURCE_DATE_EPOCH=$epoch
    home=${CARGO_HOME:-$HOME/.cargo}
    export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=/src --remap-path-prefix=$home=/cargo"
    export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$PWD=/src -ffile-prefix-map=$home=/cargo"
fi
# Where the assets of Cargo.toml are looked for.
export CARGO_TARGET_DIR=$PWD/target

cargo build --locked --profile "$profile" --bin reten-outbox
binary=target/${profile/#dev/debug}/reten-outbox

# Pages and completions come from the program itself, so that they say what it does.
made=target/package
rm -rf "$made"
mkdir -p "$made/man8" "$made/man5" "$made/completions"
"$binary" man --dir "$made"
mv "$made"/*.8 "$made/man8/"
mv "$made"/*.5 "$made/man5/"
# As root, too, nothing of this needs a configuration.
"$binary" completions bash >"$made/completions/reten-outbox.bash"
"$binary" completions zsh >"$made/completions/_reten-outbox"
"$binary" completions fish >"$made/completions/reten-outbox.fish"

compression=()
[[ $profile = release ]] || compression=(--fast)
export SOURCE_DATE_EPOCH=$epoch
cargo deb --locked --no-build --profile "$profile" --deb-revision "$revision" "${compression[@]}"

if [[ $rpm ]]; then
    gzip -nkf9 "$made"/man?/*
    cargo generate-rpm --profile "$profile" --set-metadata "release = \"$revision\""
fi
