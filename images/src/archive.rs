//! Reads an image from its OCI archive: what is said of an image is read from the image, not from what it was made of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One image.
#[derive(Debug)]
pub struct Image {
    /// Digest of its manifest: what a Job names after `@`.
    pub digest: String,
    /// Labels of its configuration.
    pub labels: Value,
    /// The sha256 of each file, by its absolute path. Layers lie on top of each other; nothing is ever removed by one of ours.
    pub files: BTreeMap<String, String>,
}

/// Reads the archive of one image.
pub fn read(path: &Path) -> Result<Image> {
    let blobs = entries(File::open(path).with_context(|| format!("failed to open {}", path.display()))?)?;
    let index: Value =
        serde_json::from_slice(blobs.get("index.json").context("no index.json: is it an OCI archive?")?)?;
    let manifests = index["manifests"].as_array().context("no manifests")?;
    ensure!(manifests.len() == 1, "one image expected, {} found", manifests.len());
    let digest = index["manifests"][0]["digest"].as_str().context("no digest")?.to_owned();
    let manifest: Value = serde_json::from_slice(blob(&blobs, &digest)?)?;
    let configuration = manifest["config"]["digest"].as_str().context("no configuration")?;
    let configuration: Value = serde_json::from_slice(blob(&blobs, configuration)?)?;
    let mut files = BTreeMap::new();
    for layer in manifest["layers"].as_array().context("no layers")? {
        let bytes = blob(&blobs, layer["digest"].as_str().context("no digest")?)?;
        let entries = match layer["mediaType"].as_str() {
            Some(kind) if kind.ends_with("+gzip") => entries(flate2::read::GzDecoder::new(bytes))?,
            _ => entries(bytes)?,
        };
        for (path, bytes) in entries {
            ensure!(!path.contains(".wh."), "{path} removes a file of an earlier layer, which is not looked at");
            files.insert(format!("/{path}"), sha256(&bytes));
        }
    }
    Ok(Image { digest, labels: configuration["config"]["Labels"].clone(), files })
}

/// The regular files of a tar archive, by their path.
fn entries(archive: impl Read) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let (path, kind) =
            (entry.path()?.to_string_lossy().trim_start_matches("./").to_owned(), entry.header().entry_type());
        if kind.is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.insert(path, bytes);
        } else {
            ensure!(
                kind.is_dir(),
                "{path} is neither a file nor a folder: nothing of that kind belongs into an image of ours"
            );
        }
    }
    Ok(files)
}

/// A blob, and it is what its name says.
fn blob<'a>(blobs: &'a BTreeMap<String, Vec<u8>>, digest: &str) -> Result<&'a [u8]> {
    let bytes = blobs.get(&format!("blobs/{}", digest.replace(':', "/"))).with_context(|| format!("no {digest}"))?;
    ensure!(format!("sha256:{}", sha256(bytes)) == digest, "what lies under {digest} has another digest");
    Ok(bytes)
}

fn sha256(bytes: &[u8]) -> String {
    let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
    Sha256::digest(bytes).iter().fold(String::new(), hex)
}
