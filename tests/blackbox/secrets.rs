//! Secrets in files and variables that cannot be used: no output quotes them.

use std::path::Path;
use std::process::Output;

use rstest::rstest;
use serde_json::Value;

use super::{result, run};

/// In every planted value.
const PLANTED: &str = "hunter22";

fn kubeconfig(user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters:\n- name: x\n  cluster:\n    server: https://127.0.0.1:1\n\
         contexts:\n- name: x\n  context:\n    cluster: x\n    user: x\nusers:\n- name: x\n  user:\n    {user}\n"
    )
}

/// Runs with this kubeconfig, and returns the error of a result without a planted value beside it.
fn error_of(folder: &Path, text: &str) -> (Output, String) {
    let file = folder.join("config");
    std::fs::write(&file, text).unwrap();
    let variables = [
        ("ACTION_TYPE", "cordon"),
        ("TARGET_NAME", "n1"),
        ("KUBECONFIG", file.to_str().unwrap()),
        ("ACTION_TIMEOUT", "2s"),
        ("LOG_LEVEL", "debug"),
        ("PATH", "/usr/bin:/bin"),
    ];
    let output = run(&[], &variables);
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let all = String::from_utf8_lossy(&all).into_owned();
    // As text, and as the numbers of its bytes.
    assert!(!all.contains(PLANTED) && !all.contains("104, 117, 110, 116"), "{all}");
    let error = result(&output)["error"].as_str().unwrap().to_owned();
    (output, error)
}

#[rstest]
#[case::line_break("token: \"hunter22\\n\"", "KUBECONFIG: the user's token holds a line break")]
#[case::block("token: |\n      hunter22", "KUBECONFIG: the user's token holds a line break")]
#[case::escape(
    "token: \"hunter22\\e[2J\"",
    "KUBECONFIG: the user's token holds a line break or another control character"
)]
#[case::provider(
    "auth-provider: { name: oidc, config: { id-token: \"hunter22\\n\" } }",
    "KUBECONFIG: id-token of the user's auth-provider holds"
)]
#[case::token_for_a_path("tokenFile: hunter22", "tokenFile: failed to read the file that it names")]
#[case::key_for_a_path(
    "client-key: hunter22\n    client-certificate: hunter22",
    "failed to read the file that it names"
)]
#[case::key_that_is_no_base64("client-key-data: '-----hunter22'\n    client-certificate-data: hunter22", "not base64")]
#[case::not_yaml("token: \"hunter22", "not a kubeconfig: line ")]
#[case::text_for_a_user("- hunter22", "not a kubeconfig: line ")]
#[case::list_for_a_token("token: [hunter22]", "not a kubeconfig: line ")]
fn a_kubeconfig_is_not_quoted(#[case] user: &str, #[case] says: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (output, error) = error_of(folder.path(), &kubeconfig(user));
    assert!(error.contains(says), "{error}");
    assert_eq!(output.status.code(), Some(2), "{error}");
}

/// The line breaks of a key were lost on the way: the parser's own words have its bytes as numbers.
#[test]
fn a_key_without_line_breaks_is_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "-----BEGIN PRIVATE KEY hunter22 -----END PRIVATE KEY-----").unwrap();
    let user = format!("client-key: {}\n    client-certificate: {}", key.display(), key.display());
    let (_, error) = error_of(folder.path(), &kubeconfig(&user));
    assert!(error.contains("client-certificate, client-key: not valid PEM"), "{error}");
}

#[test]
fn a_token_of_a_file_is_told_by_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "hunter22\n").unwrap();
    let (output, error) = error_of(folder.path(), &kubeconfig(&format!("tokenFile: {}", token.display())));
    assert!(error.starts_with("KUBECONFIG: the file that the user's tokenFile names holds a line break"), "{error}");
    assert_eq!((output.status.code(), &result(&output)["code"]), (Some(2), &Value::from("InvalidRequest")));
}

/// kube would panic where it makes a header of it.
#[rstest]
#[case::line_break(
    r#"printf %s '{"status":{"token":"hunter22\nmore"}}'"#,
    "token that its login plugin returned holds a line break"
)]
#[case::nonsense("echo hunter22", "its login plugin failed; run it by hand")]
#[case::failing("echo hunter22; echo hunter22 >&2; exit 1", "its login plugin failed; run it by hand")]
#[case::time(
    r#"echo '{"status":{"token":"x","expirationTimestamp":"hunter22"}}'"#,
    "its login plugin failed; run it by hand"
)]
fn a_login_plugins_output_is_not_shown(#[case] script: &str, #[case] says: &str) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("plugin");
    std::fs::write(&plugin, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let user = format!(
        "exec: {{ apiVersion: client.authentication.k8s.io/v1, command: {}, interactiveMode: Never }}",
        plugin.display()
    );
    let (output, error) = error_of(folder.path(), &kubeconfig(&user));
    assert!(error.contains(says), "{error}");
    assert_eq!(output.status.code(), Some(2), "{error}");
}

/// A variable that names another file than was meant: a token, a key, the passwords of the machine.
#[rstest]
#[case::token("hunter22.eyJhbGciOiJub25lIn0\n")]
#[case::shadow("root:hunter22:19000:0:99999:7:::\n")]
#[case::json(r#"{"private_key":"hunter22"}"#)]
#[case::string(r#""hunter22""#)]
#[case::list(r#"["hunter22"]"#)]
#[case::short("hunter22")]
#[case::in_a_field(r#"{"reason":["hunter22"]}"#)]
#[case::field(r#"{"hunter22":1}"#)]
fn another_file_is_not_quoted(#[case] content: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, content).unwrap();
    for variable in ["ACTION_PARAMETERS_FILE", "ACTION_PRECONDITIONS_FILE", "ACTION_POSTCONDITIONS_FILE", "KUBECONFIG"]
    {
        let mut variables =
            vec![("ACTION_TYPE", "cordon"), ("TARGET_NAME", "n1"), ("KUBECONFIG", "/dev/null"), ("LOG_LEVEL", "debug")];
        variables.retain(|(name, _)| *name != variable);
        variables.push((variable, file.to_str().unwrap()));
        let output = run(&[], &variables);
        assert_eq!(output.status.code(), Some(2), "{variable}");
        let all = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!all.contains(PLANTED), "{variable}: {all}");
        assert!(all.contains(variable.trim_end_matches("_FILE")), "{variable}: {all}");
    }
}

/// Every variable, with a value that none of them takes. (Of Rego that is wrong the line is shown: it is code.)
#[rstest]
#[case("hunter22!/a/b/c")]
#[case("hunter22\u{1b}[2J")]
#[case("{\"hunter22\":\"hunter22\"}")]
fn no_value_of_a_variable_is_shown(#[case] value: &str) {
    const OTHERS: [&str; 6] = ["RUST_LOG", "LOG_LEVEL", "LOG_FORMAT", "SSL_CERT_FILE", "NO_PROXY", "ACTION_POLICIES"];
    let names = contract::variables::VARIABLES.iter().map(|variable| variable.name);
    for name in names.filter(|name| !OTHERS.contains(name)) {
        let mut variables =
            vec![("ACTION_TYPE", "cordon"), ("TARGET_NAME", "n1"), ("KUBECONFIG", "/dev/null"), ("LOG_LEVEL", "debug")];
        variables.retain(|(other, _)| *other != name);
        variables.push((name, value));
        let output = run(&[], &variables);
        let all = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!all.contains(PLANTED), "{name}: {all}");
        assert!(!all.contains('\u{1b}'), "{name}: {all}");
    }
}
