//! Prepares a run: checks everything that needs no cluster, connects, and finds out how to address the target.

use std::sync::Arc;

use actions::action::parse::Parameters;
use actions::action::{Action, TargetRef};
use actions::catalogue;
use actions::catalogue::target::KindInput;
use actions::cluster::error::{Error, Result};
use actions::cluster::ledger::Ledger;
use actions::cluster::run::{LogSink, RunContext};
use actions::cluster::{Cluster, random};
use actions::k8s::{Kind, ObjectRef, Resource};
use contract::result::{PhaseName, ResultTarget};
use jiff::Timestamp;
use tokio::time::Instant;

use super::record::{PHASE_LIMIT, RESERVE, RunRecord};
use crate::conditions::input::ConditionInput;
use crate::conditions::parse::Conditions;
use crate::request::Request;

/// A run that can begin: the request was understood, and the cluster can be reached.
pub struct Prepared<A> {
    /// The action.
    pub action: A,
    /// Context of the run.
    pub context: RunContext,
    /// The policy and the conditions.
    pub conditions: Conditions,
    /// Input document of the conditions, as far as known before the target.
    pub input: ConditionInput,
    /// The cluster, until `ACTION_TIMEOUT`.
    pub cluster: Cluster,
    /// Target of the action.
    pub named: TargetRef,
    /// Resource of the target.
    pub resource: Resource,
    /// Record of the run.
    pub record: RunRecord,
}

/// Checks the request, and connects.
pub async fn prepare<A: Action>(request: &Request, record: &RunRecord, sink: Arc<dyn LogSink>) -> Result<Prepared<A>> {
    record.enter(PhaseName::Validate);
    let mut problems = request.problems.clone();
    let Request { policy, preconditions, postconditions, .. } = request;
    let conditions = Conditions::parse(policy, preconditions, postconditions, &mut problems).await;
    let (parameters, context) = validate::<A>(request, problems, record, sink)?;
    let conditions = conditions?;
    let input = ConditionInput::of(request, parameters.to_value());
    let (cluster, named, resource) = reach(request, record, &context).await?;
    let (action, record) = (parameters.action, record.clone());
    Ok(Prepared { action, context, conditions, input, cluster, named, resource, record })
}

/// Checks everything that needs no cluster.
fn validate<A: Action>(
    request: &Request,
    mut problems: Vec<String>,
    record: &RunRecord,
    sink: Arc<dyn LogSink>,
) -> Result<(Parameters<A>, RunContext)> {
    if let (Some(kind), Some(verb)) = (&request.target.kind, request.verb) {
        problems.extend(catalogue::check_kind::<A>(verb, kind).err());
    }
    let parameters = Parameters::<A>::parse(&request.parameters);
    let context = RunContext {
        id: request.id.clone(),
        reason: request.reason.clone(),
        // Two numbers: a hasher's seed may repeat within a thread, and a clock may stand still; together they do not.
        run: format!("{:08x}{:08x}", random() & 0xffff_ffff, random() >> 32),
        now: Timestamp::now(),
        wait: parameters.as_ref().map(|all| all.wait).unwrap_or_default(),
        progress: record.lock().progress.clone(),
        sink,
        upload_hosts: request.upload_hosts.clone(),
        redact_required: request.redact_required,
    };
    let parameters = match parameters {
        Ok(all) => {
            problems.extend(provisional(request).iter().flat_map(|named| all.action.check(named, &context)));
            Some(all)
        }
        Err(more) => {
            problems.extend(more);
            None
        }
    };
    match parameters {
        Some(all) if problems.is_empty() => {
            let mut recorded = record.lock();
            recorded.parameters = Some(all.to_value());
            recorded.repeatable = A::repeatable(&context, request.target.uid.is_some());
            Ok((all, context))
        }
        _ => Err(Error::InvalidRequest(problems.join("; "))),
    }
}

/// Returns the target without the cluster's answer about its kind or namespace: enough for rules across parameters.
fn provisional(request: &Request) -> Option<TargetRef> {
    let target = &request.target;
    let namespace = target.namespace.clone().or_else(|| "default".parse().ok());
    if let Some(selector) = &target.selector {
        return Some(TargetRef::Selection { namespace: namespace?, selector: selector.clone() });
    }
    let resource = Kind::Pod.resource();
    Some(TargetRef::Object(ObjectRef { resource, namespace, name: target.name.clone()?, uid: target.uid.clone() }))
}

/// Connects, and finds out the target's namespace and resource.
async fn reach(request: &Request, record: &RunRecord, context: &RunContext) -> Result<(Cluster, TargetRef, Resource)> {
    let connection =
        request.connection.as_ref().ok_or_else(|| Error::InvalidRequest("KUBECONFIG: not set".to_owned()))?;
    let ledger = Ledger::new(&user_agent(request, &context.run));
    record.lock().ledger = ledger.clone();
    let deadline = Instant::now() + request.timeout.saturating_sub(RESERVE).saturating_sub(record.took());
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
            TargetRef::Selection { namespace: namespace.ok_or_else(no_namespace)?, selector: selector.clone() }
        }
        (None, Some(name)) => {
            let namespace = if resource.namespaced() { Some(namespace.ok_or_else(no_namespace)?) } else { None };
            let object =
                ObjectRef { resource: resource.clone(), namespace, name: name.clone(), uid: target.uid.clone() };
            record.lock().target = Some(ResultTarget { object: object.to_reference(), resolved_from: None });
            TargetRef::Object(object)
        }
        (None, None) => return Err(Error::InvalidRequest("TARGET_NAME: needed; the name of the object".to_owned())),
    };
    Ok((cluster, named, resource))
}

/// Returns the user agent for the API server's audit log: version, action, execution, and the run itself.
fn user_agent(request: &Request, run: &str) -> String {
    let action = request.action_type().unwrap_or_default();
    let id = request.id.as_ref().map(|id| format!("; id={id}")).unwrap_or_default();
    format!("action-runner/{} ({action}{id}; run={run})", env!("CARGO_PKG_VERSION"))
}
