//! `ACTION_POLICY_DIR`: a folder of `.rego` files, such as a mounted ConfigMap.

use std::fs;
use std::path::{Path, PathBuf};

use super::module::Module;

/// Package of the policy.
pub const PACKAGE: &str = "data.action.policy";
/// Name of the rule that denies.
pub const RULE: &str = "deny";
/// The most files of a policy; a folder with more is the wrong folder.
const MOST_FILES: usize = 100;
/// The most bytes of all files together.
const MOST_BYTES: u64 = 1 << 20;

/// Reads every `.rego` file of a folder and its subfolders, in the order of their names; tests (`…_test.rego`) only
/// with `tests`.
pub fn read(folder: &Path, tests: bool) -> Result<Vec<Module>, String> {
    if folder.as_os_str().is_empty() {
        return Err("it is set, and empty; name the folder, or unset it".to_owned());
    }
    // A path is shown only where something lies: what else the variable holds may be a secret.
    fs::metadata(folder).map_err(|error| format!("failed to read the folder that it names: {error}"))?;
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.retain(|file| tests || !file.to_string_lossy().ends_with("_test.rego"));
    files.sort();
    if files.is_empty() {
        return Err(format!("{} holds no .rego file", folder.display()));
    }
    let mut bytes = 0;
    files
        .into_iter()
        .map(|file| {
            let wrong = |error: std::io::Error| format!("failed to read {}: {error}", file.display());
            bytes += fs::metadata(&file).map_err(wrong)?.len();
            if bytes > MOST_BYTES {
                return Err(format!("{} holds more than {MOST_BYTES} bytes of Rego", folder.display()));
            }
            let text = fs::read_to_string(&file).map_err(wrong)?;
            let name = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
            Ok(Module { name, text })
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("failed to read {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        // In a mounted ConfigMap, files link into `..data`, which links to `..2026_…`; each would be there three times.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if fs::metadata(&path).map_err(|error| format!("failed to read {}: {error}", path.display()))?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rego") {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            return Err(format!("more than {MOST_FILES} .rego files below {}", folder.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Like the kubelet mounts a ConfigMap.
    #[test]
    fn reads_a_mounted_config_map_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("..2026_11_24")).unwrap();
        fs::write(at("..2026_11_24/night.rego"), "package action.policy").unwrap();
        fs::write(at("..2026_11_24/night_test.rego"), "package action.policy_test").unwrap();
        symlink("..2026_11_24", at("..data")).unwrap();
        for name in ["night.rego", "night_test.rego"] {
            symlink(format!("..data/{name}"), at(name)).unwrap();
        }
        fs::write(at("README.md"), "no policy").unwrap();
        let names =
            |tests| read(folder.path(), tests).unwrap().into_iter().map(|module| module.name).collect::<Vec<_>>();
        assert_eq!(names(false), ["night.rego"]);
        assert_eq!(names(true), ["night.rego", "night_test.rego"]);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path(), false).unwrap_err().contains("holds no .rego file"));
        assert!(read(&folder.path().join("absent"), false).unwrap_err().contains("failed to read"));
        symlink("nowhere", folder.path().join("x.rego")).unwrap();
        assert!(read(folder.path(), false).unwrap_err().contains("x.rego"));
    }

    #[test]
    fn a_folder_in_a_ring_is_no_ring() {
        let folder = tempfile::tempdir().unwrap();
        symlink(folder.path(), folder.path().join("again")).unwrap();
        assert!(read(folder.path(), false).is_err(), "the kernel gives up on such a path, and so does this");
    }
}
