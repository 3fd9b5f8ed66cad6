//! Keeps an object's hidden values out of words about it. A condition's module may print its whole input, and the API
//! server, a webhook or a kubelet may quote a field: the values that [`redact_object`](super::redact_object) hides are
//! replaced there too. A help against mistakes: who writes a module to take a value out in another form can do so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

use super::redact_object::{HIDDEN, is_built_in, is_shown, visit};

/// The shortest value that is replaced: shorter ones are in every sentence by chance.
const SHORTEST: usize = 4;
/// Letters alone are a word below this length (`production`, `debug`): in the runner's own sentences it stays.
const WORD: usize = 8;

/// Values of objects that may be secret.
#[derive(Clone, Default)]
pub struct HiddenValues {
    /// By their first byte, the longest first.
    values: BTreeMap<u8, BTreeSet<Longest>>,
    /// Parts of names and images: whatever is equal to one of them is shown anyway.
    shown: BTreeSet<String>,
}

/// A text, in an order by which one comes before its own beginnings.
#[derive(Clone, PartialEq, Eq)]
struct Longest(String);

impl Ord for Longest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.len().cmp(&self.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Longest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Shows how many there are, and none.
impl fmt::Debug for HiddenValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HiddenValues({})", self.values.values().map(BTreeSet::len).sum::<usize>())
    }
}

impl HiddenValues {
    /// Takes the values of an object.
    pub fn of(object: &Value) -> Self {
        let mut values = Self::default();
        values.learn(object);
        values
    }

    /// Takes the values of a pod template too.
    pub fn learn_template(&mut self, template: &Value) {
        self.learn(&json!({ "apiVersion": "apps/v1", "spec": { "template": template } }));
    }

    /// Takes the values of an object too.
    pub fn learn(&mut self, object: &Value) {
        let built_in = object.get("apiVersion").and_then(Value::as_str).is_some_and(is_built_in);
        let mut object = object.clone();
        visit(&mut object, &mut Vec::new(), &mut |value, path| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !is_shown(path, built_in) {
                self.add(&text);
            } else if path.last().is_some_and(|last| matches!(last.as_str(), "name" | "namespace" | "image")) {
                self.shown.extend(text.split(|c: char| !c.is_alphanumeric() && c != '-').map(str::to_owned));
                self.shown.insert(text);
            }
        });
    }

    /// Adds a value as it is and as JSON has it, and what stands in it behind a `=`: arguments are names and values.
    fn add(&mut self, text: &str) {
        let quoted = Value::from(text).to_string();
        let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        let behind = text.split_once('=').map_or("", |(_, value)| value);
        let lines = text.lines().filter(|line| line.len() >= WORD);
        for form in [text, text.trim(), inner, behind].into_iter().chain(lines) {
            if let Some(first) = form.bytes().next().filter(|_| form.chars().count() >= SHORTEST) {
                self.values.entry(first).or_default().insert(Longest(form.to_owned()));
            }
        }
    }

    /// Replaces the values in a message that may print the object: wherever they stand.
    pub fn in_words(&self, text: &str) -> String {
        self.replace(text, |_, _, _| true)
    }

    /// Replaces the values in a sentence about the object: those that are no plain word, and short ones only where they
    /// stand alone.
    pub fn in_sentence(&self, text: &str) -> String {
        let part_of_a_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        self.replace(text, |value, before, after| {
            let long = value.len() >= WORD;
            let plain = value.chars().all(char::is_alphabetic);
            long || !plain && !part_of_a_word(before) && !part_of_a_word(after)
        })
    }

    /// Replaces the values in a sentence that somebody cut: also the beginning of one at its very end.
    pub fn in_cut_sentence(&self, text: &str) -> String {
        let clean = self.in_sentence(text);
        let ends = clean.char_indices().map(|(at, _)| clean.split_at(at));
        let begins = |end: &str| {
            let same = end.bytes().next().and_then(|first| self.values.get(&first));
            end.len() >= SHORTEST
                && same
                    .into_iter()
                    .flatten()
                    .any(|Longest(value)| value.starts_with(end) && !self.shown.contains(value))
        };
        let cut = ends.into_iter().find(|(_, end)| begins(end)).map(|(before, _)| format!("{before}{HIDDEN}"));
        cut.unwrap_or(clean)
    }

    /// Replaces each value that counts where it stands, by its neighbours. In one pass: a mark is never looked at again.
    fn replace(&self, text: &str, counts: impl Fn(&str, Option<char>, Option<char>) -> bool) -> String {
        let mut clean = String::with_capacity(text.len());
        let (mut rest, mut before) = (text, None);
        while let Some(next) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix(HIDDEN) {
                clean.push_str(HIDDEN);
                (rest, before) = (after, Some(']'));
                continue;
            }
            let first = rest.bytes().next().unwrap_or_default();
            let found = self.values.get(&first).into_iter().flatten().find_map(|Longest(value)| {
                let after = rest.strip_prefix(value.as_str()).filter(|_| !self.shown.contains(value))?;
                counts(value, before, after.chars().next()).then_some((value, after))
            });
            if let Some((value, after)) = found {
                clean.push_str(HIDDEN);
                (rest, before) = (after, value.chars().last());
            } else {
                clean.push(next);
                (rest, before) = (rest.get(next.len_utf8()..).unwrap_or_default(), Some(next));
            }
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn deployment() -> Value {
        let container = json!({
            "name": "app", "image": "registry.example/shop/web:2", "args": ["--token=hunter22", "-v"],
            "env": [
                { "name": "PIN", "value": "4928" }, { "name": "QUOTED", "value": "a\"b\\c\nd" }, { "name": "SHORT", "value": "abc" },
                { "name": "PLACE", "value": "shop" }, { "name": "MODE", "value": "debug" }, { "name": "LONG", "value": "49285555" },
                { "name": "KEY", "value": "-----BEGIN X-----\nMIIEowIB\n-----END X-----\n" },
            ],
        });
        json!({ "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "web", "namespace": "shop", "annotations": { "a": "correct horse" } },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [container] } } } })
    }

    #[rstest]
    #[case::value("the pin is 4928!", "the pin is [hidden]!")]
    #[case::within_a_word("x4928y", "x[hidden]y")]
    #[case::the_longest("49285555", "[hidden]")]
    #[case::quoted(r#"{"value":"a\"b\\c\nd"}"#, r#"{"value":"[hidden]"}"#)]
    #[case::raw("a\"b\\c\nd", "[hidden]")]
    #[case::annotation("it says correct horse", "it says [hidden]")]
    #[case::argument("with --token=hunter22 it", "with [hidden] it")]
    #[case::behind_an_equals_sign("the token hunter22", "the token [hidden]")]
    #[case::one_line("key MIIEowIB", "key [hidden]")]
    #[case::word("mode debug", "mode [hidden]")]
    #[case::short("abc", "abc")]
    #[case::a_name_too(
        "namespace shop, image registry.example/shop/web:2",
        "namespace shop, image registry.example/shop/web:2"
    )]
    #[case::marked("[hidden] 4928", "[hidden] [hidden]")]
    fn words_have_no_hidden_value(#[case] words: &str, #[case] clean: &str) {
        let values = HiddenValues::of(&deployment());
        assert_eq!(values.in_words(words), clean);
        assert_eq!(values.in_words(clean), clean);
    }

    #[test]
    fn the_whole_object_in_words_has_none() {
        let (object, values) = (deployment(), HiddenValues::of(&deployment()));
        let printed = values.in_words(&object.to_string());
        for secret in ["hunter22", "4928", "correct horse", "MIIEowIB", "debug"] {
            assert!(!printed.contains(secret), "{secret} in {printed}");
        }
        assert!(printed.contains("registry.example/shop/web:2") && printed.contains("\"replicas\":3"), "{printed}");
        assert!(format!("{values:?}").starts_with("HiddenValues("), "{values:?}");
    }

    #[rstest]
    #[case::number("4928 is wrong", "[hidden] is wrong")]
    #[case::within_a_number("149281 is a version", "149281 is a version")]
    #[case::word("debug is a mode", "debug is a mode")]
    #[case::long("exec: \"--token=hunter22\": not found", "exec: \"[hidden]\": not found")]
    fn a_sentence_keeps_plain_words(#[case] sentence: &str, #[case] clean: &str) {
        assert_eq!(HiddenValues::of(&deployment()).in_sentence(sentence), clean);
    }

    #[rstest]
    #[case::cut_in_a_value("the token is --token=hunt", "the token is [hidden]")]
    #[case::behind_its_name("the token is hunter2", "the token is [hidden]")]
    #[case::whole("the token is hunter22", "the token is [hidden]")]
    #[case::three_characters("the token is hun", "the token is hun")]
    #[case::in_the_middle("hunter2 is not the token", "hunter2 is not the token")]
    #[case::nothing("", "")]
    fn a_cut_sentence_has_no_beginning_of_a_value(#[case] sentence: &str, #[case] clean: &str) {
        assert_eq!(HiddenValues::of(&deployment()).in_cut_sentence(sentence), clean);
    }

    #[test]
    fn a_template_has_values_too() {
        let mut values = HiddenValues::default();
        assert_eq!(values.in_words("hunter22"), "hunter22");
        values.learn_template(
            &json!({ "spec": { "containers": [{ "image": "web:2", "env": [{ "value": "hunter22" }] }] } }),
        );
        assert_eq!(values.in_words("web:2 hunter22"), "web:2 [hidden]");
    }
}
