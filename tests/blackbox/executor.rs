//! The executor's generated files: the definition of its resource, and the tables of docs/executor.md; and that what is shipped
//! to run it fits the program.

use std::fs;

use clap::{CommandFactory, Parser};
use controller::settings::Flags;
use serde_json::Value;

use super::generated::{hold, root};
use super::markdown;

fn definition() -> Value {
    serde_saphyr::from_str(&controller::crd::yaml().unwrap()).unwrap()
}

#[test]
fn the_definition_is_that_of_the_types() {
    hold(&root().join("controller/crds/kubernetesexecutions.yaml"), &controller::crd::yaml().unwrap());
}

/// The policies of `controller/deploy/components`, as the sub-command prints them.
#[test]
fn the_policies_are_those_of_the_catalogue_and_the_job() {
    use clap::ValueEnum;
    use controller::settings::{Command, Component};

    for component in Component::value_variants() {
        let name = component.to_possible_value().unwrap().get_name().to_owned();
        let flags = Flags::try_parse_from(["execution-controller", "admission", &name]).unwrap();
        let Command::Admission(flags) = flags.command else { panic!("{name}") };
        let folder = root().join("controller/deploy/components").join(&name);
        hold(&folder.join("policies.yaml"), &controller::admission::yaml(&flags));
        let resources = "kind: Component\nresources:\n- policies.yaml\n";
        assert!(fs::read_to_string(folder.join("kustomization.yaml")).unwrap().contains(resources), "{name}");
    }
}

#[test]
fn tables_of_the_executor() {
    let crd = definition();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let (mut spec, mut status) = (Vec::new(), Vec::new());
    rows("spec.", &schema["properties"]["spec"], &mut spec);
    rows("status.", &schema["properties"]["status"], &mut status);
    let head = &["field", "type", "default", "meaning"];
    let (spec, status) = (markdown::table(head, spec.into_iter()), markdown::table(head, status.into_iter()));
    let page = root().join("docs/executor.md");
    hold(&page, &markdown::fill(&page, &[("spec", &spec), ("status", &status), ("flags", &flags())]));
}

/// Every field of an audit event.
#[test]
fn the_table_of_the_audit_event() {
    let generator = schemars::generate::SchemaSettings::default().with(|one| one.inline_subschemas = true);
    let schema = generator.into_generator().into_root_schema_for::<contract::event::AuditEvent>();
    let mut all = Vec::new();
    rows("", schema.as_value(), &mut all);
    let optional = |row: Vec<String>| {
        let needed = if row[2].is_empty() { "" } else { "always" };
        vec![row[0].clone(), needed.to_owned(), row[3].clone()]
    };
    let event = markdown::table(&["field", "", "meaning"], all.into_iter().map(optional));
    let page = root().join("docs/audit.md");
    hold(&page, &markdown::fill(&page, &[("event", &event)]));
}

/// Every field, with those of the objects in it.
fn rows(path: &str, schema: &Value, all: &mut Vec<Vec<String>>) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let default = match field.get("default") {
            Some(value) => format!("`{value}`"),
            None if required.contains(&name.as_str()) => "**needed**".to_owned(),
            None => String::new(),
        };
        let list = field["items"].is_object();
        let inner = if list { &field["items"] } else { field };
        let kind = field["type"].as_str().unwrap_or_default();
        let meaning = field["description"].as_str().unwrap_or_default().to_owned();
        all.push(vec![format!("`{path}{name}`"), kind.to_owned(), default, meaning]);
        // Conditions of both kinds have a page of their own.
        if !matches!(name.as_str(), "preConditions" | "postConditions" | "validationResults" | "conditions") {
            rows(&format!("{path}{name}{}.", if list { "[]" } else { "" }), inner, all);
        }
    }
}

/// Every flag of `run`.
fn flags() -> String {
    let command = Flags::command();
    let run = command.find_subcommand("run").unwrap();
    let rows = run.get_arguments().filter(|flag| !flag.is_hide_set()).map(|flag| {
        let default: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if default.is_empty() { String::new() } else { format!("`{}`", default.join(",")) };
        let variable = flag.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
        let meaning = flag.get_help().map(ToString::to_string).unwrap_or_default();
        vec![format!("`--{}`", flag.get_long().unwrap()), variable, default, meaning]
    });
    markdown::table(&["flag", "variable", "default", "meaning"], rows)
}

/// What the Deployment starts is what the program takes, in the version that it is.
#[test]
fn the_deployment_fits_the_program() {
    let text = fs::read_to_string(root().join("controller/deploy/base/deployment.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let container = &documents[0]["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
    Flags::try_parse_from(std::iter::once("execution-controller").chain(arguments)).unwrap();
    assert_eq!(container["image"], format!("execution-controller:{}", env!("CARGO_PKG_VERSION")));
    // The settings that are shipped are read by the program's own reader.
    let settings = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped-settings.yaml");
    fs::write(&settings, documents[1]["data"]["settings.yaml"].as_str().unwrap()).unwrap();
    controller::settings::Settings::read(Some(&settings), None).unwrap();
}

/// The arguments that the audit component adds are the program's.
#[test]
fn the_audit_component_fits_the_program() {
    let file = root().join("controller/deploy/components/audit/kustomization.yaml");
    let component: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let patch: Value = serde_saphyr::from_str(component["patches"][0]["patch"].as_str().unwrap()).unwrap();
    let added = patch.as_array().unwrap().iter().filter(|one| one["path"].as_str().unwrap().ends_with("/args/-"));
    let arguments: Vec<_> = added.map(|one| one["value"].as_str().unwrap()).collect();
    let flags = Flags::try_parse_from(["execution-controller", "run"].into_iter().chain(arguments)).unwrap();
    let controller::settings::Command::Run(flags) = flags.command else { panic!("not run") };
    assert!(
        flags.audit.address.starts_with("https://") && flags.audit.token_file.is_some() && flags.audit.ca.is_some()
    );
}

/// The account must be the same in every file that names it.
#[test]
fn what_is_shipped_names_one_account() {
    for file in ["base/account.yaml", "base/lease.yaml", "namespaced/binding.yaml"] {
        let text = fs::read_to_string(root().join("controller/deploy").join(file)).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for subject in documents.iter().flat_map(|one| one["subjects"].as_array().cloned().unwrap_or_default()) {
            assert_eq!(subject["name"], "execution-controller", "{file}");
            assert_eq!(subject["namespace"], "execution-controller", "{file}");
        }
    }
}

/// The pod of an execution's Job is the pod that `action-runner job` prints: what was learnt of the one holds for the other.
#[test]
fn an_executions_pod_is_that_of_the_template() {
    use actions::catalogue::ActionType;
    use controller::api::KubernetesExecution;
    use controller::job::{self, Start};
    use controller::plan::{self, Plan};
    use controller::settings::Settings;

    let named = ActionType::all().into_iter().map(|one| (one.name(), "--target", "resourceName", "web"));
    let selected = ("collect-logs-pod".to_owned(), "--selector", "selector", "app=web,tier in (a,b)");
    for (name, flag, field, target) in named.chain([selected]) {
        let output = super::run(&["job", &name, flag, target, "--namespace", "shop"], &[]);
        let mut template: Value = serde_saphyr::from_slice(&output.stdout).unwrap();
        let variables = template["spec"]["template"]["spec"]["containers"][0]["env"].take();
        let variable = |name: &str| variables.as_array().unwrap().iter().find(|one| one["name"] == name).cloned();
        let parameters: Value = variable("ACTION_PARAMETERS")
            .map_or(serde_json::json!({}), |one| serde_json::from_str(one["value"].as_str().unwrap()).unwrap());
        let execution: KubernetesExecution = serde_json::from_value(serde_json::json!({
            "apiVersion": "kubernetesexecution.kubernaut.io/v1alpha1", "kind": "KubernetesExecution",
            "metadata": { "name": "up", "namespace": "shop", "uid": "948897b5-4a56-4dcc-bdd4-910732282bc7" },
            "spec": { "action": { "type": name, "parameters": parameters, "target": { field: target, "uid": "948897b5-4a56-4dcc-bdd4-910732282bc8" } } },
        }))
        .unwrap();
        let settings = Settings::default();
        let planned = plan::plan(&execution, settings.conditions());
        let Plan::Runnable(plan) = planned else { panic!("{name}: {planned:?}") };
        let start = Start { attempt: 1, timeout: std::time::Duration::from_mins(5) };
        let mut made = job::job(&execution, &plan, &start, &settings, None);
        let own = made["spec"]["template"]["spec"]["containers"][0]["env"].take();
        for (pod, seconds) in [(&mut template, 420), (&mut made, 330)] {
            assert_eq!(pod["spec"]["template"]["spec"]["activeDeadlineSeconds"].take(), seconds, "{name}");
        }
        assert_eq!(made["spec"]["template"]["spec"], template["spec"]["template"]["spec"], "{name}");
        let rules = |job: &Value| job["spec"]["podFailurePolicy"]["rules"].as_array().unwrap().clone();
        assert!(rules(&made).starts_with(&rules(&template)), "{name}");
        for wanted in variables.as_array().unwrap() {
            // Who an execution is says its UID; its kind goes by its type.
            let (key, value) = (wanted["name"].as_str().unwrap(), wanted["value"].as_str());
            let has = own.as_array().unwrap().iter().find(|one| one["name"] == key).map(|one| one["value"].clone());
            match key {
                "ACTION_ID" => assert_eq!(has.unwrap(), "948897b5-4a56-4dcc-bdd4-910732282bc7", "{name}"),
                "TARGET_KIND" => assert!(has.is_none(), "{name}"),
                "TARGET_UID" => assert!(has.is_some(), "{name}"),
                "ACTION_TIMEOUT" => assert_eq!(has.unwrap(), "5m", "{name}"),
                _ => assert_eq!(has.unwrap().as_str(), value, "{name}: {key}"),
            }
        }
    }
}
