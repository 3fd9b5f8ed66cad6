//! Any text as a Rego module: it declares what it reads, or it is told where it is wrong. (Evaluation has no bounds of its
//! own and is the child's: `tests/blackbox/rego.rs`.)
#![no_main]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here is a finding")]

use action_runner::conditions::module::Module;
use action_runner::conditions::sandbox::child::{Answer, Task, answer};
use libfuzzer_sys::fuzz_target;

/// regorus parses nested brackets in exponential time (a known finding of this target; the child is cut off after 5 s).
const DEEPEST: usize = 8;

fuzz_target!(|text: &str| {
    if depth(text) > DEEPEST || has_large_exponent(text) {
        return;
    }
    let module = Module { name: "fuzzed.rego".to_owned(), text: text.to_owned() };
    match answer(&Task { modules: vec![module], rules: Vec::new() }, "") {
        Answer::Declared(declared) => {
            assert_eq!(declared.len(), 1);
            assert!(declared.iter().all(|one| one.package.starts_with("data")), "{declared:?}");
        }
        Answer::Trouble(trouble) => assert!(!trouble.message.is_empty(), "{trouble:?}"),
        Answer::Values(values) => panic!("nothing was asked, and {values:?} came"),
    }
});

/// regorus takes very long for `0e20000000` (likewise).
fn has_large_exponent(text: &str) -> bool {
    const MOST: usize = 3;
    let digits = |part: &str| part.trim_start_matches(['+', '-']).bytes().take_while(u8::is_ascii_digit).count();
    text.split(['e', 'E']).skip(1).any(|part| digits(part) > MOST)
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
