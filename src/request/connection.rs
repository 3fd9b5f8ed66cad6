//! Chooses the way to reach the cluster.

use std::path::PathBuf;

use actions::cluster::{Connection, Proxy};

use super::{Raw, set};

/// Chooses the kubeconfig that is named; else the pod's ServiceAccount; else the kubeconfig at its usual place.
pub(super) fn of(raw: &Raw, problems: &mut Vec<String>) -> Option<Connection> {
    let context = set(raw.kube_context.as_deref()).map(str::to_owned);
    let proxy = Proxy { https: raw.https_proxy.clone(), none_for: raw.no_proxy.clone() };
    if let Some(list) = set(raw.kubeconfig.as_deref()) {
        let files = list.split(':').filter(|file| !file.is_empty()).map(PathBuf::from).collect();
        return Some(Connection::Kubeconfig { files, context, proxy });
    }
    if set(raw.kubernetes_service_host.as_deref()).is_some() && context.is_none() {
        return Some(Connection::InCluster);
    }
    let usual =
        set(raw.home.as_deref()).map(|home| PathBuf::from(home).join(".kube/config")).filter(|file| file.is_file());
    if usual.is_none() {
        problems.push("KUBECONFIG: not set, there is no ~/.kube/config, and this is no pod (KUBERNETES_SERVICE_HOST is not set either); name a kubeconfig".to_owned());
    }
    Some(Connection::Kubeconfig { files: vec![usual?], context, proxy })
}
