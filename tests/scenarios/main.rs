//! The five actions against a real API server. One cluster for all scenarios; each has a namespace of its own, runs the
//! real binary under the permissions that `action-runner rbac` prints, and is held to its word by the audit log.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

mod admission;
mod again;
mod budget;
mod collect_logs;
mod conditions;
mod cordon;
mod credentials;
mod ending;
mod goal;
mod gone;
mod hardship;
mod harness;
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
mod rollback;
mod scale;
mod shown;
mod steady;
mod support;
mod variants;

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
    drop(cluster);
    match used {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            test_cluster::assets::tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn trials(connection: Option<&Connection>) -> Vec<Trial> {
    // First what takes longest.
    let all: Vec<Scenario> = [
        credentials::all(),
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
        goal::all(),
        meanwhile::all(),
        again::all(),
        jobs::all(),
        replaced::all(),
        gone::all(),
        rollback::all(),
        collect_logs::all(),
        requests::all(),
        permissions::all(),
        conditions::all(),
        ready_conditions::all(),
        admission::all(),
    ]
    .concat();
    all.into_iter()
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
