//! The admission policies of `controller/deploy/components`, in force in a scenario's own namespaces alone; and people to try
//! them with: real users of real RBAC, whom the API server takes for who they say they are.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use controller::settings::{AdmissionFlags, Component};
use serde_json::{Value, json};
use test_cluster::executor::{ACCOUNT, GROUP};

use crate::support::{E, scale};

/// The most that a test waits for the API server to know of a policy or a role.
const LIMIT: Duration = Duration::from_mins(1);
/// The virtual resources of who may use what.
pub const ACTIONS: &str = "actions";

/// All that there is.
pub const ALL: [Component; 4] = [Component::Use, Component::CreatedBy, Component::Controller, Component::Accounts];

/// All that this API server takes: before 1.36 nobody writes down who created an execution.
pub async fn all(e: &E) -> Result<Vec<Component>> {
    let served = e.world.get("/apis/admissionregistration.k8s.io/v1").await?;
    let named = |one: &Value| one["name"] == "mutatingadmissionpolicies";
    let stamps = served["resources"].as_array().is_some_and(|all| all.iter().any(named));
    if !stamps {
        test_cluster::assets::tell("this API server has no mutating policies: the component created-by is left out");
    }
    Ok(ALL.into_iter().filter(|one| stamps || *one != Component::CreatedBy).collect())
}

/// The policies as they are shipped, with this scenario's controller in them.
pub fn shipped(e: &E, component: Component) -> Result<Vec<Value>> {
    let flags = AdmissionFlags {
        component,
        controllers: vec![controller(e)],
        image_prefixes: Vec::new(),
        users: vec!["pipeline".to_owned()],
    };
    Ok(serde_saphyr::from_multiple::<Value>(&controller::admission::yaml(&flags))?)
}

/// The user that this scenario's controller is.
pub fn controller(e: &E) -> String {
    format!("system:serviceaccount:{}:{ACCOUNT}", e.world.namespace)
}

/// The name that a policy has in this scenario.
pub fn named(e: &E, policy: &str) -> String {
    format!("{policy}-{}", e.world.namespace)
}

/// Where policies and bindings of this kind are.
pub fn path(kind: &str) -> String {
    let plural = kind.to_lowercase().replace("policy", "policies");
    let plural = if plural.ends_with("binding") { format!("{plural}s") } else { plural };
    let plural = plural.replace("policiesbinding", "policybinding");
    format!("/apis/admissionregistration.k8s.io/v1/{plural}")
}

/// Puts components in force in the scenario's namespace and some more; the API server's own check of their types has no
/// complaint. Returns when each of them has refused something.
pub async fn install(e: &E, components: &[Component], more: &[&str]) -> Result<()> {
    let own = e.world.namespace.clone();
    let namespaces: Vec<&str> = std::iter::once(own.as_str()).chain(more.iter().copied()).collect();
    // Anybody's, before there are policies.
    e.execute("probe", scale(1)).await?;
    let mut checked = Vec::new();
    for component in components {
        for mut document in shipped(e, *component)? {
            let kind = document["kind"].as_str().context("no kind")?.to_owned();
            let name = named(e, document["metadata"]["name"].as_str().context("no name")?);
            document["metadata"]["name"] = json!(name);
            if kind.ends_with("Binding") {
                document["spec"]["policyName"] = json!(name);
            } else {
                let only = json!([{ "key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces }]);
                document["spec"]["matchConstraints"]["namespaceSelector"] = json!({ "matchExpressions": only });
            }
            e.world.create(&path(&kind), &document).await?;
            if kind == "ValidatingAdmissionPolicy" {
                checked.push(format!("{}/{name}", path(&kind)));
            }
        }
    }
    for policy in checked {
        let done = |one: &Value| one["status"]["observedGeneration"] == one["metadata"]["generation"];
        let policy = e.world.until(&policy, "its types checked", done).await?;
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        ensure!(warnings.is_null(), "{}: {warnings:#}", policy["metadata"]["name"]);
    }
    for component in components {
        in_force(e, *component).await?;
    }
    e.world.delete(&e.execution("probe")).await
}

/// Waits until each policy of a component has refused what nobody else refuses. Nothing is done by asking.
async fn in_force(e: &E, component: Component) -> Result<()> {
    let prober = Person::new(e, "prober");
    prober.may_everything_but_use(&e.world.namespace).await?;
    let ours = Person::ours(e);
    let executions = format!("{}?dryRun=All", e.executions());
    let probe = format!("{}?dryRun=All", e.execution("probe"));
    let annotated = |key: &str| json!({ "metadata": { "annotations": { format!("{GROUP}/{key}"): "x" } } });
    let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "x" }, "spec": { "template": { "spec": {
        "restartPolicy": "Never", "containers": [{ "name": "x", "image": "x" }],
    } } } });
    let jobs = format!("{}?dryRun=All", e.world.path("batch/v1", "jobs"));
    let pods = format!("{}?dryRun=All", e.world.path("v1", "pods"));
    let asked: Vec<(&str, &Person<'_>, &str, &String, Value)> = match component {
        Component::Use => vec![
            ("execution-use", &prober, "POST", &executions, execution("x", scale(1))),
            ("execution-approval", &prober, "PATCH", &probe, annotated("created-by")),
            ("execution-record", &prober, "PATCH", &probe, annotated("expires-at")),
        ],
        Component::Controller => vec![
            ("execution-jobs", &ours, "POST", &jobs, job),
            ("execution-writes", &ours, "PATCH", &probe, json!({ "metadata": { "labels": { "a": "b" } } })),
        ],
        Component::Accounts => vec![("execution-accounts", &prober, "POST", &pods, pod("action-scale-deployment"))],
        Component::CreatedBy => {
            let limit = Instant::now() + LIMIT;
            let key = controller::api::CREATED_BY;
            while e.world.create(&executions, &execution("x", scale(1))).await?["metadata"]["annotations"][key]
                .is_null()
            {
                ensure!(Instant::now() < limit, "nobody writes down who created an execution");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            return Ok(());
        }
    };
    for (policy, person, method, path, body) in asked {
        let limit = Instant::now() + LIMIT;
        loop {
            let answer = person.send(method, path, &body).await?;
            if answer.as_ref().is_err_and(|why| why.contains(&format!("'{}'", named(e, policy)))) {
                break;
            }
            ensure!(Instant::now() < limit, "{policy} is not in force: {answer:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// Takes the scenario's policies away.
pub async fn remove(e: &E, components: &[Component]) -> Result<()> {
    for component in components {
        for document in shipped(e, *component)? {
            let kind = document["kind"].as_str().context("no kind")?;
            let name = named(e, document["metadata"]["name"].as_str().context("no name")?);
            e.world.delete(&format!("{}/{name}", path(kind))).await?;
        }
    }
    Ok(())
}

/// An execution.
pub fn execution(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "KubernetesExecution", "metadata": { "name": name }, "spec": spec })
}

/// A pod that runs as an account.
pub fn pod(account: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "x" },
        "spec": { "serviceAccountName": account, "containers": [{ "name": "x", "image": "x" }] },
    })
}

/// Somebody who sends requests. What he may do is said by RBAC.
pub struct Person<'a> {
    e: &'a E,
    /// The name that the API server knows.
    pub user: String,
}

/// The API server's answer: an object, or why not.
pub type Answer = std::result::Result<Value, String>;

impl<'a> Person<'a> {
    /// A user by this name.
    pub fn new(e: &'a E, user: &str) -> Self {
        Self { e, user: user.to_owned() }
    }

    /// The controller's account, whose permissions are the shipped ones.
    pub fn ours(e: &'a E) -> Self {
        Self { e, user: controller(e) }
    }

    /// Sends a request in this name.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.sends(method, path, content, body).await
    }

    /// Changes an object as `kubectl patch` does.
    pub async fn strategic(&self, path: &str, patch: &Value) -> Result<Answer> {
        self.sends("PATCH", path, "application/strategic-merge-patch+json", patch).await
    }

    async fn sends(&self, method: &str, path: &str, content: &str, body: &Value) -> Result<Answer> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .header("impersonate-user", &self.user)
            .body(body.to_string().into_bytes())?;
        match self.e.world.client().request::<Value>(request).await {
            Ok(object) => Ok(Ok(object)),
            Err(kube::Error::Api(status)) => Ok(Err(format!("{} {}: {}", status.code, status.reason, status.message))),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes an execution.
    pub async fn patch(&self, name: &str, patch: Value) -> Result<Answer> {
        self.send("PATCH", &self.e.execution(name), &patch).await
    }

    /// Asks for an execution, without having it carried out.
    pub async fn asks(&self, spec: Value) -> Result<Answer> {
        self.send("POST", &format!("{}?dryRun=All", self.e.executions()), &execution("asked", spec)).await
    }

    /// Grants everything that policies are to refuse: executions with their status, and pods however they are made.
    pub async fn may_everything_but_use(&self, namespace: &str) -> Result<()> {
        let all = ["create", "get", "list", "update", "patch", "delete"];
        let rules = json!([
            { "apiGroups": [GROUP], "resources": ["kubernetesexecutions", "kubernetesexecutions/status"], "verbs": all },
            { "apiGroups": ["", "apps", "batch"], "verbs": all, "resources": ["pods", "pods/ephemeralcontainers", "replicationcontrollers",
                "deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs"] },
        ]);
        self.granted("everything", Some(namespace), &rules).await?;
        // The controller may patch anyway.
        self.until_he_may(Some(namespace), "kubernetesexecutions", "create", "").await
    }

    /// Grants a verb on an action, in a namespace or in the whole cluster.
    pub async fn may(&self, namespace: Option<&str>, verb: &str, action: &str) -> Result<()> {
        let name = if action == "*" { json!([]) } else { json!([action]) };
        let rules = json!([{ "apiGroups": [GROUP], "resources": [ACTIONS], "resourceNames": name, "verbs": [verb] }]);
        self.granted(&format!("{verb}-{}", action.replace('*', "all")), namespace, &rules).await?;
        self.until_he_may(namespace, ACTIONS, verb, action).await
    }

    /// Grants to skip the audit.
    pub async fn may_skip_audit(&self, namespace: &str) -> Result<()> {
        let rules = json!([{ "apiGroups": [GROUP], "resources": ["audit"], "verbs": ["skip"] }]);
        self.granted("skip-audit", Some(namespace), &rules).await?;
        self.until_he_may(Some(namespace), "audit", "skip", "").await
    }

    async fn granted(&self, what: &str, namespace: Option<&str>, rules: &Value) -> Result<()> {
        let rbac = "rbac.authorization.k8s.io/v1";
        let name = format!("{}-{what}-{}", self.user, self.e.world.namespace);
        let (kind, place) =
            namespace.map_or(("ClusterRole", String::new()), |one| ("Role", format!("/namespaces/{one}")));
        let role = json!({ "apiVersion": rbac, "kind": kind, "metadata": { "name": name }, "rules": rules });
        let binding = json!({
            "apiVersion": rbac, "kind": format!("{kind}Binding"), "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.user }],
        });
        for object in [role, binding] {
            let plural = format!("{}s", object["kind"].as_str().unwrap_or_default().to_lowercase());
            match self.e.world.create(&format!("/apis/{rbac}{place}/{plural}"), &object).await {
                Err(error) if format!("{error:#}").contains("already exists") => {}
                made => drop(made?),
            }
        }
        Ok(())
    }

    async fn until_he_may(&self, namespace: Option<&str>, resource: &str, verb: &str, name: &str) -> Result<()> {
        let name = if name == "*" { "any" } else { name };
        let review = json!({ "spec": { "user": self.user, "resourceAttributes": {
            "group": GROUP, "resource": resource, "verb": verb, "name": name, "namespace": namespace,
        } } });
        let limit = Instant::now() + LIMIT;
        loop {
            let answer = self.e.world.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
            if answer["status"]["allowed"] == true {
                return Ok(());
            }
            ensure!(Instant::now() < limit, "{} may not {verb} {resource}: {answer:#}", self.user);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Holds an answer to a refusal by this policy, in these words.
pub fn refused(e: &E, answer: &Answer, policy: &str, says: &str) -> Result<()> {
    let policy = format!("ValidatingAdmissionPolicy '{}'", named(e, policy));
    match answer {
        Err(why) if why.contains(&policy) && why.contains(says) => Ok(()),
        other => bail!("expected {policy} to say {says:?}: {other:#?}"),
    }
}

/// Holds an answer to a yes.
pub fn allowed(answer: &Answer) -> Result<()> {
    answer.as_ref().map(|_| ()).map_err(|why| anyhow::anyhow!("refused: {why}"))
}

/// Compares a generated block of a document with what the API server answered, or writes it.
pub fn hold_block(file: &str, name: &str, text: &str) -> Result<()> {
    test_cluster::document::hold_block(env!("CARGO_MANIFEST_DIR"), file, name, text)
}
