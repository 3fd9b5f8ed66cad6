//! The five actions against a real API server. One cluster for all scenarios; each has a namespace of its own, runs the
//! real binary under the permissions that `action-runner rbac` prints, and is held to its word by the audit log.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

mod admission;
mod again;
mod budget;
mod causes;
mod causes_pods;
mod collect_logs;
mod components;
mod conditions;
mod cordon;
mod cost;
mod credentials;
mod ending;
mod fields;
mod forged;
mod goal;
mod gone;
mod hardship;
mod harness;
mod held;
mod history;
mod jobs;
mod look;
mod meanwhile;
mod numbers;
mod partition;
mod permissions;
mod pods;
mod ready_conditions;
mod replaced;
mod requests;
mod restart;
mod rewritten;
mod rollback;
mod scale;
mod secrets;
mod shown;
mod slow;
mod steady;
mod support;
mod table;
mod variants;
mod warnings;
mod why;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use test_cluster::{Cluster, Connection};

use support::{Scenario, T};

fn main() -> ExitCode {
    test_cluster::supervise_if_asked();
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    // Scenarios wait for the cluster most of the time: more of them than cores.
    arguments.test_threads = arguments.test_threads.or(Some(6));
    let cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(error) => {
            test_cluster::assets::tell(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let prepared = support::block_on(async {
        test_cluster::fixtures::nodes(&cluster.connection).await?;
        support::admission_policies(&cluster.connection).await
    });
    if let Err(error) = prepared {
        test_cluster::assets::tell(&format!("failed to prepare the cluster: {error:#}"));
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&cluster.connection)));
    let used = support::every_permission_was_used(&cluster.connection, &arguments);
    let judged = used.and_then(|()| components::stay_as_they_are(&cluster.connection));
    drop(cluster);
    match judged.and_then(|()| causes::TABLE.hold(env!("CARGO_MANIFEST_DIR"))) {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            test_cluster::assets::tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// All scenarios: first what takes longest.
fn all() -> Vec<Scenario> {
    [
        slow::all(),
        credentials::all(),
        causes::all(),
        causes_pods::all(),
        hardship::all(),
        ending::all(),
        variants::all(),
        harness::all(),
        steady::all(),
        partition::all(),
        pods::all(),
        history::all(),
        numbers::all(),
        scale::all(),
        cordon::all(),
        restart::all(),
        rewritten::all(),
        goal::all(),
        forged::all(),
        meanwhile::all(),
        secrets::all(),
        again::all(),
        jobs::all(),
        replaced::all(),
        gone::all(),
        rollback::all(),
        collect_logs::all(),
        cost::all(),
        requests::all(),
        permissions::all(),
        conditions::all(),
        ready_conditions::all(),
        admission::all(),
        warnings::all(),
        fields::all(),
        table::all(),
    ]
    .concat()
}

fn trials(connection: Option<&Connection>) -> Vec<Trial> {
    all()
        .into_iter()
        .map(|(name, scenario)| {
            let connection = connection.cloned();
            Trial::test(name, move || {
                let connection = connection.ok_or("no cluster")?;
                support::block_on(async {
                    let t = T::new(&connection, name).await?;
                    let outcome = scenario(t.clone()).await;
                    t.end(outcome).await
                })
                .map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect()
}
