//! The bill of materials of a finished image. That of the crates is cargo's; what is linked or copied beside them (Rust's
//! standard library, musl, the certificate authorities) no cargo tool tells.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::archive::{self, Image};

/// Where the certificate authorities lie in every image.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is known where the image is built.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The image's OCI archive
    archive: PathBuf,
    /// The bill of materials of the binary's crates, as cargo cyclonedx writes it
    #[arg(long)]
    crates: PathBuf,
    /// The folder of the workspace, whose path cargo cyclonedx puts into references
    #[arg(long)]
    root: String,
    /// Version of Rust, whose standard library is linked
    #[arg(long)]
    rust: String,
    /// Version of the musl that Rust brings for this target, which is linked
    #[arg(long)]
    musl: String,
    /// Version of the crate webpki-root-certs
    #[arg(long)]
    ca_roots: String,
    /// Time of the commit, as in 2026-11-26T05:43:10Z
    #[arg(long)]
    created: String,
}

/// Returns it as `CycloneDX` 1.5: without a serial number, with the commit's time and without a path of this machine, so that two
/// builds have the same one.
pub fn of(arguments: &Arguments) -> Result<Value> {
    let crates = elsewhere(&std::fs::read_to_string(&arguments.crates)?, &arguments.root);
    let crates: Value =
        serde_json::from_str(&crates).with_context(|| format!("{} is no JSON", arguments.crates.display()))?;
    let image = archive::read(&arguments.archive)?;
    let name = stem(&arguments.archive)?;
    let binary = crates["metadata"]["component"].clone();
    let mut components = vec![binary.clone()];
    components.extend(crates["components"].as_array().context("no components in --crates")?.iter().cloned());
    components.extend(beside(arguments, &image)?);
    components.extend(image.files.iter().map(|(path, sha256)| file(path, sha256)));
    let mut dependencies = crates["dependencies"].as_array().cloned().unwrap_or_default();
    dependencies.push(json!({ "ref": image.digest, "dependsOn": [binary["bom-ref"]] }));
    let version = image.labels["org.opencontainers.image.version"].clone();
    ensure!(version.is_string(), "the image has no version");
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {
            "timestamp": arguments.created,
            "component": {
                "bom-ref": image.digest, "type": "container", "name": name, "version": version,
                "purl": format!("pkg:oci/{name}@{}", image.digest.replace(':', "%3A")),
                "licenses": [{ "expression": "Apache-2.0" }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// The crates of the workspace are referred to by their path: the one that the binary has too (`--remap-path-prefix`).
fn elsewhere(crates: &str, root: &str) -> String {
    crates
        .replace(&format!("path+file://{root}/"), "path+file:///src/")
        .replace(&format!("path+file://{root}#"), "path+file:///src#")
}

/// What is in the binary, or beside it, and is no crate that is linked.
fn beside(arguments: &Arguments, image: &Image) -> Result<Vec<Value>> {
    let Arguments { rust, musl, ca_roots, .. } = arguments;
    let roots = image.files.get(ROOTS).with_context(|| format!("{ROOTS} is missing"))?;
    Ok(vec![
        json!({
            "bom-ref": "rust-std", "type": "library", "name": "rust-std", "version": rust,
            "purl": format!("pkg:github/rust-lang/rust@{rust}"), "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            "description": "Rust's standard library, as rustup brings it for this target; the crates within it follow from the version",
        }),
        json!({
            "bom-ref": "musl", "type": "library", "name": "musl", "version": musl, "cpe": format!("cpe:2.3:a:musl-libc:musl:{musl}:*:*:*:*:*:*:*"),
            "purl": format!("pkg:generic/musl@{musl}"), "licenses": [{ "license": { "id": "MIT" } }],
            "description": "The C library that comes with rust-std and is linked statically",
        }),
        json!({
            "bom-ref": "ca-roots", "type": "data", "name": "webpki-root-certs", "version": ca_roots,
            "purl": format!("pkg:cargo/webpki-root-certs@{ca_roots}"), "licenses": [{ "license": { "id": "CDLA-Permissive-2.0" } }],
            "hashes": [{ "alg": "SHA-256", "content": roots }],
            "description": "Mozilla's certificate authorities, as PEM",
        }),
    ])
}

fn file(path: &str, sha256: &str) -> Value {
    json!({
        "bom-ref": format!("file:{path}"), "type": "file", "name": path,
        "hashes": [{ "alg": "SHA-256", "content": sha256 }],
    })
}

fn stem(path: &Path) -> Result<String> {
    Ok(path.file_stem().context("the archive has no name")?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_hold_no_path_of_this_machine() {
        let text = r#"["path+file:///home/me/it#action-runner@0.1.0 bin-target-0", "path+file:///home/me/it/contract#0.1.0", "path+file:///home/me/item#1"]"#;
        let same = r#"["path+file:///src#action-runner@0.1.0 bin-target-0", "path+file:///src/contract#0.1.0", "path+file:///home/me/item#1"]"#;
        assert_eq!(elsewhere(text, "/home/me/it"), same);
    }
}
