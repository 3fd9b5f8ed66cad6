#!/usr/bin/env bash
# Builds all images with buildah, without a container engine: OCI archives in target/images (or the folder that is named).
# SOURCE_DATE_EPOCH is the commit's time unless it is set: two builds of one commit have the same digests.
#
#   images/build.sh [FOLDER]      build, and print digests and sizes
#   images/build.sh --twice       build the commit twice, in two places and from nothing, and compare the digests
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
# What `cargo test` sets for its tests would make cargo think that crates have changed.
unset CARGO CARGO_MANIFEST_DIR CARGO_MANIFEST_PATH "${!CARGO_PKG_@}" "${!CARGO_BIN_@}" LD_LIBRARY_PATH

if [[ ${1:-} == --twice ]]; then
    [[ -z $(git status --porcelain) ]] || { echo "what is not committed cannot be built twice: commit or stash it" >&2; exit 1; }
    # From the commit, in two other places of different names: nothing that was built before is used, and no path may show.
    for place in one another-place; do
        rm -rf "$root/target/twice/$place"
        git worktree prune
        git worktree add --quiet --detach "$root/target/twice/$place" HEAD
        CARGO_TARGET_DIR=$root/target/twice/$place/target "$root/target/twice/$place/images/build.sh"
        cp "$root/target/twice/$place/target/images/digests" "$root/target/twice/$place.digests"
        git worktree remove --force "$root/target/twice/$place"
    done
    diff "$root/target/twice/one.digests" "$root/target/twice/another-place.digests" && echo "both builds have the same digests"
    exit
fi

out=${1:-$root/target/images}
case $(uname -m) in
    x86_64) arch=amd64 target=x86_64-unknown-linux-musl ;;
    aarch64) arch=arm64 target=aarch64-unknown-linux-musl ;;
    *) echo "images are built on x86_64 or aarch64, not on $(uname -m)" >&2; exit 1 ;;
esac
for tool in buildah musl-gcc cargo-auditable cargo-cyclonedx cargo-about; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: tests/harness/install-packages.sh installs it" >&2; exit 1; }
done

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
# Whole: how short a name may be depends on the clone. What is not committed is told.
revision=$(git rev-parse HEAD)$([[ -z $(git status --porcelain --untracked-files=no) ]] || echo -dirty)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

# The paths of this machine stay out of the binary; panic messages would hold them.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# Each by itself: built together, each would get what the other one asks of their dependencies.
for package in action-runner execution-controller; do
    ACTION_RUNNER_REVISION=$revision \
        RUSTFLAGS="--remap-path-prefix=$root=/src --remap-path-prefix=$cargo_home=/cargo" \
        cargo auditable build --quiet --release --locked --package "$package" --target "$target"
done
binaries=${CARGO_TARGET_DIR:-$root/target}/$target/release
# Without it a scanner sees nothing in a stripped static binary.
for binary in action-runner execution-controller; do
    readelf --sections --wide "$binaries/$binary" | grep -q '\.dep-v0' || { echo "the list of crates is not in $binary" >&2; exit 1; }
done

context=$out/context
rm -rf "$context"
mkdir -p "$context/$arch" "$context/files/licences" "$context/controller/licences"
cp "$binaries/action-runner" "$binaries/execution-controller" "$context/$arch"
cargo run --quiet --locked --package image-files -- "$context"
cp LICENSE "$context/files/licences/LICENSE"
# The crates' own licence files are what counts, nothing is asked of a licence service; cargo wants the crates of every platform.
# It takes most of a minute, so what came of it is kept until the dependencies change.
licences=$out/licences-$(cat Cargo.lock images/about.toml images/about.hbs | sha256sum | cut -c1-16)
if [[ ! -d $licences ]]; then
    rm -rf "$out"/licences-*
    cargo fetch --quiet --locked
    mkdir "$licences.new"
    about() { cargo about generate --offline --locked --fail --manifest-path "$1" --config images/about.toml images/about.hbs -o "$licences.new/$2"; }
    about Cargo.toml runner
    about controller/Cargo.toml controller
    mv "$licences.new" "$licences"
fi
cp "$licences/runner" "$context/files/licences/THIRD-PARTY"
cp "$licences/controller" "$context/controller/licences/THIRD-PARTY"
roots=$(sed -n '/^name = "webpki-root-certs"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
cp "$cargo_home"/registry/src/*/webpki-root-certs-"$roots"/LICENSE "$context/files/licences/CA-ROOTS"
cp images/LICENCE-musl "$context/files/licences/MUSL"
chmod 0444 "$context"/{files,controller}/licences/*
find "$context/files" "$context/controller" -type d -exec chmod 0755 {} +

cargo cyclonedx --quiet --format json --target "$target" --no-build-deps --manifest-path Cargo.toml --override-filename sbom
mv sbom.json "$out/action-runner-$arch.cdx.json"
mv controller/sbom.json "$out/execution-controller-$arch.cdx.json"
# One for each member of the workspace.
rm -f {actions,contract,controller/receiver,images,tests/harness,tests/fuzz}/sbom.json

# A storage of its own: nothing of the machine's images is touched, and none of its layers is used.
storage=$(mktemp -d)
trap 'buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs rm --all >/dev/null 2>&1; rm -rf "$storage"' EXIT
bud() { buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"; }
created=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
: >"$out/digests"
mapfile -t images < <(sed -n '/ AS base$/d; s/^FROM [a-z]* AS \(.*\)$/\1/p' images/Containerfile)
for image in "${images[@]}"; do
    bud build --quiet --layers --isolation chroot --identity-label=false --timestamp "$SOURCE_DATE_EPOCH" \
        --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg CREATED="$created" --build-arg TARGETARCH="$arch" \
        --build-arg SOURCE="${SOURCE:-unknown}" \
        --target "$image" --tag "$image:$version" --file images/Containerfile "$context" >/dev/null
    bud push --quiet --digestfile "$storage/digest" "$image:$version" "oci-archive:$out/$image.tar:docker.io/library/$image:$version"
    printf '%s %s\n' "$(cat "$storage/digest")" "$image" >>"$out/digests"
    printf '%-20s %s  %s bytes compressed\n' "$image" "$(cat "$storage/digest")" "$(stat --format %s "$out/$image.tar")"
done
