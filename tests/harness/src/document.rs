//! Blocks of documents that a test writes from what it saw.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Compares a generated block of a document with what the API server answered, or writes it where `UPDATE` is set.
pub fn hold_block(root: &str, file: &str, name: &str, text: &str) -> Result<()> {
    hold_block_like(root, file, name, text, str::to_owned)
}

/// The same, where a part of the text is another one each time: compared is what this leaves of it.
pub fn hold_block_like(root: &str, file: &str, name: &str, text: &str, like: impl Fn(&str) -> String) -> Result<()> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = Path::new(root).join(file);
    let mut document = std::fs::read_to_string(&path)?;
    let begin = format!("<!-- generated: {name} -->\n");
    let start = document.find(&begin).with_context(|| format!("{file} has no place for {name}"))? + begin.len();
    let rest = document.get(start..).unwrap_or_default();
    let stop = start + rest.find("<!-- end -->").with_context(|| format!("{file}: {name} has no end"))?;
    if crate::assets::variable("UPDATE").is_some() {
        document.replace_range(start..stop, text);
        std::fs::write(&path, &document)?;
        return Ok(());
    }
    let found = document.get(start..stop).unwrap_or_default();
    ensure!(
        like(found) == like(text),
        "{file}: {name} is not what the API server answers; UPDATE=1 writes it:\n{text}"
    );
    Ok(())
}
