//! What every scenario has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use test_cluster::assets::tell;
use test_cluster::fixtures::World;
use test_cluster::proxy::{Proxy, Rule};
use test_cluster::runner::{Outcome, Run};
use test_cluster::{Cluster, Connection};
use tokio::sync::Mutex;

/// A scenario's name and what it does.
pub type Scenario = (&'static str, fn(T) -> Pin<Box<dyn Future<Output = Result<()>>>>);

/// Lists scenarios by their functions: one that is not listed is dead code, which does not pass clippy.
macro_rules! scenarios {
    ($module:literal: $($name:ident),+ $(,)?) => {
        /// The scenarios of this file.
        pub fn all() -> Vec<$crate::support::Scenario> {
            vec![$((concat!($module, "::", stringify!($name)), |t| Box::pin($name(t)))),+]
        }
    };
}
pub(crate) use scenarios;

/// A scenario's namespace, and the runner.
#[derive(Clone)]
pub struct T(Arc<Inner>);

pub struct Inner {
    /// Where fixtures are made.
    pub world: World,
    /// The binary under test.
    pub binary: PathBuf,
    accounts: Mutex<BTreeMap<String, Account>>,
    /// Kubeconfigs of accounts that can tell more, by action.
    telling: Mutex<BTreeMap<String, PathBuf>>,
}

/// An action's account, as the runner prints it for the defaults, and those for what runs asked for beside them.
struct Account {
    yaml: String,
    kubeconfig: PathBuf,
    /// What else was asked of the printer: what conditions read.
    flags: Vec<String>,
    others: BTreeMap<String, PathBuf>,
}

impl std::ops::Deref for T {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Runs a future on this thread.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// The binary that cargo built for this test, or the one that is to be judged in its place.
pub fn binary() -> PathBuf {
    test_cluster::assets::variable("ACTION_RUNNER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_action-runner")), PathBuf::from)
}

/// All scenarios run under the shipped admission policies: every action passes them.
pub async fn admission_policies(connection: &Connection) -> Result<()> {
    let world = World::new(connection, "admission").await?;
    if connection.audit_log.is_none() {
        return Ok(());
    }
    for verb in ["scale", "restart", "rollback", "cordon", "collect-logs"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("rbac/components/admission/{verb}.yaml"));
        for mut document in serde_saphyr::from_multiple::<Value>(&std::fs::read_to_string(&file)?)? {
            widened(&mut document)?;
            let kind = document["kind"].as_str().unwrap_or_default().to_lowercase();
            let plural = if kind.ends_with('y') { kind.trim_end_matches('y').to_owned() + "ies" } else { kind + "s" };
            world.create(&format!("/apis/admissionregistration.k8s.io/v1/{plural}"), &document).await?;
        }
        // The API server learns of a policy a moment later; until then nothing would be denied.
        let account = format!("system:serviceaccount:{}:action-{verb}", world.namespace);
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !denies(&world, &account).await? {
            ensure!(std::time::Instant::now() < limit, "the policy for {verb} does not come into force");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// What a user may widen of the rollback policy, by the patches that rbac/README.md shows: the labels by which kwok makes pods
/// behave, the annotation that tells revisions apart, and a repository.
fn widened(document: &mut Value) -> Result<()> {
    if document["metadata"]["name"] != "action-rollback" || document["kind"] != "ValidatingAdmissionPolicy" {
        return Ok(());
    }
    let more = [
        ("repositories", "['mirror.example/shop/web']"),
        ("labels", "['test/mode', 'test/end']"),
        ("annotations", "['test/revision']"),
    ];
    for (index, (name, more)) in more.into_iter().enumerate() {
        let variable = document.pointer_mut(&format!("/spec/variables/{index}")).context("no variable")?;
        ensure!(variable["name"] == name, "variable {index} of the rollback policy is not {name}: {variable}");
        variable["expression"] = json!(format!("{} + {more}", variable["expression"].as_str().unwrap_or_default()));
    }
    Ok(())
}

/// Whether a policy stops somebody with this name and all permissions from making a ConfigMap.
async fn denies(world: &World, account: &str) -> Result<bool> {
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "probe-" } });
    let request = http::Request::post(format!("{}?dryRun=All", world.path("v1", "configmaps")))
        .header("content-type", "application/json")
        .header("impersonate-user", account)
        .header("impersonate-group", "system:masters")
        .body(map.to_string().into_bytes())?;
    Ok(world
        .client()
        .request::<Value>(request)
        .await
        .is_err_and(|error| error.to_string().contains("ValidatingAdmissionPolicy")))
}

/// Over all scenarios, each permission of each shipped Role was used: what nobody used, nobody needs.
pub fn every_permission_was_used(connection: &Connection, arguments: &libtest_mimic::Arguments) -> Result<()> {
    let Some(log) = connection.audit_log.as_deref() else { return Ok(()) };
    if arguments.filter.is_some() || !arguments.skip.is_empty() {
        tell("SKIPPED: whether every permission is used is only known when all scenarios run");
        return Ok(());
    }
    let used = test_cluster::audit::permissions_used(log, "action-runner/")?;
    let mut unused = Vec::new();
    for account in actions::catalogue::Account::all() {
        let action = account.purpose();
        for one in action_runner::cli::permissions_of(account) {
            let key = (format!("action-{action}"), one.verb.to_owned(), one.group.clone(), one.resource_path());
            if !used.contains(&key) {
                unused.push(format!("{action}: {one}"));
            }
        }
    }
    unused.dedup();
    ensure!(unused.is_empty(), "permissions of shipped Roles that no scenario used:\n  {}", unused.join("\n  "));
    Ok(())
}

impl T {
    /// A new namespace.
    pub async fn new(connection: &Connection, name: &str) -> Result<Self> {
        let world = World::new(connection, name).await?;
        Ok(Self(Arc::new(Inner { world, binary: binary(), accounts: Mutex::default(), telling: Mutex::default() })))
    }

    /// Cleans up after a success; after a failure tells what the cluster looks like.
    pub async fn end(self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => Arc::into_inner(self.0).context("the scenario still runs")?.world.end().await,
            Err(error) => Err(error.context(self.world.post_mortem().await)),
        }
    }

    /// The YAML that the runner prints for an action.
    pub fn rbac(&self, action: &str, more: &[&str]) -> Result<String> {
        self.print(&[&["rbac", action, "--namespace", &self.world.namespace], more].concat())
    }

    /// What a sub-command prints.
    pub fn print(&self, arguments: &[&str]) -> Result<String> {
        let output = std::process::Command::new(&self.binary).args(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Makes the action's account with what these conditions read too; before its first run.
    pub async fn allow(&self, action: &str, conditions: &Value) -> Result<()> {
        let file = self.world.folder().join(format!("{action}.conditions.json"));
        std::fs::write(&file, conditions.to_string())?;
        self.grant(action, &["--conditions", &file.display().to_string()]).await.map(|_| ())
    }

    /// Makes the action's account with what these flags of `rbac` add; before its first run.
    pub async fn grant(&self, action: &str, flags: &[&str]) -> Result<PathBuf> {
        let mut accounts = self.accounts.lock().await;
        self.make_account(&mut accounts, action, flags).await
    }

    /// A kubeconfig of the action's own ServiceAccount, with the shipped Role: what the runner asks for by default.
    pub async fn account(&self, action: &str) -> Result<PathBuf> {
        // Held until it is made: runs that begin at the same time share it.
        let mut accounts = self.accounts.lock().await;
        match accounts.get(action) {
            Some(account) => Ok(account.kubeconfig.clone()),
            None => self.make_account(&mut accounts, action, &[]).await,
        }
    }

    async fn make_account(
        &self,
        accounts: &mut BTreeMap<String, Account>,
        action: &str,
        flags: &[&str],
    ) -> Result<PathBuf> {
        let yaml = self.rbac(action, flags)?;
        let kubeconfig = self.world.account(&yaml).await?;
        let flags = flags.iter().map(ToString::to_string).collect();
        let made = Account { yaml, kubeconfig: kubeconfig.clone(), flags, others: BTreeMap::new() };
        accounts.insert(action.to_owned(), made);
        Ok(kubeconfig)
    }

    /// A kubeconfig of another account with the action's own Role and what these flags add. The admission policies are about
    /// those whose names begin with `action`.
    pub async fn called(&self, begins: &str, action: &str, flags: &[&str]) -> Result<PathBuf> {
        let name = format!("{begins}-{action}-{:08x}", test_cluster::fixtures::unique());
        self.world.account(&self.rbac(action, flags)?.replace(&format!("action-{action}"), &name)).await
    }

    /// The run under exactly the permissions that the runner prints for what it asks for: its parameters, its id or none, its
    /// events. A run under another account than its action's own stays as it is; so does one whose parameters are wrong, and
    /// this says so.
    async fn exact(&self, run: &Run) -> Result<(Run, bool)> {
        let given = |name: &str| run.variable(name).filter(|value| !value.is_empty());
        let mut accounts = self.accounts.lock().await;
        let own = accounts
            .get_mut(&purpose(run))
            .filter(|account| Some(account.kubeconfig.display().to_string().as_str()) == given("KUBECONFIG"));
        let Some(account) = own else { return Ok((run.clone(), true)) };
        let mut flags: Vec<&str> = account.flags.iter().map(String::as_str).collect();
        flags.extend(given("ACTION_PARAMETERS").into_iter().flat_map(|parameters| ["--parameters", parameters]));
        flags.extend(given("ACTION_ID").is_none().then_some("--no-id"));
        flags.extend((given("ACTION_EVENTS") == Some("true")).then_some("--events"));
        let action = purpose(run);
        let Ok(yaml) = self.rbac(&action, &flags) else { return Ok((run.clone(), false)) };
        if yaml == account.yaml {
            return Ok((run.clone(), true));
        }
        if !account.others.contains_key(&yaml) {
            let name = format!("action-{action}-{}", account.others.len() + 1);
            let kubeconfig = self.world.account(&yaml.replace(&format!("action-{action}"), &name)).await?;
            account.others.insert(yaml.clone(), kubeconfig);
        }
        let kubeconfig = account.others.get(&yaml).context("no account")?;
        Ok((run.clone().with("KUBECONFIG", kubeconfig.display()), true))
    }

    /// A kubeconfig of an account with the action's own Role and what `components/causes` adds to it.
    pub async fn with_causes(&self, action: &str) -> Result<PathBuf> {
        let mut telling = self.telling.lock().await;
        if let Some(account) = telling.get(action) {
            return Ok(account.clone());
        }
        let account = self.called("causes", action, &["--causes"]).await?;
        telling.insert(action.to_owned(), account.clone());
        Ok(account)
    }

    /// A run under the action's own permissions.
    pub async fn run(&self, action: &str, name: &str) -> Result<Run> {
        let account = self.account(action).await?;
        Ok(Run::new(&self.binary, &account, action, name).with("TARGET_NAMESPACE", &self.world.namespace))
    }

    /// A run of collect-logs on what a selector finds, under the permissions for that.
    pub async fn select(&self, selector: &str) -> Result<Run> {
        let account = self.account("collect-logs-selector").await?;
        Ok(Run::new(&self.binary, &account, "collect-logs", "")
            .with("TARGET_NAMESPACE", &self.world.namespace)
            .with("TARGET_SELECTOR", selector))
    }

    /// Runs it to its end, under exactly its permissions.
    pub async fn complete(&self, run: &Run) -> Result<Outcome> {
        let (run, understood) = self.exact(run).await?;
        let outcome = run.complete(&self.world).await?;
        let refused = outcome.result["code"] == "InvalidRequest";
        ensure!(understood || refused, "`rbac` refuses parameters that the run takes: {:#}", outcome.result);
        Ok(outcome)
    }

    /// Runs an action with parameters.
    pub async fn act(&self, action: &str, name: &str, parameters: &Value) -> Result<Outcome> {
        let run = self.run(action, name).await?.parameters(parameters);
        self.complete(&run).await
    }

    /// The same run through a proxy with a fault.
    pub async fn through_proxy(&self, action: &str, rule: Rule) -> Result<(Proxy, PathBuf)> {
        self.account(action).await?;
        let (connection, folder): (&Connection, &Path) = (&self.world.connection, self.world.folder());
        let proxy = Proxy::start(&connection.server, &connection.authority, folder, rule)?;
        let file = self.world.token_kubeconfig(&format!("action-{action}"), &proxy.server, &proxy.authority).await?;
        Ok((proxy, file))
    }

    /// Runs the request that takes an outcome's effect back, as its result says, on the same target.
    pub async fn undo(&self, outcome: &Outcome, name: &str) -> Result<Outcome> {
        let undo = &outcome.result["rollbackInformation"];
        ensure!(undo["available"] == json!(true), "no rollback: {:#}", outcome.result);
        let action = undo["rollbackAction"].as_str().context("no rollbackAction")?;
        self.act(action, name, &undo["rollbackParameters"]).await
    }

    /// A cluster that this scenario alone uses and breaks; says so when there is none to be had.
    pub fn own_cluster(&self, name: &str) -> Result<Option<Cluster>> {
        if self.world.connection.audit_log.is_some() {
            return Cluster::start().map(Some);
        }
        tell(&format!("SKIPPED: {name} needs a cluster of its own, and TEST_KUBECONFIG names one"));
        Ok(None)
    }

    /// A patch by somebody else.
    pub async fn meddle(&self, kind: &str, name: &str, patch: Value) -> Result<()> {
        self.world.merge(&self.world.workload_path(kind, name), &patch).await.map(|_| ())
    }

    /// A workload's present state.
    pub async fn object(&self, kind: &str, name: &str) -> Result<Value> {
        self.world.get(&self.world.workload_path(kind, name)).await
    }
}

/// The account that a run is for.
fn purpose(run: &Run) -> String {
    let text = |name: &str| run.variable(name).unwrap_or_default().to_lowercase();
    let (action, kind) = (text("ACTION_TYPE").replace('_', "-"), text("TARGET_KIND"));
    if !text("TARGET_SELECTOR").is_empty() {
        return "collect-logs-selector".to_owned();
    }
    let bare = actions::catalogue::Verb::ALL.iter().any(|verb| verb.name() == action);
    if bare && !kind.is_empty() { format!("{action}-{kind}") } else { action }
}

/// What makes a workload's pods behave so (the fixtures' stages for kwok know the modes).
pub fn mode(mode: &str) -> Value {
    json!({ "spec": { "template": { "metadata": { "labels": { "test/mode": mode } } } } })
}

/// Held by who makes metrics.k8s.io, which all of the cluster has then, and by who needs it not to be there.
pub static METRICS: Mutex<()> = Mutex::const_new(());

/// Compares with the code, the effect, and (a part of) what is said.
pub fn expect(outcome: &Outcome, code: &str, effect: &str, says: &str) -> Result<()> {
    let result = &outcome.result;
    let said = result["output"].as_str().or(result["error"].as_str()).unwrap_or_default();
    let fits = result["code"] == code && result["effect"] == effect && said.contains(says);
    ensure!(fits, "expected {code}, effect {effect}, {says:?}; got {result:#}\n{}", outcome.stderr);
    Ok(())
}

/// Makes a custom kind that has `/scale`, of a group of its own; the path of its objects.
pub async fn scalable_kind(t: &T, group: &str, kind: &str) -> Result<String> {
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let scale = json!({ "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector" });
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": { "group": group, "scope": "Namespaced", "names": { "plural": plural, "kind": kind, "singular": singular }, "versions": [{
            "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema },
            "subresources": { "status": {}, "scale": scale },
        }] },
    });
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    t.world.create(crds, &crd).await?;
    let established = |crd: &Value| {
        let conditions = crd["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
    };
    t.world.until(&format!("{crds}/{plural}.{group}"), "established", established).await?;
    Ok(t.world.path(&format!("{group}/v1"), &plural))
}
