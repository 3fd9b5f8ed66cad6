use actions::action::parse::Parameters;
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
#[case::lower_case(&[("action_dry_run", "true")], "action_dry_run: unknown variable, did you mean ACTION_DRY_RUN?")]
#[case::mixed_case_beside(&[("ACTiON_TYPE", "cordon-node")], "ACTiON_TYPE: unknown variable, did you mean ACTION_TYPE?")]
#[case::typo_in_the_action(&[("ACTION_TYPE", "scale-deploymnt")], "ACTION_TYPE: unknown kind, did you mean Deployment?")]
#[case::unknown_action(&[("ACTION_TYPE", "restrat-pod")], "did you mean restart-pod?")]
#[case::disagreeing_kinds(&[("TARGET_KIND", "StatefulSet")], "ACTION_TYPE, TARGET_KIND: they disagree about the kind: deployment and statefulset")]
#[case::disagreeing_names(&[("TARGET_RESOURCE", "shop/deployment/db")], "TARGET_NAME, TARGET_RESOURCE: they disagree")]
#[case::path_in_a_name(&[("TARGET_NAME", "n/status")], "TARGET_NAME: an object's name may hold")]
#[case::bad_boolean(&[("ACTION_DRY_RUN", "yes")], "ACTION_DRY_RUN: expected true or false")]
#[case::bad_timeout(&[("ACTION_TIMEOUT", "5")], "ACTION_TIMEOUT: expected a duration such as 90s")]
#[case::reason_of_two_lines(&[("ACTION_REASON", "disk\nfull")], "ACTION_REASON: expected one line without control characters")]
#[case::reason_that_clears_the_screen(&[("ACTION_REASON", "\u{1b}[2Jdisk")], "ACTION_REASON: expected one line")]
#[case::reason_in_c1(&[("ACTION_REASON", "\u{9b}2Jdisk")], "ACTION_REASON: expected one line")]
#[case::reason_in_reverse(&[("ACTION_REASON", "disk \u{202e}llun")], "ACTION_REASON: expected one line")]
#[case::bad_id(&[("ACTION_ID", "a b")], "ACTION_ID: an action id must be")]
#[case::selector(&[("TARGET_SELECTOR", "app=web")], "TARGET_SELECTOR: only collect-logs takes a selector")]
#[case::conditions(&[("ACTION_PRECONDITIONS", "x")], "ACTION_PRECONDITIONS: expected a JSON array of conditions")]
#[case::both_conditions(&[("ACTION_POSTCONDITIONS", "[]"), ("ACTION_POSTCONDITIONS_FILE", "/nowhere")], "ACTION_POSTCONDITIONS, ACTION_POSTCONDITIONS_FILE: expected one of them")]
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
#[case("home")]
#[case("kubeconfig")]
#[case("Traceparent")]
#[case("action")]
fn others_variables_of_the_same_letters_do_not_concern_us(#[case] name: &str) {
    let request = read(&[(name, "x"), ("HOME", "/home/a"), ("TRACEPARENT", "y")]);
    assert_eq!(request.problems, Vec::<String>::new());
    assert_eq!(request.action_type().unwrap(), "scale-deployment");
}

#[test]
fn a_resource_that_cannot_be_read_is_the_only_problem() {
    let problems = read(&[("TARGET_NAME", ""), ("TARGET_RESOURCE", "web")]).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("TARGET_RESOURCE: expected namespace/kind/name"), "{problems:?}");
}

#[test]
fn a_resource_without_a_namespace_is_a_kind_and_a_name() {
    let request = read(&[("ACTION_TYPE", "cordon"), ("TARGET_NAME", ""), ("TARGET_RESOURCE", "node/node-a")]);
    assert_eq!(request.problems, Vec::<String>::new());
    assert_eq!(request.target.name.unwrap().as_str(), "node-a");
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
#[case::version("0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None)]
#[case::trace("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", None)]
#[case::upper_case("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None)]
#[case::parent("00-4bf92f3577b34da6a3ce929d0e0e4736-0-01", None)]
#[case::flags("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", None)]
#[case::zero("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None)]
fn takes_the_trace_id(#[case] text: &str, #[case] id: Option<&str>) {
    assert_eq!(read(&[("TRACEPARENT", text)]).trace_id.as_deref(), id);
}

#[rstest]
#[case::not_json("{replicas:3}", "not valid JSON: key must be a string at line 1 column 2")]
#[case::array("[3]", "expected a JSON object such as")]
#[case::unknown_field(r#"{"replics":3}"#, "unknown field \"replics\", did you mean replicas?")]
#[case::wrong_type(r#"{"replicas":"3"}"#, "replicas: invalid type: string")]
#[case::out_of_range(r#"{"replicas":-1}"#, "replicas: expected 0 to 2147483647")]
#[case::missing("{}", "missing field `replicas`")]
#[case::twice(r#"{"replicas":3,"replicas":0}"#, "duplicate field")]
#[case::more_behind(r#"{"replicas":3} x"#, "trailing characters")]
#[case::deep(&format!(r#"{{"replicas":{}"#, "[".repeat(200)), "ACTION_PARAMETERS:")]
#[case::large(&"x".repeat(1 << 20), "expected at most 524288 bytes")]
fn refuses_parameters(#[case] text: &str, #[case] problem: &str) {
    let problems = Parameters::<actions::scale::Scale>::parse(text).unwrap_err().join("; ");
    assert!(problems.contains(problem), "{problems}");
}

/// A value in the wrong field, variable or file may be a secret, however short: the kind and the place are told.
#[rstest]
#[case::no_object("4928", "expected a JSON object such as {\"replicas\":5}, got a number")]
#[case::text("hunter22 and more", "got text that is no JSON")]
#[case::string("\"hunter22\"", "got a string")]
#[case::list("[\"hunter22\"]", "got an array")]
#[case::wrong_type(r#"{"replicas":"hunter22"}"#, "replicas: invalid type: string, expected")]
#[case::quoted(r#"{"replicas":"hunter22, expected `4928`"}"#, "replicas: invalid type: string, expected")]
#[case::number(r#"{"replicas":-4928}"#, "replicas: expected 0 to 2147483647")]
#[case::fraction(r#"{"replicas":4928.5}"#, "replicas: invalid type: floating point")]
#[case::boolean(r#"{"replicas":true}"#, "replicas: invalid type: boolean, expected")]
#[case::word(
    r#"{"replicas":3,"onAutoscaler":"hunter22"}"#,
    "onAutoscaler: unknown variant, expected `refuse` or `ignore`"
)]
#[case::near_word(r#"{"replicas":3,"onAutoscaler":"ignor"}"#, "did you mean ignore?")]
#[case::duration(r#"{"replicas":3,"waitTimeout":"hunter22"}"#, "waitTimeout: expected a duration such as")]
#[case::short_duration(r#"{"replicas":3,"settle":"4928"}"#, "settle: expected a duration such as")]
#[case::field(r#"{"hunter22":3}"#, "unknown field of 8 characters (known: ")]
#[case::not_json(r#"{"replicas":hunter22}"#, "not valid JSON")]
fn no_error_shows_a_value(#[case] text: &str, #[case] says: &str) {
    let problems = Parameters::<actions::scale::Scale>::parse(text).unwrap_err().join("; ");
    assert!(problems.contains(says), "{problems}");
    assert!(!problems.contains("hunter22") && !problems.contains("4928"), "{problems}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().display().to_string();
    let request = read(&[
        ("ACTION_PARAMETERS_FILE", &path),
        ("ACTION_PRECONDITIONS_FILE", &path),
        ("ACTION_POSTCONDITIONS", text),
    ]);
    let problems = request.problems.join("; ");
    assert!(!problems.contains("hunter22") && !problems.contains("4928"), "{problems}");
}

#[rstest]
#[case("ACTION_TYPE")]
#[case("TARGET_KIND")]
#[case("TARGET_NAME")]
#[case("TARGET_NAMESPACE")]
#[case("TARGET_RESOURCE")]
#[case("TARGET_API_VERSION")]
#[case("ACTION_TIMEOUT")]
#[case("ACTION_DRY_RUN")]
#[case("ACTION_EVENTS")]
#[case("ACTION_ID")]
#[case("ACTION_REASON")]
#[case("ACTION_UPLOAD_HOSTS")]
#[case("ACTION_PARAMETERS")]
#[case("ACTION_PARAMETERS_FILE")]
#[case("ACTION_PRECONDITIONS")]
#[case("ACTION_PRECONDITIONS_FILE")]
#[case("ACTION_POSTCONDITIONS")]
#[case("TRACEPARENT")]
fn no_variable_is_shown(#[case] variable: &str) {
    for value in
        ["hunter22", "hunter22/x/y/z", "a b hunter22@\n", r#"{"hunter22":"hunter22"}"#, r#"[{"type":"a b hunter22"}]"#]
    {
        let request = read(&[(variable, value), ("TARGET_NAMESPACE", "shop"), (variable, value)]);
        let told = [request.problems, request.warnings].concat().join("; ");
        assert!(!told.contains("hunter22"), "{told}");
    }
}

#[test]
fn takes_every_variable() {
    let request = read(&[
        ("ACTION_TIMEOUT", "90s"),
        ("ACTION_DRY_RUN", "true"),
        ("ACTION_EVENTS", "true"),
        ("ACTION_ID", "ticket-7"),
        ("ACTION_REASON", "disk"),
        ("TARGET_UID", "u"),
        ("ACTION_UPLOAD_HOSTS", "a.example.com, ,b.example.com"),
        ("ACTION_PRECONDITIONS", r#"[{"type":"target_exists"}]"#),
        ("ACTION_POSTCONDITIONS", r#"[{"type":"no_crashloop_pods"},{"type":"rollout_settled"}]"#),
        ("ACTION_POLICY_DIR", "/policies"),
        ("ACTION_PARAMETERS", r#"{"replicas":3}"#),
    ]);
    assert_eq!(request.problems, Vec::<String>::new());
    assert_eq!((request.timeout, request.dry_run, request.events), (Duration::from_secs(90), true, true));
    assert_eq!((request.id.unwrap().as_str(), request.reason.as_deref()), ("ticket-7", Some("disk")));
    let target = &request.target;
    assert_eq!((target.name.as_ref().unwrap().as_str(), target.uid.as_deref()), ("web", Some("u")));
    assert_eq!((target.namespace.as_ref().unwrap().as_str(), request.kind), ("shop", Some(Kind::Deployment)));
    assert_eq!(request.upload_hosts.len(), 2);
    assert_eq!((request.preconditions.len(), request.postconditions.len()), (1, 2));
    assert_eq!((request.policy.folder, request.parameters.as_str()), (Some("/policies".into()), r#"{"replicas":3}"#));
    let plain = read(&[("ACTION_PARAMETERS", "  ")]);
    assert_eq!(
        (plain.parameters.as_str(), plain.timeout, plain.dry_run, plain.events),
        ("{}", DEFAULT_TIMEOUT, false, false)
    );
    assert!(
        plain.warnings.is_empty()
            && plain.upload_hosts.is_empty()
            && plain.policy.folder.is_none()
            && plain.policy.inline.is_none()
    );
}

#[rstest]
#[case::both(&[("TARGET_SELECTOR", "app=web"), ("ACTION_TYPE", "collect-logs")], "TARGET_NAME, TARGET_SELECTOR: expected one of them, got both")]
#[case::node_with_namespace(&[("ACTION_TYPE", "cordon"), ("TARGET_NAME", ""), ("TARGET_RESOURCE", "shop/node/n1")], "TARGET_RESOURCE: a node has no namespace")]
#[case::no_kind(&[("ACTION_TYPE", "scale")], "TARGET_KIND: needed, since ACTION_TYPE names no kind")]
#[case::no_name(&[("TARGET_NAME", "")], "TARGET_NAME: needed")]
#[case::parts(&[("TARGET_NAME", ""), ("TARGET_RESOURCE", "web")], "TARGET_RESOURCE: expected namespace/kind/name")]
#[case::namespace(&[("TARGET_NAMESPACE", "a.b")], "TARGET_NAMESPACE: a namespace may hold")]
#[case::namespaces(&[("TARGET_RESOURCE", "db/deployment/web")], "TARGET_NAMESPACE, TARGET_RESOURCE: they disagree")]
#[case::host(&[("ACTION_UPLOAD_HOSTS", "a b")], "ACTION_UPLOAD_HOSTS: expected")]
#[case::condition_type(&[("ACTION_PRECONDITIONS", r#"[{"type":"a b","rego":"package a"}]"#)], "ACTION_PRECONDITIONS")]
#[case::empty_type(&[("ACTION_PRECONDITIONS", r#"[{"type":"","rego":"package a"}]"#)], "ACTION_PRECONDITIONS")]
#[case::kind_of_another_api(&[("TARGET_API_VERSION", "example.com/v1"), ("TARGET_KIND", "a/b")], "TARGET_KIND: a kind must be")]
fn says_what_it_expected(#[case] variables: &[(&str, &str)], #[case] problem: &str) {
    let problems = read(variables).problems;
    assert!(problems.iter().any(|one| one.starts_with(problem)), "{problems:?}");
}

#[test]
fn a_reason_has_at_most_256_characters() {
    let (reason, long) = ("é".repeat(256), "é".repeat(257));
    let problems = read(&[("ACTION_REASON", &long)]).problems;
    assert_eq!(problems, ["ACTION_REASON: expected at most 256 characters, has 257"]);
    assert_eq!(read(&[("ACTION_REASON", &reason)]).reason, Some(reason));
}

#[test]
fn what_can_be_known_is_not_asked_for() {
    let selection = read(&[("ACTION_TYPE", "collect-logs"), ("TARGET_NAME", ""), ("TARGET_SELECTOR", "app=web")]);
    assert_eq!((selection.problems, selection.kind), (vec![], Some(Kind::Pod)));
    assert_eq!(selection.target.selector.as_deref(), Some("app=web"));
    let node = read(&[("ACTION_TYPE", "cordon")]);
    // A node ignores the namespace of a Job's template.
    assert_eq!((node.problems, node.target.namespace, node.kind), (vec![], None, Some(Kind::Node)));
    let logs = read(&[("ACTION_TYPE", "collect-logs")]);
    assert!(logs.problems.iter().any(|problem| problem.starts_with("TARGET_KIND: needed")), "{:?}", logs.problems);
    // ACTION_TYPE is lower case; TARGET_KIND gives the spelling.
    let other = read(&[
        ("ACTION_TYPE", "scale-rollout"),
        ("TARGET_KIND", "Rollout"),
        ("TARGET_API_VERSION", "argoproj.io/v1alpha1"),
    ]);
    assert!(matches!(other.target.kind, Some(KindInput::Other { kind, .. }) if kind == "Rollout"));
    // A built-in kind's name in another API version is another kind.
    let other =
        read(&[("ACTION_TYPE", "scale"), ("TARGET_KIND", "Deployment"), ("TARGET_API_VERSION", "example.com/v1")]);
    assert!(matches!(other.target.kind, Some(KindInput::Other { .. })) && other.kind.is_none());
}

#[test]
fn finds_the_way_to_the_cluster() {
    let connection = |variables: &[(&str, &str)]| {
        let all = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let request =
            Request::read(all.chain([("ACTION_TYPE".into(), "cordon".into()), ("TARGET_NAME".into(), "n".into())]));
        (request.connection, request.problems)
    };
    let (named, problems) = connection(&[
        ("KUBECONFIG", "/a::/b"),
        ("KUBE_CONTEXT", "test"),
        ("https_proxy", "http://low"),
        ("HTTPS_PROXY", "http://high"),
        ("no_proxy", "x"),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    let Some(Connection::Kubeconfig { files, context, proxy }) = named else { panic!() };
    assert_eq!((files, context.as_deref()), (vec!["/a".into(), "/b".into()], Some("test")));
    assert_eq!((proxy.https.as_deref(), proxy.none_for.as_deref()), (Some("http://high"), Some("x")));
    assert!(matches!(connection(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]).0, Some(Connection::InCluster)));
    // A context belongs to a kubeconfig, even in a pod.
    let (none, problems) =
        connection(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBE_CONTEXT", "test"), ("HOME", "/nowhere")]);
    assert!(
        none.is_none() && problems.iter().any(|problem| problem.starts_with("KUBECONFIG: not set")),
        "{problems:?}"
    );
}

#[test]
fn parameters_and_conditions_have_a_largest_size() {
    let padded = |length: usize| format!("{}{}", r#"{"replicas":3}"#, " ".repeat(length - 14));
    assert!(Parameters::<actions::scale::Scale>::parse(&padded(512 << 10)).is_ok());
    assert!(Parameters::<actions::scale::Scale>::parse(&padded((512 << 10) + 1)).is_err());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), padded((512 << 10) + 1)).unwrap();
    let request = read(&[("ACTION_PARAMETERS_FILE", &file.path().display().to_string())]);
    // Reads one byte more than the limit, to notice that the text is too long.
    assert_eq!(request.parameters.trim().len() + request.parameters.len(), 14 + (512 << 10) + 1);
    let gone = read(&[("ACTION_PARAMETERS_FILE", "/nowhere/x")]).problems;
    assert!(gone.iter().any(|problem| problem.starts_with("ACTION_PARAMETERS_FILE: failed to read")), "{gone:?}");
}
