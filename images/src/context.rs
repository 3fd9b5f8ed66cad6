//! The files of the images that come from the program itself and from crates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use actions::catalogue::IMAGES;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Nobody writes anything in an image, and everybody may read it: it works under any user.
const READABLE: u32 = 0o444;
/// Some libraries and tools want a name for the user; the image's own is the number.
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// Writes them into the folder of the build context.
pub fn write(folder: &Path) -> Result<()> {
    for image in IMAGES.iter().filter(|image| image.locked()) {
        file(&folder.join("locks").join(image.name), &image.lock())?;
    }
    let files = folder.join("files");
    file(&files.join("etc/passwd"), PASSWD)?;
    file(&files.join("etc/group"), GROUP)?;
    file(&files.join("etc/ssl/certs/ca-certificates.crt"), &roots())
}

fn file(path: &Path, text: &str) -> Result<()> {
    let parent = path.parent().context("no folder")?;
    fs::create_dir_all(parent)?;
    // An earlier one is read-only.
    let _absent = fs::remove_file(path);
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(READABLE))?;
    Ok(())
}

/// Mozilla's certificate authorities as PEM, for clusters and upload hosts whose certificates they signed.
fn roots() -> String {
    const LINE: usize = 64;
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        for line in encoded.as_bytes().chunks(LINE) {
            text.extend(line.iter().copied().map(char::from));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
