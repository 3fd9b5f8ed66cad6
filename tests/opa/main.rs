//! `cargo test --test opa`: every module of the corpus, evaluated by this program and by `opa` itself, on the same input.
//! The answers are the same, but for the modules named `differs_…`, which hold the differences that `docs/conditions.md`
//! lists: there ours must be the error that the module's first line says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            test_cluster::assets::tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/opa/corpus")
}

fn trials() -> Result<Vec<Trial>> {
    let opa = test_cluster::assets::opa()?;
    let mut files: Vec<PathBuf> = fs::read_dir(corpus())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rego"));
    files.sort();
    let trial = |file: PathBuf| {
        let (name, opa) = (file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), opa.clone());
        Trial::test(name, move || compare(&file, &opa).map_err(|error| Failed::from(format!("{error:#}"))))
    };
    Ok(files.into_iter().map(trial).collect())
}

fn compare(file: &Path, opa: &Path) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let package = text.lines().find_map(|line| line.strip_prefix("package ")).context("no package")?;
    let input = corpus().join("input.json");
    let ours = run(Command::new(env!("CARGO_BIN_EXE_action-runner"))
        .args(["policy", "eval", "--input"])
        .args([&input, file]))?;
    if let Some(says) = text.lines().next().and_then(|line| line.strip_prefix("# differs: ")) {
        ensure!(ours.contains(says), "expected an error that says {says:?}, got {ours}");
        return Ok(());
    }
    let theirs = run(Command::new(opa)
        .args(["eval", "--format", "json", "--data"])
        .arg(file)
        .arg("--input")
        .arg(&input)
        .arg(format!("data.{package}")))?;
    let (mut ours, mut theirs): (Value, Value) = (serde_json::from_str(&ours)?, serde_json::from_str(&theirs)?);
    let (ours, theirs) = (&mut ours[format!("data.{package}")], &mut theirs["result"][0]["expressions"][0]["value"]);
    plain(ours);
    plain(theirs);
    ensure!(ours == theirs && ours.is_object(), "ours: {ours:#}\ntheirs: {theirs:#}");
    Ok(())
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {}", command.get_program().display()))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// 3 and 3.0 are the same number.
fn plain(value: &mut Value) {
    match value {
        Value::Number(number) => *value = number.as_f64().into(),
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(fields) => fields.values_mut().for_each(plain),
        _ => {}
    }
}
