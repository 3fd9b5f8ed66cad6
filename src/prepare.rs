//! Before the first request: everything that can be checked without the cluster, and what the target is called.

use std::sync::Arc;

use actions::action::{Action, LogSink, Named, RunContext};
use actions::cluster::{Cluster, random};
use actions::error::{Error, Result};
use actions::ledger::Ledger;
use actions::object::{ObjectRef, Resource};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::pipeline::{PHASE_LIMIT, RESERVE};
use crate::request::{KindInput, Request, parse_parameters};
use crate::result::ResultTarget;
use crate::trail::Trail;

/// Checks all that can be checked without the cluster.
pub fn validate<A: Action>(request: &Request, trail: &Trail, sink: Arc<dyn LogSink>) -> Result<(A, RunContext)> {
    let mut problems = request.problems.clone();
    // Two numbers: one hasher's seed may be reused within a thread, a clock may stand still; together they do not repeat.
    let run = format!("{:08x}{:08x}", random() & 0xffff_ffff, random() >> 32);
    let progress = trail.facts().progress.clone();
    let context = RunContext {
        id: request.id.clone(),
        reason: request.reason.clone(),
        run,
        now: Timestamp::now(),
        progress,
        sink,
        upload_hosts: request.upload_hosts.clone(),
    };
    check_kind::<A>(request, &mut problems);
    let action = match parse_parameters::<A>(&request.parameters) {
        Ok(action) => {
            problems.extend(provisional(request).iter().flat_map(|named| action.check(named, &context)));
            Some(action)
        }
        Err(more) => {
            problems.extend(more);
            None
        }
    };
    match action {
        Some(action) if problems.is_empty() => {
            let mut facts = trail.facts();
            facts.parameters = serde_json::to_value(&action).ok();
            facts.repeatable = A::repeatable(&context, request.target.uid.is_some());
            Ok((action, context))
        }
        _ => Err(Error::InvalidRequest(problems.join("; "))),
    }
}

fn check_kind<A: Action>(request: &Request, problems: &mut Vec<String>) {
    let (Some(kind), Some(verb)) = (&request.target.kind, request.verb) else { return };
    let accepted = match kind {
        KindInput::BuiltIn(kind) => crate::catalogue::kinds(verb).contains(kind),
        KindInput::Other { .. } => A::other_kinds(),
    };
    if !accepted {
        let kinds: Vec<_> = crate::catalogue::kinds(verb).into_iter().map(actions::object::Kind::name).collect();
        problems.push(format!(
            "TARGET_KIND: {} does not go with a {}; expected {}",
            verb.name(),
            kind.lower(),
            kinds.join(", ")
        ));
    }
}

/// The target before the cluster was asked about its kind or namespace: enough for rules across parameters.
fn provisional(request: &Request) -> Option<Named> {
    let target = &request.target;
    let namespace = target.namespace.clone().or_else(|| "default".parse().ok());
    if let Some(selector) = &target.selector {
        return Some(Named::Selection { namespace: namespace?, selector: selector.clone() });
    }
    let resource = actions::object::Kind::Pod.resource();
    Some(Named::Object(ObjectRef { resource, namespace, name: target.name.clone()?, uid: target.uid.clone() }))
}

/// Connects, and settles what the target is called and where it is served.
pub async fn reach(request: &Request, trail: &Trail, context: &RunContext) -> Result<(Cluster, Named, Resource)> {
    let connection =
        request.connection.as_ref().ok_or_else(|| Error::InvalidRequest("KUBECONFIG: not set".to_owned()))?;
    let ledger = Ledger::new(&user_agent(request, &context.run));
    trail.facts().ledger = ledger.clone();
    let deadline = Instant::now() + request.timeout.saturating_sub(RESERVE).saturating_sub(trail.took());
    let cluster = Cluster::connect(connection, ledger, &context.run, deadline).await?;
    let target = &request.target;
    let namespace = target.namespace.clone().or_else(|| cluster.default_namespace().cloned());
    let no_namespace = || {
        Error::InvalidRequest(
            "TARGET_NAMESPACE: needed; neither the ServiceAccount nor the kubeconfig names one".to_owned(),
        )
    };
    let resource = match &target.kind {
        Some(KindInput::BuiltIn(kind)) => kind.resource(),
        Some(KindInput::Other { api_version, kind }) => {
            cluster.until(Instant::now() + PHASE_LIMIT).discover(api_version, kind).await?
        }
        None => return Err(Error::InvalidRequest("TARGET_KIND: needed".to_owned())),
    };
    let named = match (&target.selector, &target.name) {
        (Some(selector), _) => {
            Named::Selection { namespace: namespace.ok_or_else(no_namespace)?, selector: selector.clone() }
        }
        (None, Some(name)) => {
            let namespace = if resource.namespaced() { Some(namespace.ok_or_else(no_namespace)?) } else { None };
            let object =
                ObjectRef { resource: resource.clone(), namespace, name: name.clone(), uid: target.uid.clone() };
            trail.facts().target = Some(ResultTarget { object: object.to_target(), resolved_from: None });
            Named::Object(object)
        }
        (None, None) => return Err(Error::InvalidRequest("TARGET_NAME: needed; the name of the object".to_owned())),
    };
    Ok((cluster, named, resource))
}

/// What the API server's audit log shows: version, action, execution, and the run itself.
fn user_agent(request: &Request, run: &str) -> String {
    let action = request.action_type().unwrap_or_default();
    let id = request.id.as_ref().map(|id| format!("; id={id}")).unwrap_or_default();
    format!("action-runner/{} ({action}{id}; run={run})", env!("CARGO_PKG_VERSION"))
}
