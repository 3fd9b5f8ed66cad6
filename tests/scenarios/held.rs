//! Two accounts of the same Role, each with a token of its own: one that the policies are about, and one whose name they do
//! not know. What the second may do and the first may not is held by a policy and by nothing else.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::support::T;

/// The API server's answer: an object, or why not.
pub type Answer = Result<Value, String>;

/// Sends a request, changing nothing; patches are JSON patches.
pub async fn send(client: &kube::Client, request: (&str, &str), body: &Value) -> Result<Answer> {
    send_as(client, request, body, None).await
}

/// The same in another name, if one is given: who sends it needs the right to that.
pub async fn send_as(
    client: &kube::Client,
    (method, path): (&str, &str),
    body: &Value,
    name: Option<&str>,
) -> Result<Answer> {
    let content = if method == "PATCH" { "application/json-patch+json" } else { "application/json" };
    // A deletion goes by its body, where there is one.
    let (dry, body) = match method {
        "GET" => ("", Vec::new()),
        "DELETE" => ("", json!({ "dryRun": ["All"] }).to_string().into_bytes()),
        _ => ("?dryRun=All", body.to_string().into_bytes()),
    };
    let request = http::Request::builder().method(method).uri(format!("{path}{dry}")).header("content-type", content);
    let request =
        name.into_iter().fold(request, |request, name| request.header("impersonate-user", name)).body(body)?;
    match client.request_text(request).await {
        Ok(text) => Ok(Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))),
        Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// The two accounts of an action.
pub struct Both {
    /// The action.
    pub action: String,
    /// The account by its own name.
    pub held: kube::Client,
    /// One by another name.
    pub free: kube::Client,
}

impl Both {
    /// Makes them.
    pub async fn of(t: &T, action: &str) -> Result<Self> {
        Self::with(t, action, &[]).await
    }

    /// Makes them with what these flags of `rbac` add.
    pub async fn with(t: &T, action: &str, flags: &[&str]) -> Result<Self> {
        let held = test_cluster::client(&t.called("action", action, flags).await?).await?;
        let free = test_cluster::client(&t.called("unheld", action, flags).await?).await?;
        Ok(Self { action: action.to_owned(), held, free })
    }

    /// The policy refuses a patch in these words, and nothing else does.
    pub async fn refused(&self, path: &str, what: &str, patch: &Value, says: &str) -> Result<()> {
        let free = send(&self.free, ("PATCH", path), patch).await?;
        ensure!(free.is_ok(), "{what}: no case, for it is refused without the policies too: {free:?}");
        let answer = send(&self.held, ("PATCH", path), patch).await?;
        let why = answer.err().with_context(|| format!("action-{} may {what}: {patch}", self.action))?;
        let policy = why.contains("ValidatingAdmissionPolicy 'action-") && why.contains(says);
        ensure!(policy, "{what}: expected {says:?} of a policy: {why}");
        Ok(())
    }

    /// All of these, each by itself; what is wrong is told of all of them.
    pub async fn all_refused(&self, path: &str, cases: &[(String, Value, &str)]) -> Result<()> {
        let mut wrong = Vec::new();
        for (what, patch, says) in cases {
            if let Err(error) = self.refused(path, what, patch, says).await {
                wrong.push(format!("{error:#}"));
            }
        }
        ensure!(wrong.is_empty(), "{} of {} cases:\n  {}", wrong.len(), cases.len(), wrong.join("\n  "));
        Ok(())
    }

    /// A patch passes.
    pub async fn allowed(&self, path: &str, what: &str, patch: &Value) -> Result<()> {
        match send(&self.held, ("PATCH", path), patch).await? {
            Ok(_) => Ok(()),
            Err(why) => bail!("action-{} may not {what}: {why}", self.action),
        }
    }
}

/// Where the pods' spec is.
pub const POD: &str = "/spec/template/spec";

/// One operation on the pods' spec.
pub fn op(op: &str, path: &str, value: Value) -> Value {
    json!({ "op": op, "path": format!("{POD}{path}"), "value": value })
}

/// One that takes a field away.
pub fn gone(path: &str) -> Value {
    json!([{ "op": "remove", "path": format!("{POD}{path}") }])
}

/// One that adds it, or puts it in the place of another.
pub fn put(path: &str, value: Value) -> Value {
    json!([op("add", path, value)])
}
