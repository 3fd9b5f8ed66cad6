//! The binary from outside, without a cluster: its sub-commands, its errors, and the files it generates.
#![allow(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test that fails says so by a panic"
)]

mod executor;
mod generated;
mod house;
mod markdown;
mod operations;
mod redaction;
mod rego;
mod secrets;
mod unread;

use std::path::PathBuf;
use std::process::{Command, Output};

use rstest::rstest;
use serde_json::Value;

/// The binary that cargo built for this test, or the one that is to be judged in its place.
fn binary() -> PathBuf {
    test_cluster::assets::variable("ACTION_RUNNER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_action-runner")), PathBuf::from)
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(binary()).args(arguments).env_clear().envs(variables.iter().copied()).output().unwrap()
}

fn result(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn an_empty_environment_names_all_that_is_needed() {
    let output = run(&[], &[]);
    let result = result(&output);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(result["code"], "InvalidRequest");
    let error = result["error"].as_str().unwrap();
    for variable in ["ACTION_TYPE: needed", "TARGET_NAME: needed", "KUBECONFIG: not set"] {
        assert!(error.contains(variable), "{error}");
    }
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bad_variables_and_bad_parameters_are_reported_together() {
    let variables = [
        ("ACTION_TYPE", "scale-deployment"),
        ("TARGET_NAME", "n/status"),
        ("KUBECONFIG", "/x"),
        ("ACTION_DRYRUN", "true"),
        ("ACTION_PARAMETERS", r#"{"replics":3}"#),
    ];
    let error = result(&run(&[], &variables))["error"].as_str().unwrap().to_owned();
    for problem in
        ["TARGET_NAME: ", "did you mean ACTION_DRY_RUN?", "unknown field \"replics\", did you mean replicas?"]
    {
        assert!(error.contains(problem), "{error}");
    }
}

/// A presigned address is a credential, also where it does not belong.
#[rstest]
#[case("ACTION_PARAMETERS", r#"{"destination":"https://b.example/k?X-Sig=hunter22"}"#)]
#[case("ACTION_PARAMETERS", r#"{"maxBytes":"https://b.example/k?X-Sig=hunter22"}"#)]
#[case("ACTION_PARAMETERS", r#"{"destination":"directory","directory":"https://b.example/k?X-Sig=hunter22"}"#)]
#[case("ACTION_PARAMETERS", r#"{"destination":"url","url":"https://b.example/k?X-Sig=hunter22"}"#)]
#[case("ACTION_PARAMETERS", r#"{"containers":"https://b.example/k?X-Sig=hunter22("}"#)]
#[case("ACTION_UPLOAD_HOSTS", "https://b.example/k?X-Sig=hunter22")]
#[case("ACTION_PARAMETERS_FILE", "https://b.example/k?X-Sig=hunter22")]
#[case("TARGET_NAME", "https://b.example/k?X-Sig=hunter22")]
fn a_presigned_address_in_the_wrong_place_is_not_shown(#[case] variable: &str, #[case] value: &str) {
    let mut variables = vec![("ACTION_TYPE", "collect-logs-pod"), ("TARGET_NAME", "web"), ("KUBECONFIG", "/dev/null")];
    variables.retain(|(name, _)| *name != variable);
    variables.push((variable, value));
    let output = run(&[], &variables);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    let all = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&all).contains("hunter22"), "{}", String::from_utf8_lossy(&all));
}

#[rstest]
#[case::no_such_file("KUBECONFIG", "/no/such/file", "KUBECONFIG: failed to read the file that it names: No such file")]
#[case::no_parameters_file("ACTION_PARAMETERS_FILE", "/no/such/file", "ACTION_PARAMETERS_FILE: failed to read")]
fn files_that_are_not_there(#[case] variable: &str, #[case] value: &str, #[case] says: &str) {
    let mut variables = vec![("ACTION_TYPE", "cordon"), ("TARGET_NAME", "n1"), ("KUBECONFIG", "/dev/null")];
    variables.retain(|(name, _)| *name != variable);
    variables.push((variable, value));
    let result = result(&run(&[], &variables));
    assert!(result["error"].as_str().unwrap().contains(says), "{result}");
}

#[test]
fn a_megabyte_of_parameters_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parameters.json");
    std::fs::write(&file, format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20))).unwrap();
    let variables = [
        ("ACTION_TYPE", "cordon"),
        ("TARGET_NAME", "n1"),
        ("KUBECONFIG", "/x"),
        ("ACTION_PARAMETERS_FILE", file.to_str().unwrap()),
    ];
    assert!(result(&run(&[], &variables))["error"].as_str().unwrap().contains("expected at most 524288 bytes"));
}

#[test]
fn a_kubeconfig_over_plain_http_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let config = r#"{"apiVersion":"v1","kind":"Config","current-context":"x","clusters":[{"name":"x","cluster":{"server":"http://h"}}],
        "users":[{"name":"x","user":{"token":"t"}}],"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}]}"#;
    std::fs::write(&file, config).unwrap();
    let variables = [("ACTION_TYPE", "cordon"), ("TARGET_NAME", "n1"), ("KUBECONFIG", file.to_str().unwrap())];
    assert!(result(&run(&[], &variables))["error"].as_str().unwrap().contains("is not https"));
    let plugin = config
        .replace("http:", "https:")
        .replace(r#""token":"t""#, r#""exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"gke-plugin"}"#);
    std::fs::write(&file, plugin).unwrap();
    let error = result(&run(&[], &variables))["error"].as_str().unwrap().to_owned();
    assert!(error.contains("logs in with the plugin \"gke-plugin\", which is not here"), "{error}");
}

#[rstest]
#[case(&["nonsense"], "unrecognized subcommand")]
#[case(&["schema", "scal"], "did you mean scale")]
#[case(&["rbac", "scale", "--namespace", "a/b"], "--namespace: a namespace may hold")]
#[case(&["rbac", "collect-logs-selectr"], "did you mean collect-logs-selector?")]
#[case(&["rbac", "scale-deployment", "--parameters", r#"{"wait":false}"#], "--parameters: missing field `replicas`")]
#[case(&["job", "scale-deployment", "--selector", "a=b"], "--selector: goes with collect-logs-pod alone")]
#[case(&["job", "scale-deployment"], "--target <TARGET>")]
#[case(&["job", "collect-logs-pod", "--selector", "a=b", "--target", "x"], "cannot be used with")]
fn bad_arguments_end_with_a_result(#[case] arguments: &[&str], #[case] says: &str) {
    let output = run(arguments, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(result(&output)["error"].as_str().unwrap().contains(says), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A namespace may look like a number, an image like anything: what is printed is still what was meant.
#[test]
fn printed_yaml_means_what_was_asked() {
    let arguments =
        ["job", "scale-deployment", "--namespace", "2024", "--target", "null", "--image", "x: y\n  evil: true # z"];
    let text = String::from_utf8(run(&arguments, &[]).stdout).unwrap();
    let job: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(job["metadata"]["namespace"], "2024");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "x: y\n  evil: true # z");
    assert!(
        container["env"].as_array().unwrap().iter().any(|one| one["name"] == "TARGET_NAME" && one["value"] == "null")
    );
    let text = String::from_utf8(run(&["rbac", "scale-deployment", "--namespace", "on"], &[]).stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert!(documents.iter().all(|one| one["metadata"]["namespace"] == "on"), "{text}");
}

/// The verbs that a Role grants on each resource.
fn granted(arguments: &[&str]) -> String {
    let output = run(&[&["rbac"], arguments].concat(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let documents: Vec<Value> = serde_saphyr::from_slice_multiple(&output.stdout).unwrap();
    let rules = documents.iter().flat_map(|one| one["rules"].as_array().into_iter().flatten());
    let plain = |value: &Value| value.to_string().replace(['"', '[', ']'], "");
    rules.map(|rule| format!("{} {}", plain(&rule["resources"]), plain(&rule["verbs"]))).collect::<Vec<_>>().join("; ")
}

/// Exactly what the request needs, and never the union with another one.
#[rstest]
#[case(&["restart-deployment"], "pods list,watch; deployments get,patch,watch; replicasets list,watch")]
#[case(&["restart-deployment", "--no-id"], "pods list,watch; deployments get,patch,watch; replicasets list,watch")]
#[case(&["restart-deployment", "--parameters", r#"{"wait":false}"#], "deployments get,patch,watch; replicasets list")]
#[case(&["restart-deployment", "--parameters", r#"{"wait":false}"#, "--no-id"], "deployments get,patch")]
#[case(&["restart-statefulset"], "pods list,watch; controllerrevisions list; statefulsets get,patch,watch")]
#[case(&["restart-statefulset", "--no-id"], "pods list,watch; statefulsets get,patch,watch")]
#[case(&["rollback-daemonset", "--parameters", r#"{"wait":false}"#, "--no-id"], "controllerrevisions list; daemonsets get,patch")]
#[case(&["scale-deployment", "--parameters", r#"{"replicas":1,"wait":false,"onAutoscaler":"ignore"}"#], "deployments get; deployments/scale patch")]
#[case(&["collect-logs-selector"], "pods list; pods/log get")]
#[case(&["collect-logs-selector", "--causes"], "pods list; pods/log get")]
#[case(&["collect-logs-pod"], "pods get; pods/log get")]
#[case(&["cordon-node", "--causes"], "nodes get,patch")]
#[case(&["restart-daemonset", "--causes", "--no-id", "--parameters", r#"{"wait":false}"#], "daemonsets get,patch")]
#[case(&["restart-daemonset", "--causes"], "namespaces get; pods list,watch; pods/log get; controllerrevisions list; daemonsets get,patch,watch; events list; nodes get")]
fn a_role_is_what_the_request_needs(#[case] arguments: &[&str], #[case] role: &str) {
    assert_eq!(granted(arguments), role);
}

#[rstest]
#[case(&["list"], "scale         deployment, statefulset")]
#[case(&["version"], concat!("action-runner ", env!("CARGO_PKG_VERSION")))]
#[case(&["--help"], "ACTION_PARAMETERS")]
#[case(&["completions", "bash"], "complete -F")]
fn sub_commands_print_text(#[case] arguments: &[&str], #[case] says: &str) {
    let output = run(arguments, &[]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains(says));
}

/// Started by the test below in a process of its own; by itself it does nothing.
#[test]
#[expect(clippy::disallowed_methods, reason = "as main.rs does")]
fn panics() {
    if test_cluster::assets::variable("PANIC_NOW").is_some() {
        let trail = action_runner::run::record::RunRecord::new(jiff::Timestamp::now());
        action_runner::report_panics(trail, std::process::exit);
        panic!("with a secret in it");
    }
}

#[test]
fn a_panic_ends_with_a_result() {
    let mut program = Command::new(std::env::current_exe().unwrap());
    let output = program.args(["--exact", "panics", "--nocapture"]).env("PANIC_NOW", "1").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let results: Vec<&str> = text.lines().filter(|line| line.contains(r#""kind":"ActionResult""#)).collect();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(results.len(), 1, "{text}");
    assert!(
        results[0].contains(r#""code":"Internal""#)
            && results[0].contains("please report it")
            && !results[0].contains("secret")
    );
}

#[test]
fn the_release_binary_is_static_and_small() {
    let Some(path) = test_cluster::assets::variable("ACTION_RUNNER") else {
        test_cluster::assets::tell(
            "SKIPPED: ACTION_RUNNER is not set, so there is no release binary to judge by size and linkage (.ci/run does)",
        );
        return;
    };
    let size = std::fs::metadata(&path).unwrap().len();
    test_cluster::assets::tell(&format!("the release binary has {size} bytes"));
    assert!(size <= 12_000_000, "{size} bytes");
    let bytes = std::fs::read(&path).unwrap();
    // A dynamically linked program names its loader.
    assert!(!bytes.windows(15).any(|window| window == b"/lib64/ld-linux"), "it needs a loader: not static");
}
