//! Secrets that stand below what announces them, without a name of their own: a first password that a program tells, codes to
//! recover an account, the answers of a mail server's dialogue, the fields of a form, PHP's dumps, lists of accounts.
//!
//! What a line means for the next ones is asked of the line without its secrets: so it is the same for a log that was redacted
//! before.

use super::names::{Says, says};
use super::text::{
    Quote, REPLACEMENT, Span, at, behind_time, blanks, find, goes_on, in_base64, in_name, is_replaced, part, run,
    run_back, scrambled, trimmed,
};

/// The most lines between what announces a secret and the secret, and the most codes of a list.
const NEAR: usize = 4;
const CODES: usize = 24;
/// A sentence that announces a secret is looked at so far before its end.
const SENTENCE: usize = 256;

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Outside,
    /// Behind `Please use the following password:`
    Told {
        lines: usize,
    },
    /// Behind `Recovery codes:`
    Codes {
        lines: usize,
    },
    /// Behind `334 UGFzc3dvcmQ6`: a mail server asks.
    Asked,
    /// Behind `["password"]=>`
    Dump,
    /// Behind `Content-Disposition: form-data; name="password"`, and behind the blank line that follows.
    Form {
        lines: usize,
    },
    Field,
    /// Below `chpasswd:`, which was so deep, or behind `chpasswd <<EOF`.
    Accounts {
        depth: Option<usize>,
    },
}

/// Follows a log's dialogues line by line.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    state: State,
}

impl Dialogue {
    /// Returns the part of a line that the lines above it say is secret.
    pub(super) fn hide(&self, line: &[u8]) -> Option<Span> {
        if self.state == State::Outside {
            return None;
        }
        let (from, to) = content(line);
        let own = part(line, (from, to));
        let whole = || (to > from && !is_replaced(line, to)).then_some((from, to));
        match self.state {
            State::Told { .. } if is_made(own) => whole(),
            State::Codes { .. } if are_codes(own) => whole(),
            State::Field if !own.starts_with(b"--") => whole(),
            State::Asked => {
                let start = run_back(line, to, own.len(), |byte| in_base64(byte) || byte == b'=');
                let word = part(line, (start, to));
                let alone = start == from || matches!(at(line, start.saturating_sub(1)), b' ' | b'\t');
                let whole = word.len() >= 8 && word.len().is_multiple_of(4) && alone;
                let answer = whole && (word.ends_with(b"=") || scrambled(word));
                answer.then_some((start, to))
            }
            State::Dump if own.starts_with(b"string(") => {
                let quote = Quote::open(line, run(line, from, |byte| byte != b'"'))?;
                let end = to.saturating_sub(usize::from(own.ends_with(b"\"")));
                (end > quote.end).then_some((quote.end, end))
            }
            State::Accounts { .. } => {
                let sign = run(line, from, |byte| in_name(byte) || byte == b'$');
                let account = at(line, sign) == b':' && sign > from && !at(line, sign + 1).is_ascii_whitespace();
                (account && to > sign + 1).then_some((sign + 1, to))
            }
            _ => None,
        }
    }

    /// Looks what a line, without its secrets, says about the next ones.
    pub(super) fn follow(&mut self, line: &[u8]) {
        let to = trimmed(line);
        let last = at(line, to.saturating_sub(1));
        self.state = match announced(line, to, last) {
            State::Outside if self.state == State::Outside => return,
            State::Outside => self.goes_on(line),
            next => next,
        };
    }

    fn goes_on(&self, line: &[u8]) -> State {
        let (from, to) = content(line);
        let own = part(line, (from, to));
        match self.state {
            State::Told { lines } if own.is_empty() && lines < NEAR => State::Told { lines: lines + 1 },
            State::Codes { lines } if lines < CODES && (own.is_empty() && lines < NEAR || are_codes(own)) => {
                State::Codes { lines: lines + 1 }
            }
            State::Form { .. } if own.is_empty() => State::Field,
            State::Form { lines } if lines < NEAR => State::Form { lines: lines + 1 },
            State::Accounts { depth: Some(depth) } if own.is_empty() || from - behind_time(line) > depth => self.state,
            State::Accounts { depth: None } if own.contains(&b':') => self.state,
            _ => State::Outside,
        }
    }
}

/// Returns what a line has behind its time and its blanks.
fn content(line: &[u8]) -> Span {
    let to = trimmed(line);
    (blanks(line, behind_time(line)).min(to), to)
}

/// Returns what a line announces. It is asked of every line, so the last byte comes first.
fn announced(line: &[u8], to: usize, last: u8) -> State {
    match last {
        b':' => sentence(line, to),
        b'>' if part(line, (0, to)).ends_with(b"]=>") => {
            let quote = to - 3;
            let end = quote - usize::from(at(line, quote.saturating_sub(1)) == b'"');
            let from = run_back(line, end, 64, in_name);
            if says(part(line, (from, end))) == Some(Says::Secret) { State::Dump } else { State::Outside }
        }
        b'"' => field(line, to),
        b'=' | b'6' | b'4' => {
            let word = run_back(line, to, SENTENCE, |byte| in_base64(byte) || byte == b'=');
            let own = part(line, (word, to));
            let asks = own == b"334" || part(line, (0, word)).ends_with(b"334 ") && own != b"VXNlcm5hbWU6";
            let (start, _) = content(line);
            let head = part(line, (start, word)).trim_ascii_end();
            let head = head.strip_suffix(b"334").unwrap_or(head).trim_ascii_end();
            if asks && matches!(head.last(), None | Some(b':' | b'<' | b'-' | b'>')) {
                State::Asked
            } else {
                State::Outside
            }
        }
        b'F' | b'\'' if find(line, 0, b"chpasswd <<").is_some() => State::Accounts { depth: None },
        _ => State::Outside,
    }
}

/// Returns what a line announces that ends with a colon: a sentence, not a name.
fn sentence(line: &[u8], to: usize) -> State {
    let (from, _) = content(line);
    if part(line, (from, to)) == b"chpasswd:" {
        return State::Accounts { depth: Some(from - behind_time(line)) };
    }
    let lower = part(line, (from.max(to.saturating_sub(SENTENCE)), to)).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| find(&lower, 0, word.as_bytes()).is_some());
    if !lower.contains(&b' ') {
        State::Outside
    } else if has(&["code"])
        && has(&["recovery code", "backup code", "scratch code", "emergency code", "one-time code"])
    {
        State::Codes { lines: 0 }
    } else if has(&["pass", "token", "secret", " key"]) {
        State::Told { lines: 0 }
    } else {
        State::Outside
    }
}

/// Returns whether a form's field whose name is a secret's begins here.
fn field(line: &[u8], to: usize) -> State {
    let (from, _) = content(line);
    let form = b"Content-Disposition: form-data; name=\"";
    let name = part(line, (from + form.len(), to.saturating_sub(1)));
    let secret = goes_on(line, from, form) && says(name).is_some_and(|says| says != Says::Perhaps);
    if secret { State::Form { lines: 0 } } else { State::Outside }
}

/// Returns whether a line is one word that looks made.
fn is_made(own: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| own.iter().any(kind);
    let word = (8..=512).contains(&own.len()) && !own.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b':');
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    word && (mixed || scrambled(own)) && !own.starts_with(b"/") && find(own, 0, REPLACEMENT.as_bytes()).is_none()
}

/// Returns whether a line is nothing but codes: `8f3k-22pq`, `1. 1234 5678`, `* a1b2-c3d4`.
fn are_codes(own: &[u8]) -> bool {
    let code = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b' ' | b'.' | b'*' | b'\t' | b',');
    let words = || own.split(|byte| matches!(byte, b' ' | b'\t' | b',')).filter(|word| word.len() > 3);
    let coded =
        own.iter().all(code) && words().all(|word| word.iter().any(u8::is_ascii_digit)) && words().next().is_some();
    own == REPLACEMENT.as_bytes() || own.len() <= 96 && coded
}
