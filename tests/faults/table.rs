//! What came of it, by fault.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use test_cluster::assets::tell;
use test_cluster::proxy::matrix;

use crate::markdown;

/// What a run with a fault was.
pub enum Verdict {
    /// The request that was to be hit was not sent in this run: another watch came first.
    NotHit,
    /// It did what was asked all the same.
    Survived,
    /// It did not, and said what it had changed.
    Reported,
    /// It did not, and said that it does not know.
    Unknown,
    /// It said that the effect did not come, and it stood there for long.
    WrongFailure(String),
    /// What it said is not what happened, or it did not end as it should.
    Lie(String),
}

/// One run.
pub struct Row {
    /// `scale-deployment`
    pub action: &'static str,
    /// The fault's name.
    pub fault: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// Whether its claim held when it was made, and something that came after it explains why it does no more.
    pub explained: bool,
}

#[derive(Default)]
struct Counts {
    tried: usize,
    survived: usize,
    reported: usize,
    unknown: usize,
    wrong: usize,
    lies: usize,
}

impl Counts {
    fn add(&mut self, verdict: &Verdict) {
        self.tried += 1;
        match verdict {
            Verdict::NotHit => self.tried -= 1,
            Verdict::Survived => self.survived += 1,
            Verdict::Reported => self.reported += 1,
            Verdict::Unknown => self.unknown += 1,
            Verdict::WrongFailure(_) => self.wrong += 1,
            Verdict::Lie(_) => self.lies += 1,
        }
    }

    fn cells(&self) -> [usize; 6] {
        [self.tried, self.survived, self.reported, self.unknown, self.wrong, self.lies]
    }
}

fn by<'a>(rows: &'a [Row], key: impl Fn(&'a Row) -> &'static str) -> BTreeMap<&'static str, Counts> {
    let mut counts: BTreeMap<&'static str, Counts> = BTreeMap::new();
    for row in rows {
        counts.entry(key(row)).or_default().add(&row.verdict);
    }
    counts
}

/// Everything by fault and by action, for the terminal.
pub fn tell_of(rows: &[Row]) {
    for (name, counts) in by(rows, |row| row.fault).into_iter().chain(by(rows, |row| row.action)) {
        let [tried, survived, reported, unknown, wrong, lies] = counts.cells();
        tell(&format!(
            "{name:<52} {tried:>4} tried {survived:>4} survived {reported:>4} reported {unknown:>3} unknown \
             {wrong:>2} wrong failures {lies:>2} lies"
        ));
    }
    let explained = rows.iter().filter(|row| row.explained).count();
    tell(&format!("{explained} claims ceased to be so in the run's last second or after it"));
}

/// The tables of `docs/faults.md`.
pub fn write(rows: &[Row]) -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let head = &["", "tried", "survived", "reported", "unknown", "wrong failures", "lies"];
    let line = |name: &str, counts: &Counts| {
        std::iter::once(name.to_owned()).chain(counts.cells().map(|count| count.to_string())).collect::<Vec<_>>()
    };
    let faults = by(rows, |row| row.fault);
    let names = matrix().into_iter().map(|(name, _, _)| name).chain(crate::SIGNALS.map(|(name, _, _)| name));
    let ordered = names.filter_map(|name| Some(line(name, faults.get(name)?)));
    let mut total = Counts::default();
    for row in rows {
        total.add(&row.verdict);
    }
    let faults = markdown::table(head, ordered.chain([line("**all**", &total)]));
    let actions = markdown::table(
        head,
        by(rows, |row| row.action).iter().map(|(name, counts)| line(&format!("`{name}`"), counts)),
    );
    std::fs::write(&page, markdown::fill(&page, &[("faults", &faults), ("actions", &actions)]))?;
    Ok(())
}
