#!/usr/bin/env bash
# Installs what the images, the real node and the database of the tests need, on Debian or Ubuntu, as root: packages, a Rust
# target, and three cargo tools. What is there already is left alone.
set -euo pipefail

packages=(runc containernetworking-plugins nftables iproute2 util-linux procps buildah podman musl-tools postgresql)
missing=()
for package in "${packages[@]}"; do
    dpkg --status "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing+=("$package")
done
if [[ ${#missing[@]} -gt 0 ]]; then
    echo "installing ${missing[*]}"
    # PostgreSQL's package would make a database and start it; tests make their own.
    no_cluster=/etc/postgresql-common/createcluster.d/action-runner-tests.conf
    mkdir -p "${no_cluster%/*}"
    echo 'create_main_cluster = false' >"$no_cluster"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    rm "$no_cluster"
fi

cd "$(dirname "$0")/../.."
rustup target add --toolchain "$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)" "$(uname -m)-unknown-linux-musl" 2>/dev/null

install() {
    # Where a tool is there, in whatever version, it does.
    command -v "$1" >/dev/null || { echo "installing $*"; cargo install --locked --quiet "$1@$2" "${@:3}"; }
}
install cargo-auditable 0.7.7
install cargo-cyclonedx 0.5.9
install cargo-about 0.9.3 --features cli
