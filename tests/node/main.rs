//! What only a real node shows: the images as Jobs on a real kubelet, within their limits and under their own accounts, and
//! by hand with podman. Needs root and some packages; says loudly what is missing where it cannot run, and `.ci/run` does
//! not accept that (`TEST_REAL_NODE=required`).
#![allow(clippy::indexing_slicing, reason = "of JSON: what is missing is null, and fails the check that follows")]

mod by_hand;
mod causes;
#[path = "../scenarios/components.rs"]
mod components;
mod conditions;
mod endings;
mod executor;
mod interruptions;
mod jobs;
mod limits;
mod manifests;
mod pods;
mod receiver;
mod support;
mod upload;

use std::process::ExitCode;
use std::sync::RwLock;

use libtest_mimic::{Arguments, Failed, Trial};
use test_cluster::assets::{tell, variable};
use test_cluster::{Cluster, Connection, fixtures, node};

use support::{N, Scenario, block_on};

/// Held by every scenario that needs the node to stay as it is.
static NODE: RwLock<()> = RwLock::new(());

fn main() -> ExitCode {
    test_cluster::supervise_if_asked();
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let missing = node::missing();
    if !missing.is_empty() {
        tell(&node::skipped(&missing));
        return if variable("TEST_REAL_NODE").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    // Two cores: more containers at once would only wait for each other.
    arguments.test_threads = arguments.test_threads.or(Some(4));
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            tell(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    support::build_images()?;
    node::enter()?;
    let cluster = Cluster::with_real_node()?;
    block_on(async {
        support::load_images(&cluster.connection).await?;
        fixtures::nodes(&cluster.connection).await
    })?;
    let conclusion = libtest_mimic::run(arguments, trials(Some(&cluster.connection)));
    components::stay_as_they_are(&cluster.connection)?;
    drop(cluster);
    causes::TABLE.hold(env!("CARGO_MANIFEST_DIR"))?;
    Ok(conclusion.exit_code())
}

fn trials(connection: Option<&Connection>) -> Vec<Trial> {
    let all: Vec<Scenario> = [
        causes::all(),
        executor::all(),
        endings::all(),
        jobs::all(),
        limits::all(),
        upload::all(),
        by_hand::all(),
        conditions::all(),
        manifests::all(),
        pods::all(),
        receiver::all(),
        interruptions::all(),
    ]
    .concat();
    all.into_iter()
        .map(|(name, scenario)| {
            let connection = connection.cloned();
            Trial::test(name, move || {
                let connection = connection.ok_or("no cluster")?;
                // Under pressure the kubelet evicts whatever runs on the node: no other scenario may run then.
                let (_shared, _alone);
                if name.ends_with("the_node_runs_out_of_memory") {
                    _alone = NODE.write();
                } else {
                    _shared = NODE.read();
                }
                block_on(async {
                    let n = N::new(&connection, name).await?;
                    let outcome = scenario(n.clone()).await;
                    n.end(outcome).await
                })
                .map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect()
}
