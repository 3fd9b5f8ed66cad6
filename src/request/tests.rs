use rstest::rstest;

use super::*;

fn read(variables: &[(&str, &str)]) -> Request {
    let basic = [
        ("KUBECONFIG", "/x"),
        ("ACTION_TYPE", "scale-deployment"),
        ("TARGET_NAME", "web"),
        ("TARGET_NAMESPACE", "shop"),
    ];
    let all: BTreeMap<&str, &str> = basic.into_iter().chain(variables.iter().copied()).collect();
    Request::read(all.into_iter().map(|(name, value)| (name.into(), value.into())))
}

#[rstest]
#[case::plain(&[], "scale-deployment")]
#[case::underscore(&[("ACTION_TYPE", "scale_deployment")], "scale-deployment")]
#[case::bare_with_kind(&[("ACTION_TYPE", "scale"), ("TARGET_KIND", "sts")], "scale-statefulset")]
#[case::agreeing(&[("TARGET_KIND", "deployments")], "scale-deployment")]
#[case::one_variable(&[("ACTION_TYPE", "scale"), ("TARGET_RESOURCE", "shop/deploy/web")], "scale-deployment")]
#[case::cordon_means_nodes(&[("ACTION_TYPE", "cordon")], "cordon-node")]
#[case::other_kind(&[("ACTION_TYPE", "scale"), ("TARGET_KIND", "Rollout"), ("TARGET_API_VERSION", "argoproj.io/v1alpha1")], "scale-rollout")]
fn understands(#[case] variables: &[(&str, &str)], #[case] action: &str) {
    let request = read(variables);
    assert_eq!(request.problems, Vec::<String>::new());
    assert_eq!(request.action_type().unwrap(), action);
}

#[rstest]
#[case::typo_in_a_variable(&[("ACTION_DRYRUN", "true")], "ACTION_DRYRUN: unknown variable, did you mean ACTION_DRY_RUN?")]
#[case::typo_in_the_action(&[("ACTION_TYPE", "scale-deploymnt")], "ACTION_TYPE: unknown kind \"deploymnt\", did you mean Deployment?")]
#[case::unknown_action(&[("ACTION_TYPE", "restrat-pod")], "did you mean restart-pod?")]
#[case::disagreeing_kinds(&[("TARGET_KIND", "StatefulSet")], "ACTION_TYPE, TARGET_KIND: they disagree about the kind: deployment and statefulset")]
#[case::disagreeing_names(&[("TARGET_RESOURCE", "shop/deployment/db")], "TARGET_NAME, TARGET_RESOURCE: they disagree: \"web\" and \"db\"")]
#[case::path_in_a_name(&[("TARGET_NAME", "n/status")], "TARGET_NAME: an object's name may hold")]
#[case::bad_boolean(&[("ACTION_DRY_RUN", "yes")], "ACTION_DRY_RUN: expected true or false, got \"yes\"")]
#[case::bad_timeout(&[("ACTION_TIMEOUT", "5")], "ACTION_TIMEOUT: expected a duration such as 90s")]
#[case::bad_id(&[("ACTION_ID", "a b")], "ACTION_ID: an action id must be")]
#[case::selector(&[("TARGET_SELECTOR", "app=web")], "TARGET_SELECTOR: only collect-logs takes a selector")]
#[case::rego(&[("ACTION_POLICY_DIR", "/policies")], "ACTION_POLICY_DIR: this version of the runner evaluates no Rego")]
#[case::both_parameters(&[("ACTION_PARAMETERS", "{}"), ("ACTION_PARAMETERS_FILE", "/nowhere")], "expected one of them, got both")]
fn names_what_is_wrong(#[case] variables: &[(&str, &str)], #[case] problem: &str) {
    let problems = read(variables).problems.join("; ");
    assert!(problems.contains(problem), "{problems}");
}

#[test]
fn reports_everything_at_once() {
    let problems =
        read(&[("ACTION_TYPE", ""), ("TARGET_NAME", ""), ("ACTION_TIMEOUT", "x"), ("ACTION_ID", "?")]).problems;
    let names: Vec<_> = problems.iter().map(|problem| problem.split(':').next().unwrap()).collect();
    assert_eq!(names, ["ACTION_TYPE", "TARGET_NAME", "ACTION_TIMEOUT", "ACTION_ID"]);
}

#[rstest]
#[case("ACTION_RUNNER_SERVICE_HOST")]
#[case("TARGET_PORT_80_TCP_ADDR")]
#[case("ACTION_PORT")]
#[case("ACTION_SERVICE_PORT_HTTP")]
fn service_links_are_not_typos(#[case] name: &str) {
    assert!(read(&[(name, "x")]).problems.is_empty());
}

#[test]
fn what_is_not_utf8_is_reported_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let bad = || OsString::from_vec(vec![0xff]);
    let request = Request::read([("ACTION_REASON".into(), bad()), ("LESSOPEN".into(), bad())]);
    assert!(request.problems[0].starts_with("ACTION_REASON: expected UTF-8"));
    assert!(!request.problems.iter().any(|problem| problem.contains("LESSOPEN")));
}

#[rstest]
#[case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some("4bf92f3577b34da6a3ce929d0e0e4736"))]
#[case("nonsense", None)]
fn takes_the_trace_id(#[case] text: &str, #[case] id: Option<&str>) {
    assert_eq!(read(&[("TRACEPARENT", text)]).trace_id.as_deref(), id);
}

#[rstest]
#[case::not_json("{replicas:3}", "not valid JSON: key must be a string at line 1 column 2")]
#[case::array("[3]", "expected a JSON object such as")]
#[case::unknown_field(r#"{"replics":3}"#, "unknown field \"replics\", did you mean replicas?")]
#[case::wrong_type(r#"{"replicas":"3"}"#, "replicas: invalid type: string")]
#[case::out_of_range(r#"{"replicas":-1}"#, "replicas: expected 0 to 2147483647, got -1")]
#[case::missing("{}", "missing field `replicas`")]
#[case::twice(r#"{"replicas":3,"replicas":0}"#, "duplicate field")]
#[case::more_behind(r#"{"replicas":3} x"#, "trailing characters")]
#[case::deep(&format!(r#"{{"replicas":{}"#, "[".repeat(200)), "ACTION_PARAMETERS:")]
#[case::large(&"x".repeat(1 << 20), "expected at most 524288 bytes")]
fn refuses_parameters(#[case] text: &str, #[case] problem: &str) {
    let problems = parse_parameters::<actions::scale::Scale>(text).unwrap_err().join("; ");
    assert!(problems.contains(problem), "{problems}");
}
