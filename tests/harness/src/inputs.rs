//! The files that the cluster's components read.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cluster::ADMIN_TOKEN;
use crate::components::Pace;

/// Keys, tokens, policies and kwok's configuration.
pub fn write(folder: &Path, pace: Pace) -> Result<()> {
    fs::create_dir_all(folder.join("pki"))?;
    fs::create_dir_all(folder.join("logs"))?;
    fs::write(folder.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;
    fs::write(
        folder.join("audit.yaml"),
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n",
    )?;
    // ServiceAccount tokens are signed with an ECDSA key, which the API server takes as it takes RSA.
    let key = rcgen::KeyPair::generate()?;
    fs::write(folder.join("sa.key"), key.serialize_pem())?;
    fs::write(folder.join("sa.pub"), key.public_key_pem())?;
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    fs::write(folder.join("kubelet.crt"), certified.cert.pem())?;
    fs::write(folder.join("kubelet.key"), certified.signing_key.serialize_pem())?;
    let stages = include_str!("../kwok/stages.yaml");
    let figures = if pace == Pace::Tests { "" } else { include_str!("../kwok/figures.yaml") };
    fs::write(folder.join("kwok.yaml"), format!("{stages}{figures}---\n{}", logs(folder)?))?;
    Ok(())
}

/// Containers by name, and the files that are their logs.
fn logs(folder: &Path) -> Result<String> {
    const CONTAINERS: [&str; 7] = ["app", "sidecar", "setup", "executor", "slow", "unread", "cost"];
    let mut text =
        "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: ClusterLogs\nmetadata:\n  name: containers\nspec:\n  logs:\n"
            .to_owned();
    for name in CONTAINERS {
        let (current, previous): (PathBuf, PathBuf) =
            (folder.join(format!("logs/{name}.log")), folder.join(format!("logs/{name}.previous.log")));
        fs::write(&current, "")?;
        fs::write(&previous, "")?;
        text.push_str(&format!(
            "  - containers: [{name}]\n    logsFile: {}\n    previousLogsFile: {}\n",
            current.display(),
            previous.display()
        ));
    }
    Ok(text)
}
