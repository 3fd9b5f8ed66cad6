//! What operators are given: the table of metrics, the alerts and the dashboard, the runbook. Nothing of it may name a metric,
//! a label or a page that there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use controller::api::Phase;
use controller::metrics::Metrics;
use promql_parser::parser::{self, AggregateExpr, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

use super::generated::{hold, root};
use super::markdown;

/// A metric as the registry tells it.
#[derive(Debug, Default)]
struct Figure {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The metrics after each was used once: what has no series has no labels either.
fn used() -> String {
    let metrics = Metrics::default();
    let second = Duration::from_secs(1);
    metrics.ended("scale-deployment", "Completed", "Changed", Some(second));
    metrics.retried("Unavailable");
    metrics.no_result("NoResult");
    metrics.job("refused");
    metrics.job_created(second, Some(second));
    metrics.collected(second);
    metrics.phases(&Phase::ALL.map(|phase| (phase.name(), 1)));
    for code in ["2xx", "409"] {
        metrics.request("get", "jobs", code);
    }
    metrics.delivered("kept", second);
    metrics.pass(second);
    metrics.text()
}

/// The metrics by their names in queries.
fn figures(text: &str) -> BTreeMap<String, Figure> {
    let mut all: BTreeMap<String, Figure> = BTreeMap::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                help.trim_end_matches('.').clone_into(&mut all.entry(name.to_owned()).or_default().help);
            }
            ["#", "TYPE", name, kind] => kind.clone_into(&mut all.entry(name.to_owned()).or_default().kind),
            _ => {
                let sample = line.split(['{', ' ']).next().unwrap();
                let labels =
                    line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
                let names = labels.split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned());
                let (_, figure) = all.iter_mut().rev().find(|(name, _)| sample.starts_with(*name)).unwrap();
                figure.labels.extend(names.filter(|name| name != "le"));
            }
        }
    }
    let total = |(name, figure): (String, Figure)| match figure.kind.as_str() {
        "counter" => (format!("{name}_total"), figure),
        _ => (name, figure),
    };
    all.into_iter().map(total).collect()
}

fn rules() -> Vec<Value> {
    let text = fs::read_to_string(root().join("controller/deploy/components/monitoring/alerts.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

fn dashboard() -> Value {
    let file = root().join("controller/deploy/components/dashboard/execution-controller.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}: {value:#}"))
}

#[test]
fn tables_of_the_metrics_and_the_alerts() {
    let rows = figures(&used()).into_iter().map(|(name, figure)| {
        let labels: Vec<_> = figure.labels.iter().map(|label| format!("`{label}`")).collect();
        vec![format!("`{name}`"), figure.kind, labels.join(", "), figure.help]
    });
    let metrics = markdown::table(&["metric", "type", "labels", "meaning"], rows);
    let rows = rules().into_iter().map(|rule| {
        let page = text(&rule, "/annotations/runbook_url").trim_start_matches("docs/").to_owned();
        let name = text(&rule, "/alert");
        vec![
            format!("[`{name}`]({page})"),
            text(&rule, "/labels/severity").to_owned(),
            rule["for"].as_str().unwrap_or("at once").to_owned(),
            text(&rule, "/annotations/description").to_owned(),
        ]
    });
    let alerts = markdown::table(&["alert", "severity", "after", "meaning"], rows);
    let page = root().join("docs/operations.md");
    hold(&page, &markdown::fill(&page, &[("metrics", &metrics), ("alerts", &alerts)]));
}

/// The same alerts for prometheus-operator.
#[test]
fn the_operators_alerts_are_those_of_the_rules_file() {
    let folder = root().join("controller/deploy/components");
    let rules = fs::read_to_string(folder.join("monitoring/alerts.yaml")).unwrap();
    let groups = rules.split_once("groups:\n").unwrap().1;
    let indented: String =
        groups.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect();
    let head = "# Generated from ../monitoring/alerts.yaml by `UPDATE=1 cargo test --test blackbox`; do not edit.\n\
                apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: execution-controller\n  \
                namespace: execution-controller\n  \
                labels: { app.kubernetes.io/name: execution-controller }\nspec:\n  groups:\n";
    let file = folder.join("monitoring-operator/alerts.yaml");
    hold(&file, &format!("{head}{indented}"));
    let made: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let rules: Value = serde_saphyr::from_str(&rules).unwrap();
    assert_eq!(made["spec"]["groups"], rules["groups"]);
}

/// The series that an expression reads, and the labels that it groups by.
#[derive(Default)]
struct Read {
    series: Vec<VectorSelector>,
    grouped: BTreeSet<String>,
}

impl ExprVisitor for Read {
    type Error = Infallible;
    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Infallible> {
        match expression {
            Expr::VectorSelector(series) => self.series.push(series.clone()),
            Expr::MatrixSelector(range) => self.series.push(range.vs.clone()),
            Expr::Aggregate(AggregateExpr { modifier: Some(by), .. }) => {
                self.grouped.extend(by.labels().labels.iter().cloned());
            }
            _ => {}
        }
        Ok(true)
    }
}

/// What is wrong with an expression: that it cannot be read, or names what is not there.
fn wrong(expression: &str, exposed: &str) -> Vec<String> {
    // Grafana's own word for a range.
    let parsed = match parser::parse(&expression.replace("$__rate_interval", "5m")) {
        Ok(parsed) => parsed,
        Err(why) => return vec![format!("{expression}: {why}")],
    };
    let mut read = Read::default();
    let _infallible = walk_expr(&mut read, &parsed);
    let (mut wrong, mut labels) = (Vec::new(), BTreeSet::new());
    if read.series.is_empty() {
        wrong.push(format!("{expression}: reads nothing"));
    }
    for series in read.series {
        let name = series.name.clone().unwrap_or_default();
        let samples: Vec<&str> =
            exposed.lines().filter(|line| line.split(['{', ' ']).next() == Some(name.as_str())).collect();
        if samples.is_empty() {
            wrong.push(format!("{expression}: there is no {name}"));
        }
        for matcher in &series.matchers.matchers {
            let pair = format!("{}=\"{}\"", matcher.name, matcher.value);
            if !samples.iter().any(|sample| sample.contains(&pair)) {
                wrong.push(format!("{expression}: no {name} with {pair}"));
            }
        }
        for pair in samples.iter().filter_map(|sample| sample.split_once('{')).flat_map(|(_, rest)| rest.split(',')) {
            labels.insert(pair.split('=').next().unwrap_or_default().to_owned());
        }
    }
    wrong.extend(read.grouped.difference(&labels).map(|label| format!("{expression}: nothing has the label {label}")));
    wrong
}

#[test]
fn alerts_and_dashboard_name_what_there_is() {
    let exposed = used();
    let (rules, dashboard) = (rules(), dashboard());
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let all: Vec<&str> = rules.iter().chain(targets).map(|one| text(one, "/expr")).collect();
    let problems: Vec<String> = all.iter().flat_map(|expression| wrong(expression, &exposed)).collect();
    assert!(problems.is_empty() && all.len() > 40, "{problems:#?}");
    // Every metric is on the dashboard.
    let shown = dashboard.to_string();
    let unseen: Vec<_> = figures(&exposed).into_keys().filter(|name| !shown.contains(name.as_str())).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
    // What would be found.
    for bad in [
        "max(kubernetesexecution_leaders)",
        "kubernetesexecution_audit_spool{state=\"full\"} > 0",
        "sum by (phase) (kubernetesexecution_leader)",
        "sum(kubernetesexecution_leader",
        "vector(1)",
    ] {
        assert!(!wrong(bad, &exposed).is_empty(), "{bad}");
    }
}

/// An alert reads what is absent as fine, unless it says otherwise: what it counts must be there before anything was.
#[test]
fn what_alerts_count_is_there_from_the_start() {
    let (fresh, used) = (Metrics::default().text(), used());
    for rule in rules() {
        let (name, expression) = (text(&rule, "/alert"), text(&rule, "/expr"));
        // What has as many series as there are actions and codes comes with a value of its own for their absence.
        let expression = expression.replace("kubernetesexecution_action_execution_total", "kubernetesexecution_leader");
        let expression = expression.replace("kubernetesexecution_retries_total", "kubernetesexecution_leader");
        assert!(
            wrong(&expression, &used).is_empty() && wrong(&expression, &fresh).is_empty(),
            "{name}: {:?}",
            wrong(&expression, &fresh)
        );
    }
}

/// Every permission that is shipped is one whose absence is counted from the start.
#[test]
fn what_may_be_forbidden_is_there_from_the_start() {
    let fresh = Metrics::default().text();
    for file in ["role", "lease"] {
        let file = fs::read_to_string(root().join(format!("controller/deploy/base/{file}.yaml"))).unwrap();
        let roles: Vec<Value> = serde_saphyr::from_multiple(&file).unwrap();
        for rule in roles.iter().flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default()) {
            for (resource, verb) in rule["resources"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|resource| rule["verbs"].as_array().unwrap().iter().map(move |verb| (resource, verb)))
            {
                let series = format!("kubernetesexecution_forbidden_total{{resource={resource},verb={verb}}} 0");
                assert!(fresh.contains(&series), "{series}");
            }
        }
    }
}

#[test]
fn every_alert_has_its_page() {
    let page = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let anchors: BTreeSet<&str> =
        page.match_indices("<a id=\"").map(|(at, found)| page[at + found.len()..].split('"').next().unwrap()).collect();
    let mut used = BTreeSet::new();
    for rule in rules() {
        let (name, address) = (text(&rule, "/alert"), text(&rule, "/annotations/runbook_url").to_owned());
        let anchor = address.strip_prefix("docs/runbook.md#").unwrap_or_else(|| panic!("{name}: {address}"));
        assert!(anchors.contains(anchor), "{name}: docs/runbook.md has no {anchor}");
        assert!(page.contains(&format!("`{name}`")), "{name} is not on its page");
        assert!(matches!(text(&rule, "/labels/severity"), "warning" | "critical"), "{name}");
        assert!(
            text(&rule, "/annotations/summary").ends_with('.')
                && text(&rule, "/annotations/description").ends_with('.')
        );
        used.insert(anchor.to_owned());
    }
    assert!(used.len() > 10, "{used:?}");
}

/// A component comes after the base's own namespace: what it adds must say where it goes.
#[test]
fn what_components_add_is_in_the_controllers_namespace() {
    let folder = root().join("controller/deploy/components");
    let read =
        |file: &str| -> Value { serde_saphyr::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap() };
    let mut all: Vec<Value> =
        ["pods", "alerts"].map(|file| read(&format!("monitoring-operator/{file}.yaml"))["metadata"].clone()).to_vec();
    for component in ["monitoring", "dashboard"] {
        let made = read(&format!("{component}/kustomization.yaml"))["configMapGenerator"].clone();
        all.extend(made.as_array().unwrap().iter().cloned());
    }
    assert_eq!(all.len(), 4);
    for one in all {
        assert_eq!(one["namespace"], "execution-controller", "{one}");
    }
}

/// kustomize moves neither the account in a `FlowSchema` nor its Lease's namespace.
#[test]
fn the_controllers_share_is_for_its_account() {
    let file = fs::read_to_string(root().join("controller/deploy/base/priority.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&file).unwrap();
    let schemas: Vec<_> = documents.iter().filter(|one| one["kind"] == "FlowSchema").collect();
    assert_eq!(schemas.len(), 2);
    for schema in schemas {
        let account = &schema["spec"]["rules"][0]["subjects"][0]["serviceAccount"];
        assert_eq!(
            (&account["name"], &account["namespace"]),
            (&Value::from("execution-controller"), &Value::from("execution-controller"))
        );
    }
}
