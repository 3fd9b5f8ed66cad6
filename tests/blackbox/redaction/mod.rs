//! Samples of secrets in everyday logs, all made up: each must be gone whole, and the rest must stay. And lines as programs
//! write them, which must not change.
//!
//! In a sample `«…»` is secret and `‹…›` must stay; `⏎` ends a line, `␛` is an escape character, and `¦` goes: it is there so
//! that no scanner takes the sample for a vendor's key.

use actions::export::redact_text::Redactor;

use super::markdown;

/// A class of samples, and how many of them gitleaks finds whole (`with-gitleaks` says so).
const CLASSES: [(&str, &str, usize); 10] = [
    ("vendors' keys", include_str!("vendor-keys.txt"), 27),
    ("authorization and cookies", include_str!("authorization.txt"), 8),
    ("addresses", include_str!("addresses.txt"), 2),
    ("names and values", include_str!("names.txt"), 8),
    ("encodings and colours", include_str!("encodings.txt"), 0),
    ("private keys", include_str!("private-keys.txt"), 14),
    ("values with quotes, commas and blanks in them", include_str!("half-redactions.txt"), 0),
    ("over many lines", include_str!("many-lines.txt"), 1),
    ("commands, calls, columns and hashes", include_str!("commands.txt"), 0),
    ("by somebody who had not seen the rules", include_str!("strangers.txt"), 46),
];

/// So many of the bytes of a secret in a row are a leak.
const PIECE: usize = 5;

struct Sample {
    lines: String,
    secrets: Vec<String>,
    stays: Vec<String>,
}

impl Sample {
    fn parse(text: &str) -> Self {
        let text = text.replace('⏎', "\n").replace('␛', "\u{1b}").replace('¦', "");
        let between = |open: char, close: char| -> Vec<String> {
            text.split(open).skip(1).map(|rest| rest.split(close).next().unwrap().to_owned()).collect()
        };
        let (secrets, stays) = (between('«', '»'), between('‹', '›'));
        Self { lines: text.replace(['«', '»', '‹', '›'], ""), secrets, stays }
    }

    /// Says what is wrong with the lines that came out.
    fn wrong(&self, clean: &str) -> Option<String> {
        let open = self.secrets.iter().fold(self.lines.clone(), |text, secret| text.replacen(secret, "\u{0}", 1));
        let leaked = self.secrets.iter().find_map(|secret| {
            let secret: Vec<char> = secret.chars().collect();
            let pieces = secret.windows(PIECE.min(secret.len())).map(String::from_iter);
            pieces.into_iter().find(|piece| clean.contains(piece) && !open.contains(piece))
        });
        let gone = self.stays.iter().find(|text| !clean.contains(text.as_str()));
        leaked.map(|piece| format!("leaks {piece:?}")).or(gone.map(|text| format!("lost {text:?}")))
    }
}

fn samples(text: &str) -> Vec<Sample> {
    text.lines().map(Sample::parse).collect()
}

fn redact(lines: &str) -> String {
    let mut redactor = Redactor::default();
    let clean = lines.split('\n').map(|line| String::from_utf8_lossy(&redactor.line(line.as_bytes()).0).into_owned());
    clean.collect::<Vec<_>>().join("\n")
}

/// The table of the documentation.
pub fn table() -> String {
    let rows = CLASSES.iter().map(|(class, text, gitleaks)| {
        let all = samples(text);
        let caught = all.iter().filter(|sample| sample.wrong(&redact(&sample.lines)).is_none()).count();
        vec![(*class).to_owned(), all.len().to_string(), caught.to_string(), gitleaks.to_string()]
    });
    markdown::table(&["class", "samples", "caught whole", "by gitleaks 8.30.1"], rows)
}

#[test]
fn no_sample_passes() {
    let (mut all, mut wrong) = (0, Vec::new());
    for (class, text, _) in CLASSES {
        for sample in samples(text) {
            assert!(!sample.secrets.is_empty() || !sample.stays.is_empty(), "{class}: {}", sample.lines);
            all += 1;
            let clean = redact(&sample.lines);
            wrong.extend(sample.wrong(&clean).map(|why| format!("{class}: {why}\n{}\n{clean}", sample.lines)));
            assert_eq!(redact(&clean), clean, "twice is not once: {}", sample.lines);
        }
    }
    assert!(all >= 200, "{all} samples");
    assert!(wrong.is_empty(), "{} of {all}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What programs write every day, by everybody, and such lines by somebody who had not seen the rules: at most one line in a hundred may be taken for a secret.
#[test]
fn ordinary_lines_stay() {
    for text in [include_str!("ordinary.txt"), include_str!("strangers-ordinary.txt")] {
        stay(&text.lines().collect::<Vec<_>>());
    }
}

fn stay(lines: &[&str]) {
    let changed: Vec<String> = lines
        .iter()
        .map(|line| (line, redact(line)))
        .filter(|(line, clean)| **line != clean)
        .map(|(line, clean)| format!("{line}\n{clean}"))
        .collect();
    assert!(lines.len() >= 300, "{} lines", lines.len());
    assert!(changed.len() * 100 <= lines.len(), "{} of {}:\n{}", changed.len(), lines.len(), changed.join("\n"));
    // Of one log, too: none of them begins something that takes the next ones.
    let together = redact(&lines.join("\n"));
    let changed_together = together.lines().zip(lines).filter(|(clean, line)| clean != *line).count();
    assert!(changed_together * 100 <= lines.len(), "{changed_together} in one log");
}
