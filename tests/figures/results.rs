//! What was measured: a line for each step, by the content of what is measured, the machine, and the kind of controller.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::numbers::{median, shown};
use crate::plan::{Part, Step};

/// What a figure is of: a change in any of these is another thing to measure. How results are shown is not among them.
const MEASURED: [&str; 19] = [
    "Cargo.lock",
    "Cargo.toml",
    "actions",
    "contract",
    "controller/Cargo.toml",
    "controller/deploy",
    "controller/src",
    "tests/figures/arena.rs",
    "tests/figures/burst.rs",
    "tests/figures/idle.rs",
    "tests/figures/memory.rs",
    "tests/figures/numbers.rs",
    "tests/figures/program.rs",
    "tests/figures/seen.rs",
    "tests/harness/src/assets.rs",
    "tests/harness/src/cluster.rs",
    "tests/harness/src/components.rs",
    "tests/harness/src/executor.rs",
    "tests/harness/src/tail.rs",
];

/// The figures of a step.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Figures {
    /// By name.
    pub numbers: BTreeMap<String, f64>,
    /// What is no number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
}

impl Figures {
    /// Takes a number, if there is one.
    pub fn set(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.numbers.insert(name.to_owned(), value);
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.numbers.iter().map(|(name, value)| format!("{name} {}", shown(*value))).collect();
        write!(f, "{}", numbers.join(", "))?;
        self.told.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// What figures are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The content of [`MEASURED`], as git hashes it: the same on every machine, and in every history that leads there.
    /// `+changes-…` where the files are not as committed.
    pub code: String,
    /// Processor, number of cores, memory.
    pub machine: String,
    /// `release`, `self`, or the path of the controller.
    pub controller: String,
}

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// What it is of.
    #[serde(flatten)]
    pub key: Key,
    /// What was done.
    #[serde(flatten)]
    pub step: Step,
    /// The commit that was checked out.
    pub commit: String,
    /// When it was done.
    pub at: Timestamp,
    /// How many seconds it took.
    pub took: f64,
    /// What came of it.
    pub figures: Figures,
}

/// The file, and what the next lines are of.
pub struct Results {
    file: PathBuf,
    key: Key,
    commit: String,
    lines: Vec<Line>,
}

impl Results {
    /// Reads what is there. `anew` begins with nothing.
    pub fn open(file: &Path, controller: &str, anew: bool) -> Result<Self> {
        if anew && file.exists() {
            std::fs::remove_file(file)?;
        }
        let text = if file.exists() { std::fs::read_to_string(file)? } else { String::new() };
        let read = |(number, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}: no line of results", file.display(), number + 1))
        };
        let lines = text.lines().enumerate().map(read).collect::<Result<Vec<Line>>>()?;
        let key = Key { code: code()?, machine: machine()?, controller: controller.to_owned() };
        let commit = git(&["log", "-1", "--format=%h"], &[])?;
        Ok(Self { file: file.to_path_buf(), key, commit, lines })
    }

    /// What the next lines are of.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether a step was measured.
    pub fn has(&self, step: &Step) -> bool {
        self.lines.iter().any(|line| line.key == self.key && line.step == *step)
    }

    /// Keeps what came of a step: at once, whatever becomes of the rest.
    pub fn keep(&mut self, step: &Step, figures: Figures, took: Duration) -> Result<()> {
        let (key, step, commit) = (self.key.clone(), step.clone(), self.commit.clone());
        let line = Line { key, step, commit, at: Timestamp::now(), took: took.as_secs_f64(), figures };
        let mut file = File::options().create(true).append(true).open(&self.file)?;
        file.write_all((serde_json::to_string(&line)? + "\n").as_bytes())?;
        file.sync_all()?;
        self.lines.push(line);
        Ok(())
    }

    /// What the page shows: of each thing the newest that was measured, all rounds of it with one code, on one machine. Figures
    /// of older code stay until there are newer ones; the page says which. A round that was measured again counts once,
    /// the last time.
    pub fn shown(&self) -> Vec<&Line> {
        let thing = |step: &Step| Step { round: 1, ..step.clone() };
        let Some(last) = self.lines.iter().max_by_key(|line| line.at) else { return Vec::new() };
        let here = || self.lines.iter().filter(|line| line.key.machine == last.key.machine);
        let mut keys: BTreeMap<Step, &Line> = BTreeMap::new();
        for line in here() {
            let newest = keys.entry(thing(&line.step)).or_insert(line);
            if line.at > newest.at {
                *newest = line;
            }
        }
        let mut newest: BTreeMap<&Step, &Line> = BTreeMap::new();
        for line in here().filter(|line| keys.get(&thing(&line.step)).is_some_and(|one| one.key == line.key)) {
            newest.insert(&line.step, line);
        }
        newest.into_values().collect()
    }

    /// Seconds that other rounds of a step took on this machine.
    pub fn took(&self, step: &Step) -> Option<f64> {
        let first = |one: &Step| Step { round: 1, ..one.clone() };
        let same = |line: &&Line| line.key.machine == self.key.machine && first(&line.step) == first(step);
        median(&self.lines.iter().filter(same).map(|line| line.took).collect::<Vec<_>>())
    }

    /// Bare Jobs a second on this machine, as far as they were measured.
    pub fn rate(&self, pace: &str) -> Option<f64> {
        let of = |line: &&Line| {
            line.key.machine == self.key.machine && line.step.part == Part::Beside && line.step.pace == pace
        };
        let rates: Vec<f64> =
            self.lines.iter().filter(of).filter_map(|line| line.figures.numbers.get("jobs/s").copied()).collect();
        median(&rates)
    }
}

fn code() -> Result<String> {
    let changed = git(&["status", "--porcelain"], &MEASURED)?;
    let committed = hash(&git(&["ls-tree", "HEAD"], &MEASURED)?)?;
    if changed.is_empty() {
        return Ok(committed);
    }
    Ok(format!("{committed}+changes-{}", hash(&(changed + &git(&["diff", "HEAD"], &MEASURED)?))?))
}

fn git(arguments: &[&str], paths: &[&str]) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).arg("--").args(paths);
    told(&git.output()?)
}

/// As git hashes a file with this text, as much of it as tells two apart.
fn hash(text: &str) -> Result<String> {
    const LENGTH: usize = 10;
    let mut git = Command::new("git");
    let mut child = git.args(["hash-object", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(text.as_bytes())?;
    Ok(told(&child.wait_with_output()?)?.chars().take(LENGTH).collect())
}

fn told(output: &Output) -> Result<String> {
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What the figures depend on.
fn machine() -> Result<String> {
    let field = |file: &str, name: &str| -> Result<String> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{file}: figures are measured on Linux"))?;
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        Ok(line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned()))
    };
    let memory = field("/proc/meminfo", "MemTotal")?;
    let kib: u64 = memory.split(' ').next().unwrap_or_default().parse().unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{} × {}, {} GiB", cores, field("/proc/cpuinfo", "model name")?, kib >> 20))
}
