//! Names and their values: finds where the value of a name stands, in whichever notation.

use super::context::{is_made, is_other, of_two_words, unexpected};
use super::harmless::{counts, harmless, names_a_file, names_an_object};
use super::name::{Name, Sign, opening};
use super::names::{Says, says};
use super::schemes;
use super::text::{Quote, REPLACEMENT, Span, after_any, at, before, blanks, find, part, run, run_back};
use super::values::{Until, Value, value};

/// What stands between a name and the next field is looked through so far.
const LONGEST: usize = 96;
/// A value that is looked at before it is known to be secret is looked at so far.
const FIRST_LOOK: usize = 512;

impl Name<'_> {
    /// Returns the value that a pair gives to this name: `"name": "DB_PASSWORD", "value": "x"`, `{Name:DB_PASSWORD Value:x}`.
    fn pair(&self, text: &[u8]) -> Option<Value> {
        let is_name = self.is_value_of_name(text);
        if !is_name {
            return None;
        }
        let from = self.closed(text).unwrap_or(self.span.1);
        let from =
            run(part(text, (0, from + LONGEST)), from, |byte| matches!(byte, b',' | b' ' | b'\t' | b'>' | b'}' | b'{'));
        // `name=\"password\"\r\n\r\nx`: a form as a string.
        if let Some(to) = after_any(text, from, &["\\r\\n\\r\\n", "\\n\\n"]) {
            return value(text, to, Until::Blank);
        }
        value_field(text, from).or_else(|| {
            // `<property name="password">x</property>`
            (before(text, from) == b'>').then(|| value(text, from, Until::Tag))?
        })
    }

    /// Returns whether the name is itself the value of a field `name` or `key`.
    fn is_value_of_name(&self, text: &[u8]) -> bool {
        let opened = self.quote.map_or(self.span.0, |_| self.opening(text));
        let sign = run_back(text, opened, 8, |byte| matches!(byte, b' ' | b':' | b'=' | b'>'));
        let end = if sign == opened { return false } else { sign };
        let end = run_back(text, end, 40, |byte| matches!(byte, b'"' | b'\'' | b'\\'));
        let from = run_back(text, end, 16, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let field = part(text, (from, end));
        ["name", "key", "field", "header", "property"].iter().any(|one| field.eq_ignore_ascii_case(one.as_bytes()))
    }
}

/// Returns the value of a field `value` that stands here.
fn value_field(text: &[u8], from: usize) -> Option<Value> {
    let quote = Quote::open(text, from);
    let to = after_any(text, quote.map_or(from, |quote| quote.end), &["value", "val", "content", "data"])?;
    let to = quote.map_or(Some(to), |quote| quote.again(text, to))?;
    let to = blanks(text, to);
    matches!(at(text, to), b':' | b'=').then_some(())?;
    value(text, blanks(text, run(text, to, |byte| matches!(byte, b'=' | b'>' | b':'))), Until::Blank)
}

/// Returns the secret that the name around this place has, and where to look on.
pub(super) fn look(text: &[u8], hit: Span) -> (Option<Span>, usize) {
    let name = Name::around(text, hit);
    let on = name.span.1.max(hit.0 + 1);
    let sign = name.sign(text);
    if sign.is_none() && !name.is_value_of_name(text) {
        return (schemes::sasl(text, &name).or_else(|| name.alone(text)), on);
    }
    if is_other(text, &name, sign) {
        return (None, on);
    }
    let Some(says) = says(name.text).or_else(|| of_two_words(text, &name)) else { return (None, on) };
    let secret = match sign {
        Some((Sign::Equals | Sign::Colon | Sign::Near, from, _)) if says == Says::Authorization => {
            schemes::authorization(text, from, name.quote.is_some_and(|_| name.closed(text).is_none()))
        }
        Some(sign) => of_sign(text, &name, says, sign),
        None => name.pair(text).filter(|value| is_secret(text, &name, says, *value, false)).map(|value| value.span),
    };
    (secret.or_else(|| name.alone(text)), on)
}

fn of_sign(text: &[u8], name: &Name<'_>, says: Says, (sign, from, until): (Sign, usize, Until)) -> Option<Span> {
    let careful = says != Says::Secret || sign == Sign::Says;
    if sign == Sign::Tag && !closes_tag(text, from) {
        return None;
    }
    let first = if careful { part(text, (0, from + FIRST_LOOK)) } else { text };
    if at(text, from) == b'{' {
        let inside = value_field(first, run(first, from, |byte| matches!(byte, b'{' | b' ' | b'\\')))?;
        return is_secret(first, name, says, inside, false).then_some(inside.span);
    }
    let says = if sign == Sign::Says { Says::Perhaps } else { says };
    let sentence = sign == Sign::Colon && name.quote.is_none();
    let found = value(first, from, until)?;
    // `special tokens: bos_token=<s>` are names of their own.
    if says == Says::Several && sentence && !found.closed && part(first, found.span).contains(&b'=') {
        return None;
    }
    if !is_secret(first, name, says, found, sentence) || sentence && unexpected(text, name.span.0) {
        return None;
    }
    if careful { value(text, from, until).map(|value| value.span) } else { Some(found.span) }
}

/// Returns whether a value behind a tag may be one: what begins with a blank is a sentence if no tag closes it.
fn closes_tag(text: &[u8], from: usize) -> bool {
    let end = run(text, from, |byte| byte != b'<');
    at(text, end) == b'<' || at(text, from) != b' '
}

fn is_secret(text: &[u8], name: &Name<'_>, says: Says, value: Value, sentence: bool) -> bool {
    let own = part(text, value.span);
    if harmless(text, value, sentence) {
        return false;
    }
    let lower = name.text.to_ascii_lowercase();
    let password = find(&lower, 0, b"pass").is_some();
    // A secret's id may be its name.
    let id = ["secretid", "secret_id", "secret-id"].iter().any(|one| lower.ends_with(one.as_bytes()));
    let object = (id || matches!(lower.as_slice(), b"secret" | b"secrets" | b"v1.secret")) && names_an_object(own);
    let place =
        !password && names_a_file(own) || object || (lower == b"pwd" || lower == b"oldpwd") && own.starts_with(b"/");
    match says {
        Says::Secret => !place,
        Says::Several => !place && !counts(own),
        _ => !place && (is_made(text, name, own) || own == REPLACEMENT.as_bytes() || encoded_pair(&lower, own)),
    }
}

/// `"auth": "dXNlcjpwYXNz"` of a registry's configuration.
fn encoded_pair(name: &[u8], own: &[u8]) -> bool {
    name.ends_with(b"auth") && super::encoded::decode(own).is_some_and(|text| text.contains(&b':'))
}

/// Returns the value before a name that is given after it: `"value": "x", "name": "DB_PASSWORD"`.
pub(super) fn pair_before(text: &[u8], hit: Span) -> Option<Span> {
    const LONGEST_VALUE: usize = 4 << 10;
    let near = part(text, (0, hit.1 + LONGEST_VALUE));
    let from = opening(near, hit.0);
    let found = value_field(near, from)?;
    let end = Quote::open(near, found.span.1).map_or(found.span.1, |quote| quote.end);
    let next = run(near, end, |byte| matches!(byte, b',' | b' ' | b'"' | b'\'' | b'\\'));
    let to = after_any(near, next, &["name", "key"])?;
    let name = run(near, to, |byte| matches!(byte, b' ' | b'"' | b'\'' | b'\\' | b':' | b'='));
    let name = Name::around(near, (name, name));
    let says = says(name.text)?;
    (name.span.0 > to && is_secret(near, &name, says, found, false)).then_some(found.span)
}
