//! Rego by hand: the tests of the ready conditions and of the documentation's policy, and what is cut off.

use rstest::rstest;
use serde_json::Value;

use super::run;

/// The ready conditions and the policy of the documentation, by their own tests.
#[rstest]
#[case("src/conditions/library", 70)]
#[case("docs/examples/policies", 7)]
fn rego_tests_pass(#[case] folder: &str, #[case] at_least: u32) {
    let folder = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
    let output = run(&["policy", "test", &folder], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let passed: u32 = text.lines().last().unwrap().strip_suffix(" passed, 0 failed").unwrap().parse().expect(&text);
    assert!(output.status.success() && passed >= at_least, "{text}");
    for one in action_runner::conditions::library::names().filter(|_| at_least > 7) {
        assert!(text.contains(&format!("PASS {one}_test.rego test_")), "{one} has no test");
    }
}

/// A ready condition, as it is printed, is one that can be changed and used.
#[test]
fn a_ready_condition_can_be_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (file, input) = (folder.path().join("mine.rego"), folder.path().join("input.json"));
    std::fs::write(&file, run(&["policy", "show", "no_crashloop_pods"], &[]).stdout).unwrap();
    std::fs::write(&input, r#"{"related":{"pods":[]}}"#).unwrap();
    let output = run(&["policy", "eval", "--input", input.to_str().unwrap(), file.to_str().unwrap()], &[]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["data.conditions.no_crashloop_pods"]["allow"], true, "{shown:#}");
}

#[test]
fn a_rego_test_that_fails_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rego = "package a\ntest_true if true\ntest_undefined if input.nothing\ntest_number := 3\ntest_broken if to_number(\"x\") == 1\n";
    std::fs::write(folder.path().join("a_test.rego"), rego).unwrap();
    let output = run(&["policy", "test", folder.path().to_str().unwrap()], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    for says in [
        "PASS a_test.rego test_true",
        "FAIL a_test.rego test_undefined: it is undefined",
        "FAIL a_test.rego test_number: it is 3",
        "FAIL a_test.rego test_broken: a_test.rego:5:27: ",
        "1 passed, 3 failed",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

/// Whatever is given as Rego and as input: an answer in time, within the memory, and in words.
#[rstest]
#[case::a_loop(
    "package a\nallow if count([1 | some x in numbers.range(1, 9000); some y in numbers.range(1, 9000); x * y == 7]) == 2",
    // 5 s of processor time, or 10 s on a machine that has other things to do.
    "it took "
)]
#[case::recursion("package a\nf(x) := f(x + 1)\nallow if f(1)", "it recurses too deeply")]
#[case::a_large_range(
    "package a\nallow if count(numbers.range(1, 200000000)) > 1",
    "it needs more than 40 MiB of memory"
)]
#[case::a_large_product(
    "package a\nx := numbers.range(1, 1000)\nallow if count([[p, q] | some p in x; some q in x]) > 1",
    "it needs more than 40 MiB of memory"
)]
#[case::brackets_in_brackets(
    &("package a\nallow if ".to_owned() + &"{".repeat(40)),
    // 5 s of processor time, or 10 s on a machine that has other things to do.
    "it took "
)]
#[case::a_large_exponent("package a\nallow if 0e20000000 == 0", "it took ")]
#[case::regular_expression(
    "package a\nallow if regex.match(\"^(a|aa)+$\", concat(\"\", [\"a\" | some _ in numbers.range(1, 9000)]))",
    "\"allow\": true"
)]
#[case::a_large_pattern(
    "package a\nallow if regex.match(\"(((a{1,300}){1,300}){1,300})\", \"a\")",
    "compiled regex exceeded size limit (102400 bytes)"
)]
#[case::no_text("\u{0}\u{1}\u{2}", "a.rego:1:1: expecting `package`")]
#[case::nothing("", "a.rego:1:")]
fn hostile_rego_is_cut_off(#[case] rego: &str, #[case] says: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (file, input) = (folder.path().join("a.rego"), folder.path().join("input.json"));
    std::fs::write(&file, rego).unwrap();
    std::fs::write(&input, "{}").unwrap();
    let started = std::time::Instant::now();
    let output = run(&["policy", "eval", "--input", input.to_str().unwrap(), file.to_str().unwrap()], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(says), "{text}");
    assert!(started.elapsed() < std::time::Duration::from_secs(40) && output.status.code().is_some());
}

#[test]
fn deep_rego_and_deep_and_large_input_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let says = |input: &str, rego: &str| {
        let output = run(&["policy", "eval", "--input", input, rego], &[]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let (small, plain) = (write("small.json", "{}"), write("plain.rego", "package a\nallow if input"));
    let deep = write("deep.rego", &format!("package a\nallow := {}", nested(20_000)));
    let (code, text) = says(&small, &deep);
    assert!(code == Some(2) && result_text(&text).starts_with("it "), "{text}");
    let (code, text) = says(&write("deep.json", &nested(100_000)), &plain);
    assert!(code == Some(2) && text.contains("the input is not what it should be: recursion limit exceeded"), "{text}");
    let (code, text) = says(&write("large.json", &format!("[{}]", "[1],".repeat(25 << 20) + "1")), &plain);
    assert!(code == Some(3) && text.contains("have 100 MiB; at most 8 are evaluated"), "{text}");
}

fn result_text(text: &str) -> String {
    let result: Value = serde_json::from_str(text).unwrap();
    result["error"].as_str().unwrap().to_owned()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    /// Nearly Rego: never a panic, never silence.
    #[test]
    fn random_rego_gets_an_answer(tokens in proptest::collection::vec(proptest::sample::select(vec![
        "package", "a", "allow", "if", "{", "}", "[", "]", "(", ")", ":=", "=", "some", "in", "every", "not", "with", "as", "input",
        ".related", ".pods", "\"", "`", "contains", "else", "default", "import", "rego.v1", "\n", " ", "|", "&", "1e999", "-", "0x", "%", "#", "é",
    ]), 0..60)) {
        let folder = tempfile::tempdir().unwrap();
        let (file, input) = (folder.path().join("a.rego"), folder.path().join("input.json"));
        std::fs::write(&file, format!("package a\n{}", tokens.join(" "))).unwrap();
        std::fs::write(&input, "{}").unwrap();
        let output = run(&["policy", "eval", "--input", input.to_str().unwrap(), file.to_str().unwrap()], &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let code = output.status.code().unwrap();
        proptest::prop_assert!(code == 0 || (matches!(code, 2 | 3) && answer["error"].is_string()), "{}", text);
        proptest::prop_assert!(!text.contains("panicked") && !text.contains("the evaluator ended with"), "{}", text);
    }
}
