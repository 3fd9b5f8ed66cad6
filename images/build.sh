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
        (cd "$root/target/twice/$place/target/images" && cat digests && sha256sum ./*.json) >"$root/target/twice/$place.digests"
        git worktree remove --force "$root/target/twice/$place"
    done
    diff "$root/target/twice/one.digests" "$root/target/twice/another-place.digests" && echo "both builds have the same images, bills of materials and provenance"
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

# Each package's folder, by its binary.
declare -A packages=([action-runner]=. [execution-controller]=controller [audit-receiver]=controller/receiver)

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
# Whole: how short a name may be depends on the clone. What is not committed is told.
revision=$(git rev-parse HEAD)$([[ -z $(git status --porcelain --untracked-files=no) ]] || echo -dirty)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

# The paths of this machine stay out of the binary; panic messages would hold them.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# Each by itself: built together, each would get what the other one asks of their dependencies.
for package in "${!packages[@]}"; do
    ACTION_RUNNER_REVISION=$revision \
        RUSTFLAGS="--remap-path-prefix=$root=/src --remap-path-prefix=$cargo_home=/cargo" \
        cargo auditable build --quiet --release --locked --package "$package" --target "$target"
done
binaries=${CARGO_TARGET_DIR:-$root/target}/$target/release
# Without it a scanner sees nothing in a stripped static binary.
for binary in "${!packages[@]}"; do
    readelf --sections --wide "$binaries/$binary" | grep -q '\.dep-v0' || { echo "the list of crates is not in $binary" >&2; exit 1; }
done

context=$out/context
rm -rf "$context"
mkdir -p "$context/$arch" "$context/files/licences"
cargo run --quiet --locked --package image-files -- context "$context"
cp LICENSE "$context/files/licences/LICENSE"
# The crates' own licence files are what counts, nothing is asked of a licence service; cargo wants the crates of every platform.
# It takes most of a minute, so what came of it is kept until the dependencies change.
licences=$out/licences-$(cat Cargo.lock images/about.toml images/about.hbs | sha256sum | cut -c1-16)
if [[ ! -d $licences ]]; then
    rm -rf "$out"/licences-*
    cargo fetch --quiet --locked
    mkdir "$licences.new"
    for binary in "${!packages[@]}"; do
        cargo about generate --offline --locked --fail --manifest-path "${packages[$binary]}/Cargo.toml" --config images/about.toml \
            images/about.hbs -o "$licences.new/$binary"
    done
    mv "$licences.new" "$licences"
fi
for binary in "${!packages[@]}"; do
    cp "$binaries/$binary" "$context/$arch"
    mkdir -p "$context/of/$binary/licences"
    cp "$licences/$binary" "$context/of/$binary/licences/THIRD-PARTY"
done
roots=$(sed -n '/^name = "webpki-root-certs"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
cp "$cargo_home"/registry/src/*/webpki-root-certs-"$roots"/LICENSE "$context/files/licences/CA-ROOTS"
cp images/LICENCE-musl "$context/files/licences/MUSL"
chmod 0444 "$context"/{files,of/*}/licences/*
find "$context/files" "$context/of" -type d -exec chmod 0755 {} +

# One for each member of the workspace; those that are in no image go.
cargo cyclonedx --quiet --format json --target "$target" --no-build-deps --manifest-path Cargo.toml --override-filename sbom
for binary in "${!packages[@]}"; do
    mv "${packages[$binary]}/sbom.json" "$context/$binary.json"
done
rm -f {actions,contract,images,tests/harness,tests/fuzz}/sbom.json
# Rust links the musl that it brings along, whatever musl-gcc is of: the library itself says which.
rust=$(rustc --version | cut -d' ' -f2)
musl=$(ar p "$(rustc --print sysroot)/lib/rustlib/$target/lib/self-contained/libc.a" version.lo | strings | grep -m1 -xE '[0-9]+(\.[0-9]+)+')

# A storage of its own: nothing of the machine's images is touched, and none of its layers is used.
storage=$(mktemp -d)
trap 'buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs rm --all >/dev/null 2>&1; rm -rf "$storage"' EXIT
bud() { buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"; }
created=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
rm -rf "$out"/{digests,*.cdx.json,by-digest} "$out"/provenance-*.json
mkdir "$out/by-digest"
: >"$out/digests"
mapfile -t images < <(sed -n '/ AS base$/d; s/^FROM [a-z]* AS \(.*\)$/\1/p' images/Containerfile)
for image in "${images[@]}"; do
    bud build --quiet --layers --isolation chroot --identity-label=false --timestamp "$SOURCE_DATE_EPOCH" \
        --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg CREATED="$created" --build-arg TARGETARCH="$arch" \
        --build-arg SOURCE="${SOURCE:-unknown}" \
        --target "$image" --tag "$image:$version" --file images/Containerfile "$context" >/dev/null
    bud push --quiet --digestfile "$storage/digest" "$image:$version" "oci-archive:$out/$image.tar:docker.io/library/$image:$version"
    digest=$(cat "$storage/digest")
    binary=$([[ -v packages[$image] ]] && echo "$image" || echo action-runner)
    cargo run --quiet --locked --package image-files -- sbom "$out/$image.tar" --crates "$context/$binary.json" --root "$root" --rust "$rust" --musl "$musl" \
        --ca-roots "$roots" --created "$created" >"$out/$image-$arch.cdx.json"
    printf '%s %s\n' "$digest" "$image" >>"$out/digests"
    printf '%-20s %s  %s bytes compressed\n' "$image" "$digest" "$(stat --format %s "$out/$image.tar")"
done

# What was built from what, and how (SLSA provenance 1.0): the predicate that `cosign attest` takes. The time is the commit's.
cat >"$out/provenance-$arch.json" <<END
{
  "buildDefinition": {
    "buildType": "${SOURCE:-unknown}/images/build.sh",
    "externalParameters": { "source": "${SOURCE:-unknown}", "revision": "$revision", "architecture": "$arch", "SOURCE_DATE_EPOCH": $SOURCE_DATE_EPOCH },
    "internalParameters": { "rust": "$rust", "musl": "$musl", "linker": "$(musl-gcc --version | head -n 1)", "buildah": "$(buildah --version | cut -d' ' -f3)" },
    "resolvedDependencies": [
      { "uri": "git+${SOURCE:-unknown}", "digest": { "gitCommit": "${revision%-dirty}" } },
      { "name": "Cargo.lock", "digest": { "sha256": "$(sha256sum Cargo.lock | cut -c1-64)" } }
    ]
  },
  "runDetails": { "builder": { "id": "${BUILDER:-unknown}" } }
}
END

# For a kustomization: Jobs and the controller with these images and no others, wherever they were pushed to.
{
    printf '# Written by images/build.sh, of %s. A registry goes into newName.\n' "$revision"
    printf 'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages:\n'
    while read -r digest image; do printf -- '- { name: %s, newName: %s, digest: "%s" }\n' "$image" "${REGISTRY:-}$image" "$digest"; done <"$out/digests"
} >"$out/by-digest/kustomization.yaml"
# For the executor's settings, which choose the images of its Jobs.
{
    printf '# Written by images/build.sh, of %s: for settings.yaml.\nimageDigests:\n' "$revision"
    while read -r digest image; do [[ $image != action-* ]] || printf '  %s: "%s"\n' "$image" "$digest"; done <"$out/digests"
} >"$out/by-digest/settings.yaml"
