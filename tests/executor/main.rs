//! The executor against a real API server: a real controller, under the permissions that are shipped, and the real runner in
//! place of the pods. What is held against it is the cluster: Jobs, targets, the audit log.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

mod admission;
mod audit;
mod ends;
mod flow;
mod grants;
mod guards;
mod killed;
mod names;
mod operations;
mod permissions;
mod policies;
mod slow;
mod stopped;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use test_cluster::{Cluster, Connection};

use support::{E, Scenario};

fn main() -> ExitCode {
    test_cluster::supervise_if_asked();
    let own: Vec<_> = std::env::args_os().collect();
    if own.get(1).is_some_and(|argument| argument == support::CONTROLLER) {
        return controller::program(own.into_iter().skip(1));
    }
    if own.get(1).is_some_and(|argument| argument == audit::store::RECEIVER) {
        return receiver::program(own.into_iter().skip(1));
    }
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(error) => {
            test_cluster::assets::tell(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let prepared = support::block_on(async {
        test_cluster::fixtures::nodes(&cluster.connection).await?;
        test_cluster::executor::install(&cluster.connection).await
    });
    if let Err(error) = prepared {
        test_cluster::assets::tell(&format!("failed to prepare the cluster: {error:#}"));
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&cluster.connection)));
    let used = permissions::every_one_was_used(&cluster.connection, &arguments).and_then(|()| killed::score());
    drop(cluster);
    audit::store::end();
    match used {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            test_cluster::assets::tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn trials(connection: Option<&Connection>) -> Vec<Trial> {
    let all: Vec<Scenario> = [
        killed::all(),
        audit::killed::all(),
        audit::all(),
        permissions::all(),
        stopped::all(),
        ends::all(),
        flow::all(),
        slow::all(),
        names::all(),
        admission::all(),
        operations::all(),
        grants::all(),
        guards::all(),
    ]
    .concat();
    let trial = |(name, scenario): Scenario| {
        let connection = connection.cloned();
        Trial::test(name, move || {
            let connection = connection.ok_or("no cluster")?;
            support::block_on(async {
                let e = E::new(&connection, name).await?;
                let outcome = scenario(e.clone()).await;
                e.end(outcome).await
            })
            .map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    all.into_iter().map(trial).collect()
}
