//! All variables that the runner knows: the source of its help and documentation, and of what counts as unknown.

/// One variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Name of the variable.
    pub name: &'static str,
    /// Says when the variable is needed.
    pub needed: &'static str,
    /// Meaning of the variable.
    pub meaning: &'static str,
}

const fn variable(name: &'static str, needed: &'static str, meaning: &'static str) -> Variable {
    Variable { name, needed, meaning }
}

/// All variables, in the order of the documentation.
pub const VARIABLES: [Variable; 31] = [
    variable(
        "ACTION_TYPE",
        "yes",
        "what to do: `<verb>-<kind>` (`scale-deployment`) or the bare verb (`scale`); `action-runner list` shows all",
    ),
    variable(
        "TARGET_KIND",
        "unless ACTION_TYPE names it",
        "`Deployment`, `StatefulSet`, `DaemonSet`, `Pod`, `Node`, …; kubectl's plural and short names too",
    ),
    variable("TARGET_NAME", "yes", "the object; `collect-logs` takes TARGET_SELECTOR in its place"),
    variable(
        "TARGET_NAMESPACE",
        "no",
        "the object's namespace; by default the ServiceAccount's own, or the kubeconfig context's",
    ),
    variable("TARGET_SELECTOR", "no", "a label selector (`app=web,tier in (a,b)`), for `collect-logs` only"),
    variable(
        "TARGET_API_VERSION",
        "no",
        "for kinds that are not built in and have a `/scale` sub-resource, such as `argoproj.io/v1alpha1`",
    ),
    variable(
        "TARGET_UID",
        "no",
        "refuse when the object by that name is another one by now (`restart-pod`: that pod is gone, nothing to do)",
    ),
    variable("TARGET_RESOURCE", "no", "`namespace/kind/name` (`kind/name` for cluster-scoped kinds) in one variable"),
    variable("ACTION_PARAMETERS", "no", "the action's parameters, a JSON object"),
    variable(
        "ACTION_PARAMETERS_FILE",
        "no",
        "a file with them, for more than the kernel's 128 KiB for one variable (at most 512 KiB)",
    ),
    variable(
        "ACTION_PRECONDITIONS",
        "no",
        "conditions that must hold before, a JSON array of `{type, description, rego, required, timeout}`; see docs/conditions.md",
    ),
    variable("ACTION_PRECONDITIONS_FILE", "no", "the same, in a file"),
    variable(
        "ACTION_POSTCONDITIONS",
        "no",
        "conditions that must hold after: evaluated whenever something changes, until they hold or their timeout is over",
    ),
    variable("ACTION_POSTCONDITIONS_FILE", "no", "the same, in a file"),
    variable(
        "ACTION_POLICY_DIR",
        "no",
        "a folder of `.rego` files that may deny the action (`package action.policy`, `deny contains msg`)",
    ),
    variable(
        "ACTION_POLICIES",
        "no",
        "the same in the variable itself: a JSON object of file names and their Rego; both are asked",
    ),
    variable("ACTION_TIMEOUT", "no", "the whole run's deadline, such as `90s` or `5m`; default `5m`, at most 24h"),
    variable("ACTION_DRY_RUN", "no", "`true`: every phase up to the server-side dry run, nothing changed"),
    variable(
        "ACTION_ID",
        "no",
        "1 to 63 letters, digits, `.`, `_`, `-`: names this execution; a second run with the same id finishes the first one's work and never applies it twice",
    ),
    variable(
        "ACTION_REASON",
        "no",
        "why, for people (one line of at most 256 characters, none of them a control character): kept as `kubernetes.io/change-cause`, on the node, and in the event",
    ),
    variable(
        "ACTION_EVENTS",
        "no",
        "`true`: also post a Kubernetes Event about the target (not in a dry run); a failure to do so is a warning",
    ),
    variable(
        "ACTION_UPLOAD_HOSTS",
        "no",
        "hosts that `collect-logs` may send to with `destination: url`, separated by commas: `host`, `host:port`, or `http://host:port` for one without TLS, each with a path behind it (`s3.example.com/our-logs/`) if only what is below it is meant; an image's lock may name others, and wins",
    ),
    variable(
        "KUBECONFIG",
        "no",
        "kubeconfig files, separated by `:`; without it the pod's ServiceAccount, or `~/.kube/config`",
    ),
    variable("KUBE_CONTEXT", "no", "the kubeconfig's context"),
    variable("HTTPS_PROXY", "no", "a proxy for a cluster that is reached by kubeconfig"),
    variable("NO_PROXY", "no", "hosts that are reached without it, separated by commas"),
    variable("LOG_LEVEL", "no", "`error`, `warn`, `info` (default), `debug`, `trace`"),
    variable("RUST_LOG", "no", "the same by module, as tracing's EnvFilter reads it; wins over LOG_LEVEL"),
    variable("LOG_FORMAT", "no", "`json` or `text`; by default `text` on a terminal and `json` elsewhere"),
    variable("TRACEPARENT", "no", "W3C trace context; its trace id appears in the result and in every log line"),
    variable("SSL_CERT_FILE", "no", "certificate authorities for a kubeconfig that names none"),
];
