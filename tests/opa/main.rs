//! `cargo test --test opa`: every module of the corpus, evaluated by this program and by `opa` itself, on the same input.
//! The answers are the same, but for the modules named `differs_…`, which hold the differences that `docs/conditions.md`
//! lists: what each of the two says then stands in the module's first lines.
//!
//! Which of OPA's built-ins are not there at all is asked for each of them; `UPDATE=1` writes the list into the document.

#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

#[path = "../blackbox/markdown.rs"]
#[allow(dead_code, clippy::panic, reason = "its other functions are for the generated documents, which are tests")]
mod markdown;

use std::collections::BTreeMap;
use std::fmt::Write as _;
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
    let built_ins = opa.clone();
    let built_ins =
        Trial::test("built_ins", move || missing(&built_ins).map_err(|error| Failed::from(format!("{error:#}"))));
    Ok(files.into_iter().map(trial).chain([built_ins]).collect())
}

/// The built-ins that this engine does not have are those that the document lists.
fn missing(opa: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let module = folder.path().join("a.rego");
    let all: Value = serde_json::from_str(&run(Command::new(opa).args(["capabilities", "--current"]))?)?;
    // For each namespace the names of its built-ins, and whether ours are there.
    let mut namespaces: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for built_in in all["builtins"].as_array().context("no built-ins")? {
        let name = built_in["name"].as_str().unwrap_or_default();
        if built_in["infix"].is_string() || built_in["deprecated"] == true || name.starts_with("internal.") {
            continue;
        }
        fs::write(&module, format!("package a\n\nx := {name}()\n"))?;
        let said = run(Command::new(env!("CARGO_BIN_EXE_action-runner"))
            .args(["policy", "eval", "--input"])
            .args([&corpus().join("input.json"), &module]))?;
        let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let there = !said.contains("could not find function");
        namespaces.entry(namespace).or_default().push((name.to_owned(), there));
    }
    let mut text = String::new();
    for (namespace, names) in namespaces {
        if !namespace.is_empty() && names.iter().all(|(_, there)| !there) {
            write!(text, "`{namespace}.*`, ")?;
        } else {
            for (name, _) in names.iter().filter(|(_, there)| !there) {
                write!(text, "`{name}`, ")?;
            }
        }
    }
    let text = text.trim_end_matches(", ").to_owned() + "\n";
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conditions.md");
    let filled = markdown::fill(&page, &[("rego-missing", &text)]);
    if test_cluster::assets::variable("UPDATE").is_some() {
        fs::write(&page, &filled)?;
    }
    ensure!(fs::read_to_string(&page)? == filled, "docs/conditions.md lists other ones; UPDATE=1 writes:\n{text}");
    Ok(())
}

fn compare(file: &Path, opa: &Path) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let package = text.lines().find_map(|line| line.strip_prefix("package ")).context("no package")?;
    let input = corpus().join("input.json");
    let ours = run(Command::new(env!("CARGO_BIN_EXE_action-runner"))
        .args(["policy", "eval", "--input"])
        .args([&input, file]))?;
    let theirs = run(Command::new(opa)
        .args(["eval", "--format", "json", "--data"])
        .arg(file)
        .arg("--input")
        .arg(&input)
        .arg(format!("data.{package}")))?;
    let head = |mark: &str| text.lines().take(2).find_map(|line| line.strip_prefix(mark));
    if let (Some(here), Some(there)) = (head("# differs: "), head("# there: ")) {
        ensure!(ours.contains(here), "expected {here:?} here, got {ours}");
        ensure!(theirs.contains(there), "expected {there:?} of opa, got {theirs}");
        return Ok(());
    }
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
