//! Keeps values that may be secret out of results: of an object only what is on a told path is shown (names, images,
//! resources, numbers, words that Kubernetes defines), and everything else is replaced by a mark, whatever it is: a field of
//! the next Kubernetes release is hidden until somebody puts it on the list.
//!
//! No hash stands in a value's place. A short value can be found by trying (64 bits of SHA-256 gave a PIN away in 0.03 s).
//! That a value was changed is seen by its path.

use contract::annotations::{PROTECTED, RESTARTED_AT};
use contract::result::Change;
use serde_json::Value;

/// The text in place of a value that may be secret.
pub const HIDDEN: &str = "[hidden]";

/// Annotations that hold a number, a time or a yes. Others may hold anything: `last-applied-configuration` the whole
/// object, `change-cause` a command line with a password.
const ANNOTATIONS: [&str; 6] = [
    RESTARTED_AT,
    PROTECTED,
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.daemonset.template.generation",
];

/// Shown paths of any object. `a|b` is either, `*` any one, and `**` at the end everything below.
const OBJECT: [&str; 2] = ["apiVersion|kind", "spec/replicas"];

/// Shown paths below any `metadata`, annotations apart. Labels are made to be selected by: whoever may list anything sees
/// them.
const METADATA: [&str; 5] = [
    "name|generateName|namespace|uid|resourceVersion|generation|creationTimestamp|deletionTimestamp|deletionGracePeriodSeconds",
    "labels/*",
    "finalizers/*",
    "ownerReferences/*/apiVersion|kind|name|uid",
    "managedFields/*/manager|operation|time|subresource|apiVersion|fieldsType",
];

/// Shown paths of workloads and nodes that are built in.
const BUILT_IN: [&str; 15] = [
    "spec/paused|minReadySeconds|revisionHistoryLimit|progressDeadlineSeconds|unschedulable|suspend",
    "spec/parallelism|completions|backoffLimit|podManagementPolicy|serviceName",
    "spec/selector/matchLabels/*",
    "spec/strategy|updateStrategy/type",
    "spec/strategy|updateStrategy/rollingUpdate/*",
    "spec/taints/*/key|effect|timeAdded",
    "spec/podCIDR|providerID",
    "status/phase|reason|qosClass|nominatedNodeName|currentRevision|updateRevision|startTime|podIP|hostIP",
    "status/podIPs|hostIPs|addresses/*/ip|type|address",
    "status/capacity|allocatable|nodeInfo/*",
    "status/images/*/names/*",
    "status/images/*/sizeBytes",
    "status/conditions/*/type|status|reason|message|observedGeneration|lastTransitionTime|lastUpdateTime|lastProbeTime|lastHeartbeatTime",
    "status/containerStatuses|initContainerStatuses|ephemeralContainerStatuses/*/name|image|imageID|containerID|restartCount",
    "status/containerStatuses|initContainerStatuses|ephemeralContainerStatuses/*/state|lastState/waiting|running|terminated/reason|exitCode|signal|startedAt|finishedAt",
];

/// Shown paths of a pod's spec, its containers apart.
const POD: [&str; 18] = [
    "serviceAccountName|serviceAccount|nodeName|restartPolicy|dnsPolicy|schedulerName|hostname|subdomain|runtimeClassName",
    "priorityClassName|priority|preemptionPolicy|terminationGracePeriodSeconds|activeDeadlineSeconds",
    "os/name",
    "overhead/*",
    "resources/limits|requests/*",
    "imagePullSecrets/*/name",
    "nodeSelector/*",
    "tolerations/*/key|operator|effect|tolerationSeconds",
    "topologySpreadConstraints/*/maxSkew|minDomains|topologyKey|whenUnsatisfiable",
    "readinessGates/*/conditionType",
    "schedulingGates/*/name",
    "securityContext/fsGroup|fsGroupChangePolicy|supplementalGroupsPolicy",
    "volumes/*/name",
    "volumes/*/configMap|secret|projected/name|secretName|defaultMode",
    "volumes/*/persistentVolumeClaim|emptyDir|hostPath|csi/claimName|medium|sizeLimit|type|driver",
    "volumes/*/csi/nodePublishSecretRef/name",
    "volumes/*/projected/sources/*/configMap|secret/name",
    "volumes/*/projected/sources/*/serviceAccountToken/expirationSeconds",
];

/// Shown paths of a container of any sort.
const CONTAINER: [&str; 15] = [
    "name|image|imagePullPolicy|restartPolicy|terminationMessagePolicy|targetContainerName",
    "ports/*/name|protocol|containerPort|hostPort",
    "resources/limits|requests/*",
    "resources/claims/*/name|request",
    "env/*/name",
    "env/*/valueFrom/configMapKeyRef|secretKeyRef/name|key",
    "env/*/valueFrom/fieldRef|resourceFieldRef/apiVersion|fieldPath|containerName|resource|divisor",
    "envFrom/*/prefix",
    "envFrom/*/configMapRef|secretRef/name",
    "volumeMounts|volumeDevices/*/name|mountPath|mountPropagation|recursiveReadOnly|devicePath",
    "livenessProbe|readinessProbe|startupProbe/initialDelaySeconds|periodSeconds|timeoutSeconds|failureThreshold|successThreshold|terminationGracePeriodSeconds",
    "livenessProbe|readinessProbe|startupProbe/httpGet|tcpSocket|grpc/port|scheme",
    "livenessProbe|readinessProbe|startupProbe/httpGet/httpHeaders/*/name",
    "lifecycle/postStart|preStop/httpGet|tcpSocket|sleep/port|scheme|seconds",
    "lifecycle/postStart|preStop/httpGet/httpHeaders/*/name",
];

/// Shown paths of the security context of a pod or container: words and numbers that Kubernetes defines.
const SECURITY: [&str; 4] = [
    "runAsUser|runAsGroup|procMount",
    "capabilities/add|drop/*",
    "seccompProfile|appArmorProfile/type|localhostProfile",
    "seLinuxOptions/**",
];

/// Hides the values of a change that may be secret.
pub fn hide(mut change: Change) -> Change {
    let built_in = is_built_in(&change.object.api_version);
    match change.patch.as_mut() {
        Some(Value::Array(operations)) => {
            for operation in operations {
                let path = operation.get("path").and_then(Value::as_str).map(segments).unwrap_or_default();
                if let Some(value) = operation.get_mut("value") {
                    hide_below(value, path, built_in);
                }
            }
        }
        Some(other) => hide_below(other, Vec::new(), built_in),
        None => {}
    }
    change
}

/// Hides the values of an object that may be secret.
pub fn hide_in_object(object: &mut Value) {
    let built_in = object.get("apiVersion").and_then(Value::as_str).is_some_and(is_built_in);
    hide_below(object, Vec::new(), built_in);
}

fn hide_below(value: &mut Value, mut path: Vec<String>, built_in: bool) {
    visit(value, &mut path, &mut |value, path| {
        if !is_shown(path, built_in) {
            *value = Value::from(HIDDEN);
        }
    });
}

/// Returns the parts of a JSON Pointer.
fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

/// Visits every text and number below a value, with its path. An empty text has nothing to hide, nor has yes or no.
pub(super) fn visit(value: &mut Value, path: &mut Vec<String>, visitor: &mut impl FnMut(&mut Value, &[String])) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                path.push(key.clone());
                visit(field, path, visitor);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                visit(item, path, visitor);
                path.pop();
            }
        }
        Value::String(text) if text.is_empty() => {}
        Value::String(_) | Value::Number(_) => visitor(value, path),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Returns whether objects of this API are Kubernetes' own, whose fields are known.
pub(super) fn is_built_in(api_version: &str) -> bool {
    matches!(api_version, "v1" | "apps/v1" | "batch/v1" | "autoscaling/v1")
}

/// Returns whether a value at this path of an object is shown.
pub(super) fn is_shown(path: &[String], built_in: bool) -> bool {
    let of_object = any_fits(&OBJECT, path) || built_in && (any_fits(&BUILT_IN, path) || is_count(path));
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let of_pod = match parts.as_slice() {
        ["metadata", ..] => metadata_is_shown(path.get(1..).unwrap_or_default()),
        ["spec", "template", ..] => built_in && template_is_shown(path.get(2..).unwrap_or_default()),
        ["spec", "jobTemplate", "spec", "template", ..] => {
            built_in && template_is_shown(path.get(4..).unwrap_or_default())
        }
        _ => built_in && template_is_shown(path),
    };
    of_object || of_pod
}

/// Returns whether a path is a direct number of a status: `status/readyReplicas`.
fn is_count(path: &[String]) -> bool {
    const WORDS: [&str; 5] = ["replicas", "number", "generation", "scheduled", "count"];
    let [status, name] = path else { return false };
    let name = name.to_lowercase();
    status == "status" && WORDS.iter().any(|word| name.contains(word))
}

/// Returns whether a value of a pod template, or of a pod, is shown.
fn template_is_shown(path: &[String]) -> bool {
    match path {
        [first, rest @ ..] if first == "metadata" => metadata_is_shown(rest),
        [first, rest @ ..] if first == "spec" => match rest {
            [list, _, own @ ..] if matches!(list.as_str(), "containers" | "initContainers" | "ephemeralContainers") => {
                any_fits(&CONTAINER, own) || security_is_shown(own)
            }
            _ => any_fits(&POD, rest) || security_is_shown(rest),
        },
        _ => false,
    }
}

fn metadata_is_shown(path: &[String]) -> bool {
    match path {
        [first, key] if first == "annotations" => ANNOTATIONS.contains(&key.as_str()),
        _ => any_fits(&METADATA, path),
    }
}

fn security_is_shown(path: &[String]) -> bool {
    matches!(path, [first, rest @ ..] if first == "securityContext" && any_fits(&SECURITY, rest))
}

fn any_fits(patterns: &[&str], path: &[String]) -> bool {
    patterns.iter().any(|pattern| fits(pattern, path))
}

fn fits(pattern: &str, path: &[String]) -> bool {
    let mut parts = pattern.split('/');
    for segment in path {
        match parts.next() {
            Some("**") => return true,
            Some("*") => {}
            Some(part) if part.split('|').any(|one| one == segment) => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::result::{ObjectReference, Operation};
    use rstest::rstest;
    use serde_json::json;

    fn hidden_of(api_version: &str, patch: Value) -> Value {
        let object = ObjectReference {
            api_version: api_version.into(),
            kind: "Deployment".into(),
            namespace: None,
            name: "web".into(),
            uid: None,
            subresource: None,
        };
        hide(Change { object, operation: Operation::Patch, patch: Some(patch) }).patch.unwrap()
    }

    fn hidden(path: &str, value: Value) -> Value {
        let operation = json!({ "op": "add", "path": path, "value": value });
        hidden_of("apps/v1", json!([operation]))[0]["value"].clone()
    }

    const C: &str = "/spec/template/spec/containers/0";

    #[rstest]
    #[case::one_value("/env/0/value", json!("hunter22"))]
    #[case::one_variable("/env/0", json!({ "name": "A", "value": "hunter22" }))]
    #[case::a_container("", json!({ "name": "app", "env": [{ "name": "A", "value": "hunter22" }] }))]
    #[case::another_container("/../1", json!({ "args": ["hunter22"] }))]
    #[case::arguments("/args/1", json!("--password=hunter22"))]
    #[case::all_arguments("/args", json!(["a", "hunter22"]))]
    #[case::command("/command", json!(["hunter22"]))]
    #[case::header("/livenessProbe/httpGet/httpHeaders/0/value", json!("hunter22"))]
    #[case::headers("/readinessProbe", json!({ "httpGet": { "httpHeaders": [{ "name": "X", "value": "hunter22" }] } }))]
    #[case::probe_path("/startupProbe/httpGet/path", json!("/hunter22"))]
    #[case::probe_host("/startupProbe/httpGet/host", json!("hunter22"))]
    #[case::probe_command("/livenessProbe/exec/command/0", json!("hunter22"))]
    #[case::hook("/lifecycle", json!({ "preStop": { "exec": { "command": ["hunter22"] }, "httpGet": { "path": "hunter22" } } }))]
    #[case::sub_path("/volumeMounts/0/subPathExpr", json!("hunter22"))]
    #[case::csi("/../../volumes/0/csi/volumeAttributes", json!({ "password": "hunter22" }))]
    #[case::a_volume("/../../volumes/0", json!({ "name": "v", "flexVolume": { "options": { "key": "hunter22" } } }))]
    #[case::downward("/../../volumes/0/downwardAPI/items/0/path", json!("hunter22"))]
    #[case::host_alias("/../../hostAliases/0/hostnames/0", json!("hunter22"))]
    #[case::affinity("/../../affinity", json!({ "x": ["hunter22"] }))]
    #[case::annotation("/../../../metadata/annotations/vault.example~1token", json!("hunter22"))]
    #[case::annotations("/../../../metadata/annotations", json!({ "a": "hunter22" }))]
    #[case::own_annotation("/../../../../../metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", json!("hunter22"))]
    #[case::cause("/../../../../../metadata/annotations/kubernetes.io~1change-cause", json!("--from-literal=p=hunter22"))]
    #[case::template("/../../..", json!({ "spec": { "containers": [{ "env": [{ "value": "hunter22" }] }] } }))]
    #[case::unknown_field("/fieldOfTheNextRelease", json!("hunter22"))]
    #[case::below_something_shown("/image/digest", json!("hunter22"))]
    #[case::pin("/env/0/value", json!("4928"))]
    #[case::number("/fieldOfTheNextRelease", json!(4928))]
    fn hides_values(#[case] below: &str, #[case] value: Value) {
        // `/..` goes up from the container.
        let mut path = C.to_owned();
        let mut below = below;
        while let Some(rest) = below.strip_prefix("/..") {
            path.truncate(path.rfind('/').unwrap());
            below = rest;
        }
        let shown = hidden(&(path + below), value).to_string();
        assert!(!shown.contains("hunter22") && !shown.contains("4928") && shown.contains(HIDDEN), "{shown}");
        assert!(!shown.contains("hash"), "{shown}");
    }

    #[rstest]
    #[case::image(&format!("{C}/image"), json!("shop:2"))]
    #[case::resources(&format!("{C}/resources"), json!({ "limits": { "cpu": "100m", "memory": "64Mi" } }))]
    #[case::port(&format!("{C}/ports/0"), json!({ "name": "http", "containerPort": 8080, "protocol": "TCP" }))]
    #[case::probe(&format!("{C}/readinessProbe"), json!({ "periodSeconds": 5, "httpGet": { "port": "http", "scheme": "HTTP" } }))]
    #[case::reference(&format!("{C}/env/0"), json!({ "name": "A", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k", "optional": true } } }))]
    #[case::env_from(&format!("{C}/envFrom"), json!([{ "configMapRef": { "name": "settings-7d8f" } }, { "secretRef": { "name": "s" } }]))]
    #[case::mount(&format!("{C}/volumeMounts/0"), json!({ "name": "v", "mountPath": "/data", "readOnly": true }))]
    #[case::security(&format!("{C}/securityContext"), json!({ "runAsUser": 1000, "runAsNonRoot": true, "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" } }))]
    #[case::volume("/spec/template/spec/volumes/0", json!({ "name": "v", "configMap": { "name": "settings-7d8f", "defaultMode": 420 } }))]
    #[case::account("/spec/template/spec/serviceAccountName", json!("web"))]
    #[case::label("/spec/template/metadata/labels/version", json!("2"))]
    #[case::restart("/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt", json!("2026-11-26T05:00:00Z"))]
    #[case::revision("/metadata/annotations/deployment.kubernetes.io~1revision", json!("7"))]
    #[case::finalizer("/metadata/finalizers", json!(["example.com/cleanup"]))]
    #[case::count("/spec/replicas", json!(4))]
    #[case::node("/spec/unschedulable", json!(true))]
    #[case::taint("/spec/taints/0", json!({ "key": "k", "effect": "NoSchedule" }))]
    fn shows_names_images_resources_and_counts(#[case] path: &str, #[case] value: Value) {
        assert_eq!(hidden(path, value.clone()), value);
    }

    /// The fields of a kind that is not built in may mean anything, whatever their names are.
    #[test]
    fn of_another_api_only_the_count_is_shown() {
        let patch = json!([
            { "op": "replace", "path": "/spec/replicas", "value": 3 },
            { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "hunter22" },
        ]);
        let shown = hidden_of("example.com/v1", patch);
        assert_eq!((&shown[0]["value"], &shown[1]["value"]), (&json!(3), &json!(HIDDEN)));
    }

    #[test]
    fn what_is_no_list_of_operations_is_hidden_too() {
        assert!(!hidden_of("apps/v1", json!({ "x": "hunter22" })).to_string().contains("hunter22"));
        assert!(!hidden_of("apps/v1", json!([{ "op": "add", "value": "hunter22" }])).to_string().contains("hunter22"));
    }

    #[test]
    fn a_pod_and_a_workload_are_shown_without_what_may_be_secret() {
        let spec =
            json!({ "nodeName": "n", "containers": [{ "name": "app", "image": "shop:2", "args": ["hunter22"] }] });
        let status = json!({ "phase": "Running", "podIP": "10.0.0.7", "hostIPs": [{ "ip": "10.0.0.1" }], "containerStatuses": [{ "name": "app", "restartCount": 2,
            "lastState": { "terminated": { "exitCode": 1, "message": "hunter22" } } }] });
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "annotations": { "a": "hunter22" } }, "spec": spec, "status": status });
        hide_in_object(&mut pod);
        assert!(!pod.to_string().contains("hunter22"), "{pod}");
        let shown = [&pod["spec"]["nodeName"], &pod["spec"]["containers"][0]["image"], &pod["metadata"]["name"]];
        assert_eq!(shown, [&json!("n"), &json!("shop:2"), &json!("p")]);
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 2);
        assert_eq!(
            (&pod["status"]["podIP"], &pod["status"]["hostIPs"][0]["ip"]),
            (&json!("10.0.0.7"), &json!("10.0.0.1"))
        );
        let mut job = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "spec": { "jobTemplate": { "spec": { "template": { "spec": pod["spec"] } } } } });
        hide_in_object(&mut job);
        assert_eq!(job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"], "shop:2");
    }
}
