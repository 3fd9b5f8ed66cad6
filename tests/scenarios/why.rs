//! A run beside kubectl, on something that hangs: twice, under the shipped Role and with what `components/causes` adds to it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use test_cluster::hangs::{Cause, Ended, Hanging, Told};

use crate::support::T;

/// One of the two.
pub struct Try {
    /// The scenario.
    pub t: T,
    /// The name of what hangs.
    pub app: String,
    /// Whether the account has the component too.
    pub causes: bool,
}

/// Tries it twice at the same time, each in a namespace of its own, and puts what came of it into the table.
pub async fn row(t: &T, what: &'static str, app: &str, one: impl AsyncFn(&Try) -> Result<Told>) -> Result<()> {
    let tried = async |causes: bool| {
        let own = T::new(&t.world.connection, app).await?;
        let tried = Try { t: own.clone(), app: app.to_owned(), causes };
        let told = one(&tried).await.with_context(|| format!("{what}; with the component: {causes}"));
        drop(tried);
        match told {
            Ok(told) => own.end(Ok(())).await.map(|()| told),
            Err(error) => Err(own.end(Err(error)).await.err().context("no error")?),
        }
    };
    let (shipped, causes) = tokio::join!(tried(false), tried(true));
    crate::causes::TABLE.put(what, &shipped?, &causes?)
}

impl Try {
    /// A workload, ready.
    pub async fn workload(&self, kind: &str, replicas: i64, extra: Value) -> Result<Value> {
        self.t.world.workload(kind, &self.app, replicas, extra).await
    }

    /// Begins a run on this target, a pod or the workload itself.
    pub async fn begin(&self, action: &str, target: &str, kind: &str, parameters: Value) -> Result<Hanging> {
        let t = &self.t;
        let mut run = t.run(action, target).await?.parameters(&parameters);
        if self.causes {
            run = run.with("KUBECONFIG", t.with_causes(action).await?.display());
        }
        let pod = || format!("{}/{target}", t.world.path("v1", "pods"));
        let path = if action == "restart-pod" { pod() } else { t.world.workload_path(kind, target) };
        Hanging::begin(&t.world, &run, &path, (kind, &self.app)).await
    }

    /// Begins a restart of the workload.
    pub async fn restart(&self, kind: &str, parameters: Value) -> Result<Hanging> {
        self.begin(&format!("restart-{}", kind.to_lowercase()), &self.app, kind, parameters).await
    }

    /// Restarts it, to the end.
    pub async fn restarted(&self, kind: &str, parameters: Value) -> Result<Ended> {
        self.restart(kind, parameters).await?.ends(&self.t.world).await
    }

    /// Holds what has ended to a cause; returns what the table says of it, and the named object.
    pub async fn because(&self, ended: &Ended, cause: &Cause<'_>) -> Result<(Told, Value)> {
        ended.because(&self.t.world, &self.app, cause).await
    }
}

/// The parameters of a run that has this much patience.
pub fn patience(stuck_after: u32) -> Value {
    json!({ "stuckAfter": format!("{stuck_after}s"), "waitTimeout": "30s" })
}

/// An object's condition of this type; null when it has none.
pub fn condition<'v>(object: &'v Value, kind: &str) -> &'v Value {
    let all = object["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|one| one["type"] == kind)).unwrap_or(&Value::Null)
}
