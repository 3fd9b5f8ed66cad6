//! Texts without which a line has no secret that is known here. All are looked for in one pass; whatever costs more happens
//! where one of them stands.

use std::sync::OnceLock;

use aho_corasick::packed::{Config, MatchKind as PackedKind, Searcher};
use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use super::text::Span;

/// The reason to look at a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trigger {
    /// Part of a name.
    Name,
    /// Three or four letters that are names, and parts of many words: only what stands behind them tells.
    Short,
    /// Part of the name of a header with cookies.
    Cookie,
    /// A field `value`, whose name may come behind it.
    Value,
    /// `://`
    Address,
    /// A part of a path behind which a password is reset, or an account is confirmed.
    Path,
    Source,
    Scheme,
    /// A flag that takes a password, for some commands.
    Flag,
    /// A command that takes one by its place.
    Command,
    /// A call with values and no names.
    Call,
    /// A JSON Web Key's type, whose members have names of one or two letters.
    WebKey,
}

/// All texts. More than 64 are too many to be looked for at once with vector instructions, and then it takes three times as
/// long; so a name is there without a first letter that may be a capital, if what is left is rare enough. None is shorter
/// than three bytes, since as many are compared at once as the shortest has.
const TEXTS: &[(Trigger, &[&str])] = &[
    (
        Trigger::Name,
        &[
            "pass", "Pass", "PASS", "pwd", "Pwd", "PWD", "ecret", "ECRET", "oken", "OKEN", "key", "Key", "KEY", "uth",
            "UTH", "cred", "Cred", "CRED", "ession", "SESS", "ignature", "IGNATURE", "ecureS", "SAML", "ncrypt",
        ],
    ),
    (Trigger::Short, &["sid", "sig", "pin", "PIN", "otp", "OTP", "psk", "PSK", "code"]),
    (Trigger::Cookie, &["ookie", "OOKIE"]),
    (Trigger::Value, &["value"]),
    (Trigger::Address, &["://"]),
    (Trigger::Path, &["reset/", "ctivate/", "onfirm/", "erify/"]),
    (Trigger::Source, &["@tcp(", "@unix(", ":thin:"]),
    (Trigger::Scheme, &["earer", "asic "]),
    (Trigger::Flag, &[" -u", " -p", " -P", " -a ", " -w ", "-user", "IED BY", "ied by"]),
    (Trigger::Command, &["echo ", "LOGIN ", "/user:", "/rp ", "add_user", "snmp"]),
    (Trigger::Call, &[".php(", "ogin("]),
    (Trigger::WebKey, &["kty"]),
];

struct Triggers {
    /// Where the processor has vector instructions.
    packed: Option<Searcher>,
    automaton: Option<AhoCorasick>,
    reasons: Vec<Trigger>,
}

/// Returns the next text from there on, and the reason to look at it.
pub(super) fn next(text: &[u8], from: usize) -> Option<(Span, Trigger)> {
    static TRIGGERS: OnceLock<Triggers> = OnceLock::new();
    let triggers = TRIGGERS.get_or_init(build);
    let range = from.min(text.len())..text.len();
    let found = match &triggers.packed {
        Some(packed) => packed.find_in(text, range.into())?,
        None => triggers.automaton.as_ref()?.find(Input::new(text).range(range))?,
    };
    let reason = triggers.reasons.get(found.pattern().as_usize())?;
    Some(((found.start(), found.end()), *reason))
}

/// The texts in the order in which they are looked for with the fewest false alarms. The search puts every 16th text into the
/// same group, and a place where any of a group's texts may stand is looked at; so texts that are alike go into the same one.
fn in_groups() -> Vec<(&'static str, Trigger)> {
    let mut all: Vec<_> =
        TEXTS.iter().flat_map(|(trigger, texts)| texts.iter().map(|text| (*text, *trigger))).collect();
    all.sort_by_key(|(text, _)| text.to_ascii_lowercase());
    let groups = all.chunks(4);
    (0..4).flat_map(|place| groups.clone().filter_map(move |group| group.get(place))).copied().collect()
}

fn build() -> Triggers {
    let (texts, reasons) = in_groups().into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    // The table of texts is fixed: that it builds is a test.
    let automaton = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(AhoCorasickKind::DFA))
        .build(&texts)
        .ok();
    let packed = Config::new().match_kind(PackedKind::LeftmostLongest).builder().extend(&texts).build();
    Triggers { packed, automaton, reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_found() {
        let built = build();
        assert!(built.automaton.is_some() && built.reasons.len() <= 64, "{}", built.reasons.len());
        for text in ["my Password", "x://", "SECRET", "Authorization"] {
            assert!(next(text.as_bytes(), 0).is_some(), "{text}");
        }
    }
}
