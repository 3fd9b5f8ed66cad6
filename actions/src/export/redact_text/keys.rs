//! Private keys over many lines. Only lines that look like a key's are taken, so that a stray beginning takes none.

use std::sync::OnceLock;

use memchr::memmem::Finder;

use super::text::{Span, at, behind_time, find, goes_on, part, run, run_back, trimmed};

/// The most lines of a private key whose end never comes (a log may be cut): a 16384-bit RSA key has about 200.
const LONGEST_KEY: usize = 250;
// Widths of a key's lines: of PEM and PuTTY, of OpenSSH, of SSH2, of the command base64.
const WIDTHS: [usize; 4] = [64, 70, 72, 76];

/// Where in a key the log stands.
#[derive(Debug, Default)]
enum State {
    #[default]
    Outside,
    /// Behind the beginning of a private key: with what programs put before and behind its lines, and how many there were.
    Private { before: Vec<u8>, behind: Vec<u8>, lines: usize },
    /// In a key whose beginning the log does not have.
    Headless,
    /// In a certificate or a public key.
    Public,
}

/// Follows a log's keys line by line.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: State,
    begun: bool,
}

impl Keys {
    /// Returns the parts of a line that belong to a private key.
    pub(super) fn hide(&mut self, text: &[u8]) -> Vec<Span> {
        let first = !std::mem::replace(&mut self.begun, true);
        let content = behind_time(text);
        if let State::Private { before, behind, lines } = &mut self.state {
            *lines += 1;
            let ends = ending(text);
            let own = if *lines <= LONGEST_KEY { material(text, before, behind) } else { Vec::new() };
            if let (Some(end), false) = (ends, begins(text).is_some()) {
                let from = surrounded(text, before, &[]).map_or(content, |(from, _)| from.min(end));
                self.state = State::Outside;
                return vec![(from, end)];
            }
            if let (Some(first), None) = (own.first(), begins(text)) {
                if goes_on(text, first.0, b"Private-MAC: ") {
                    self.state = State::Outside;
                }
                return own;
            }
            self.state = State::Outside;
        }
        let marked = may_begin(text);
        if let Some(first) = marked.then(|| begins(text)).flatten() {
            return self.begin_all(text, first);
        }
        if goes_on(text, content, b"Private-Lines: ") {
            let before = fold(part(text, (0, content)));
            self.state = State::Private { before, behind: Vec::new(), lines: 0 };
            return Vec::new();
        }
        if matches!(self.state, State::Public) {
            return Vec::new();
        }
        self.without_beginning(text, content, first)
    }

    /// Looks whether a line, without its secrets, begins what anybody may know, or ends it.
    pub(super) fn follow(&mut self, line: &[u8]) {
        let content = behind_time(line);
        let begins = may_begin(line) && find(line, content, b"-BEGIN ").or(find(line, content, b"- BEGIN ")).is_some();
        match self.state {
            State::Outside if begins || goes_on(line, content, b"Public-Lines: ") => self.state = State::Public,
            State::Public if !begins && !part(line, (content, trimmed(line))).iter().all(|byte| is_base64(*byte)) => {
                self.state = State::Outside;
            }
            _ => {}
        }
    }

    /// Takes all keys that begin in a line. The last one may go on in the next.
    fn begin_all(&mut self, text: &[u8], first: Span) -> Vec<Span> {
        self.state = State::Outside;
        let (taken, last) = from_beginnings(text, first);
        if let Some((from, marker)) = last {
            let end = in_one_line(text, marker);
            // A program that writes each line as JSON: the line's end stands in it, and what comes behind is the same each time.
            let escaped = goes_on(text, marker, b"\\n\"") || goes_on(text, marker, b"\\r\\n\"");
            let rest = part(text, (if escaped { marker } else { end }, text.len()));
            if escaped || rest.iter().all(|byte| byte.is_ascii_whitespace() || b"\"',}\\|>n".contains(byte)) {
                self.state = State::Private { before: fold(part(text, (0, from))), behind: rest.to_vec(), lines: 0 };
            }
        }
        taken
    }

    /// Lines of nothing but base64, of a key's width, at the beginning of a log or after another such line.
    fn without_beginning(&mut self, text: &[u8], from: usize, first: bool) -> Vec<Span> {
        let to = trimmed(text);
        let own = part(text, (from, to));
        let width = own.len();
        let candidate = WIDTHS.contains(&width) || first && width.is_multiple_of(4) && (4..=76).contains(&width);
        if !candidate && matches!(self.state, State::Outside) {
            return Vec::new();
        }
        let plain = candidate && looks_encoded(own, width);
        let taken = match self.state {
            State::Headless => own.iter().all(|byte| is_base64(*byte)) && !own.is_empty(),
            _ => plain && (WIDTHS.contains(&width) || own.ends_with(b"=") || width >= 24),
        };
        match (&self.state, taken) {
            (_, true) => self.state = State::Headless,
            (State::Headless, false) => {
                self.state = State::Outside;
                if let Some(end) = ending(text) {
                    return vec![(from, end)];
                }
            }
            _ => {}
        }
        if taken { vec![(from, to)] } else { Vec::new() }
    }
}

/// Returns the parts of a line from the beginnings of keys on: a secret between its words may have kept one from being seen.
pub(super) fn begun(text: &[u8]) -> Vec<Span> {
    let first = may_begin(text).then(|| begins(text)).flatten();
    first.map_or_else(Vec::new, |first| from_beginnings(text, first).0)
}

/// Returns the parts of a line that are keys, and the beginning of the last one if it does not end there.
fn from_beginnings(text: &[u8], first: Span) -> (Vec<Span>, Option<Span>) {
    let (mut taken, mut next, mut last) = (Vec::new(), Some(first), None);
    while let Some((from, behind)) = next {
        let end = whole(text, behind);
        last = end.is_none().then_some((from, behind));
        let end = end.unwrap_or_else(|| in_one_line(text, behind));
        taken.push((from, end));
        next = marker(text, end, b"BEGIN ");
    }
    (taken, last)
}

/// Returns the end of a key that stands in a line with its end: what stands between must be a key's, or else the two have
/// nothing to do with each other.
fn whole(text: &[u8], from: usize) -> Option<usize> {
    // Longer than the marker of any end.
    const MARKER: usize = 80;
    let reach = in_one_line(text, from);
    let end = from + ending(part(text, (from, reach + MARKER)))?;
    let head = part(text, (0, end));
    let between = find(head, from, b"-- END ").or(find(head, from, b"-----END ")).unwrap_or(end);
    (reach >= between).then_some(end)
}

/// Returns whether a line has what every beginning has; it is asked of every line.
fn may_begin(text: &[u8]) -> bool {
    static BEGIN: OnceLock<Finder<'static>> = OnceLock::new();
    BEGIN.get_or_init(|| Finder::new(b"BEGIN ")).find(text).is_some()
}

/// Returns where a private key begins: `-----BEGIN RSA PRIVATE KEY-----`, `---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----`.
fn begins(text: &[u8]) -> Option<Span> {
    marker(text, 0, b"BEGIN ")
}

/// Returns the end of the marker that ends a private key.
fn ending(text: &[u8]) -> Option<usize> {
    marker(text, 0, b"END ").map(|(_, end)| end)
}

fn marker(text: &[u8], mut from: usize, word: &[u8]) -> Option<Span> {
    const LONGEST_KIND: usize = 48;
    while let Some(found) = find(text, from, word) {
        from = found + word.len();
        let blank = found.saturating_sub(1);
        let head = if at(text, blank) == b' ' { blank } else { found };
        let dashes = run_back(text, head, 5, |byte| byte == b'-');
        let kind = run(part(text, (0, from + LONGEST_KIND)), from, |byte| byte != b'-');
        let end = run(part(text, (0, kind + 5)), kind, |byte| byte == b'-');
        let private = find(part(text, (from, kind)), 0, b"PRIVATE KEY").is_some();
        if private && head - dashes >= 4 && end - kind >= 4 {
            return Some((dashes, end));
        }
    }
    None
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Returns whether a word has what encoded bytes have, and words, numbers and digests have not.
fn looks_encoded(own: &[u8], width: usize) -> bool {
    let has = |kind: fn(&u8) -> bool| own.iter().any(kind);
    let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && (has(u8::is_ascii_digit) || width < 12);
    mixed && own.iter().all(|byte| is_base64(*byte))
}

/// Returns the end of a key's bytes in one line: base64, line ends as strings write them, and what headers have.
fn in_one_line(text: &[u8], from: usize) -> usize {
    let mut index = from;
    loop {
        let step = match at(text, index) {
            b'\\' => {
                let letter = run(text, index, |byte| byte == b'\\');
                if matches!(at(text, letter), b'n' | b'r') { letter + 1 - index } else { 0 }
            }
            b' ' => {
                let word = run(text, index + 1, is_base64);
                if word - index > 16 || word > index + 1 && at(text, word) == b' ' && word - index > 4 {
                    word - index
                } else {
                    0
                }
            }
            byte if is_base64(byte) => 1,
            _ => header(text, index).map_or(0, |end| end - index),
        };
        if step == 0 {
            return index;
        }
        index += step;
    }
}

/// A header within a key (`Proc-Type: 4,ENCRYPTED`) has a sign in it that base64 has not; returns its end.
fn header(text: &[u8], index: usize) -> Option<usize> {
    let inside = matches!(at(text, index), b'-' | b':' | b',')
        && at(text, index + 1) != b'-'
        && at(text, index.checked_sub(1)?) != b'-';
    inside.then(|| if at(text, index + 1) == b' ' { index + 2 } else { index + 1 })
}

/// Returns the parts of a line that are a key's, as they stand between what the program writes around its lines.
fn material(text: &[u8], before: &[u8], behind: &[u8]) -> Vec<Span> {
    const SHORTEST: usize = 40;
    if let Some((from, to)) = surrounded(text, before, behind) {
        let own = part(text, (from, to));
        let name = run(text, from, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let header = goes_on(text, name, b": ") && name > from && part(text, (from, name)).contains(&b'-')
            || ["Version: ", "Comment: ", "Subject: ", "Hash: "].iter().any(|one| own.starts_with(one.as_bytes()));
        if header || own.iter().all(|byte| is_base64(*byte)) {
            return vec![(from, to)];
        }
    }
    // Whatever stands around them: words as long as a key's line.
    let (mut all, mut from) = (Vec::new(), 0);
    while from < text.len() {
        let to = run(text, from, is_base64);
        if to - from >= SHORTEST && looks_encoded(part(text, (from, to)), to - from) {
            all.push((from, to));
        }
        from = to + 1;
    }
    all
}

/// Returns the part between what was around the key's beginning, where only digits may differ: times and numbers.
fn surrounded(text: &[u8], before: &[u8], behind: &[u8]) -> Option<Span> {
    let mut from = 0;
    for byte in before {
        if *byte == b'0' {
            let digits = run(text, from, |byte| byte.is_ascii_digit());
            if digits == from {
                return None;
            }
            from = digits;
        } else if at(text, from) == *byte {
            from += 1;
        } else {
            return None;
        }
    }
    let to = trimmed(text);
    let behind = part(behind, (0, trimmed(behind)));
    let to = if part(text, (0, to)).ends_with(behind) { to - behind.len() } else { to };
    (from <= to).then_some((from, to))
}

/// Numbers become one digit.
fn fold(text: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(text.len());
    for byte in text {
        if !byte.is_ascii_digit() {
            folded.push(*byte);
        } else if folded.last() != Some(&b'0') {
            folded.push(b'0');
        }
    }
    folded
}
