//! The flags, and the environment that stands in for some of them.

use std::path::PathBuf;
use std::time::Duration;

use actions::k8s::names::Namespace;
use clap::Parser;
use contract::{duration, flag};

/// Flags of the program.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "execution-controller",
    version,
    // A later flag wins, so that a Deployment's arguments can be added to.
    args_override_self = true,
    about = "Makes a Job of each KubernetesExecution, and a verified result of what became of it"
)]
pub struct Flags {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Watch executions and carry them out, until it is told to stop
    Run(Box<RunFlags>),
    /// Print the definition of the resource, as YAML
    Crd,
    /// Print admission policies, as YAML: those of `controller/deploy/components`, or with other names in them
    Admission(AdmissionFlags),
}

/// A set of admission policies that is installed as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Component {
    /// Who may use which action where, who may approve, and who writes the record
    Use,
    /// The API server writes down who created an execution (Kubernetes 1.36 and later)
    CreatedBy,
    /// The controller's account makes Jobs as its own are, and nothing else
    Controller,
    /// Accounts of actions only for the controller, and for who may use the action
    Accounts,
}

/// Flags of `admission`.
#[derive(Debug, Clone, clap::Args)]
pub struct AdmissionFlags {
    /// Which ones
    pub component: Component,
    /// User name of the controller; may be given several times
    #[arg(long = "controller", default_value = "system:serviceaccount:execution-controller:execution-controller", value_parser = given)]
    pub controllers: Vec<String>,
    /// Beginning of the images that the controller's Jobs may run, such as `registry.example/kubernaut/action-`; may be
    /// given several times. By default the release's names
    #[arg(long = "image-prefix", value_parser = given)]
    pub image_prefixes: Vec<String>,
    /// User name that may use the accounts of all actions in pods of its own; may be given several times
    #[arg(long = "user", value_parser = given)]
    pub users: Vec<String>,
}

/// Flags of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunFlags {
    /// Settings file (YAML): images, timeouts, resources; see docs/executor.md
    #[arg(long, env = "SETTINGS_FILE")]
    pub settings: Option<PathBuf>,
    /// Kubeconfig; by default the pod's own ServiceAccount, or ~/.kube/config
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, env = "KUBE_CONTEXT")]
    pub context: Option<String>,
    #[arg(long, env = "HTTPS_PROXY", hide = true)]
    https_proxy: Option<String>,
    #[arg(long, env = "NO_PROXY", hide = true)]
    no_proxy: Option<String>,
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", hide = true)]
    service_host: Option<String>,
    /// Watch only these namespaces, separated by commas; by default all
    #[arg(long, value_delimiter = ',')]
    pub namespaces: Vec<Namespace>,
    /// Namespace of the Lease; by default the ServiceAccount's or the kubeconfig context's
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<Namespace>,
    /// Name of this controller in its Lease; by default a random one
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// The most executions that run at once
    #[arg(long, default_value = "200", value_parser = flag::at_least_one)]
    pub max_active: usize,
    /// Time without a renewal after which another controller takes over
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub lease_duration: Duration,
    /// Time between renewals
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub lease_renewal: Duration,
    /// The longest time that one write may take on the API server
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub write_limit: Duration,
    /// Delay before the first retry; doubled each time, at most 5 minutes
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub backoff: Duration,
    /// Time within which a container of an attempt must have started; by default the rest of the timeout
    #[arg(long, value_parser = parse_duration)]
    pub start_deadline: Option<Duration>,
    /// Time after an execution's timeout at which its Job is deleted, if it has not ended by itself
    #[arg(long, default_value = "90s", value_parser = parse_duration)]
    pub stop_after: Duration,
    /// Folder of `.rego` files that may deny any action (a mounted ConfigMap): passed to every Job
    #[arg(long)]
    pub policy_dir: Option<PathBuf>,
    /// Where audit events go
    #[command(flatten)]
    pub audit: AuditFlags,
    /// Address of /livez and /readyz
    #[arg(long, default_value = "0.0.0.0:8080", value_parser = flag::address)]
    pub health: std::net::SocketAddr,
    /// Address of /metrics
    #[arg(long, default_value = "0.0.0.0:9090", value_parser = flag::address)]
    pub metrics: std::net::SocketAddr,
    /// Log level, or tracing's filter
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = flag::log_level)]
    pub log_level: String,
    /// `json`, or `text`
    #[arg(long, env = "LOG_FORMAT", default_value = "json", value_parser = ["json", "text"])]
    pub log_format: String,
}

/// Flags about audit events.
#[derive(Debug, Clone, clap::Args)]
pub struct AuditFlags {
    /// Address of the storage service that audit events are posted to; `none`: they are lines of the log
    #[arg(long = "audit", env = "AUDIT", default_value = "none")]
    pub address: String,
    /// Certificate authorities (PEM) of the storage service; by default the machine's
    #[arg(long = "audit-ca")]
    pub ca: Option<PathBuf>,
    /// File with the bearer token for the storage service; read again for each event
    #[arg(long = "audit-token-file")]
    pub token_file: Option<PathBuf>,
    /// Time after which an event goes into the spool, when its execution is deleted or the store refuses it for good
    #[arg(long = "audit-patience", default_value = "60s", value_parser = parse_duration)]
    pub patience: Duration,
    /// The most events in the spool; when it is full, executions wait for the store also when they are deleted
    #[arg(long = "audit-spool", default_value = "10000", value_parser = flag::at_least_one)]
    pub spool: usize,
    /// Name of this cluster in audit events
    #[arg(long = "cluster-name", env = "CLUSTER_NAME")]
    pub cluster: Option<String>,
    /// Take the annotation created-by into audit events: only where an admission policy stamps it
    #[arg(long = "trust-created-by")]
    pub trust_created_by: bool,
}

/// An empty name would be nobody's, and each image begins with an empty prefix.
fn given(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("expected a name, is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    text.parse::<duration::Duration>().map(duration::Duration::get)
}

impl AdmissionFlags {
    /// Checks that no flag is of another component: what it names would be in no policy.
    pub fn check(&self) -> Result<(), String> {
        let strays = [
            ("--image-prefix", &self.image_prefixes, Component::Controller, "controller"),
            ("--user", &self.users, Component::Accounts, "accounts"),
        ];
        match strays.iter().find(|(_, given, of, _)| !given.is_empty() && *of != self.component) {
            Some((flag, _, _, of)) => Err(format!("{flag}: goes with the component {of} only; leave it out")),
            None => Ok(()),
        }
    }
}

impl RunFlags {
    /// Returns the way to reach the cluster, or what to set so that there is one. A context is one of a kubeconfig, also in a pod.
    pub fn connection(&self) -> Result<actions::cluster::Connection, String> {
        let proxy = actions::cluster::Proxy { https: self.https_proxy.clone(), none_for: self.no_proxy.clone() };
        let context = self.context.clone().filter(|context| !context.is_empty());
        let in_a_pod = self.service_host.as_ref().is_some_and(|host| !host.is_empty()) && context.is_none();
        let files = match (&self.kubeconfig, in_a_pod, &self.home) {
            (Some(files), _, _) => std::env::split_paths(files).collect(),
            (None, true, _) => return Ok(actions::cluster::Connection::InCluster),
            (None, false, Some(home)) => vec![home.join(".kube/config")],
            (None, false, None) => {
                return Err("--kubeconfig: needed outside a cluster: neither it, KUBECONFIG nor HOME is set".to_owned());
            }
        };
        Ok(actions::cluster::Connection::Kubeconfig { files, context, proxy })
    }
}
