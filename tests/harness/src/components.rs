//! The components of the control plane, and the flags they are started with.

use std::path::PathBuf;

use crate::node::{self, RealNode};

/// Where things are: a folder and the ports.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything the components read and write.
    pub folder: PathBuf,
    /// etcd for its clients.
    pub etcd: u16,
    /// etcd for its peers (there are none).
    pub etcd_peer: u16,
    /// The API server.
    pub api: u16,
    /// The kubelet that kwok plays.
    pub kubelet: u16,
    /// The real node beside kwok's, if there is one.
    pub node: Option<RealNode>,
    /// How quick the controller manager may be.
    pub pace: Pace,
}

/// How quick kube-controller-manager may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// No throttling to speak of: tests wait for nothing.
    #[default]
    Tests,
    /// Its own defaults, as most clusters have them: 5 Job syncs at once, 20 requests a second for each controller. For figures.
    Default,
    /// As a cluster with many Jobs sets them: 20 Job syncs at once, 500 requests a second. For figures.
    Tuned,
}

impl Pace {
    /// Those for figures, by their names.
    pub const FIGURES: [Pace; 2] = [Pace::Default, Pace::Tuned];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Pace::Tests => "tests",
            Pace::Default => "default",
            Pace::Tuned => "tuned",
        }
    }
}

/// Many clients at once, all of them ours: no throttling, or tests wait for nothing.
const UNTHROTTLED: [(&str, &str); 2] = [("kube-api-qps", "500"), ("kube-api-burst", "1000")];

pub(crate) fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

impl Plan {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The API server's address.
    pub fn server(&self) -> String {
        format!("https://{}:{}", self.address(), self.api)
    }

    /// Where the API server is reached: pods on a real node need an address that is not their own.
    fn address(&self) -> &'static str {
        if self.node.is_some() { node::ADDRESS } else { "127.0.0.1" }
    }

    fn etcd_address(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd)
    }

    /// etcd, in memory as far as possible.
    pub fn etcd(&self) -> Vec<String> {
        let (client, peer) = (self.etcd_address(), format!("http://127.0.0.1:{}", self.etcd_peer));
        flags(&[
            ("data-dir", &self.path("etcd")),
            ("unsafe-no-fsync", "true"),
            ("log-level", "info"),
            ("listen-client-urls", &client),
            ("advertise-client-urls", &client),
            ("listen-peer-urls", &peer),
            ("initial-advertise-peer-urls", &peer),
            ("initial-cluster", &format!("default={peer}")),
            // Thousands of objects of 16 KiB, each written a dozen times between two compactions, are more than its default of 2 GiB.
            ("quota-backend-bytes", if self.pace == Pace::Tests { "0" } else { "8589934592" }),
        ])
    }

    /// kube-apiserver, with its audit log.
    pub fn api_server(&self) -> Vec<String> {
        flags(&[
            ("etcd-servers", &self.etcd_address()),
            ("cert-dir", &self.path("pki")),
            ("secure-port", &self.api.to_string()),
            ("bind-address", self.address()),
            ("advertise-address", self.address()),
            // A loopback address may not stand in Endpoints; only pods on a real node look for the API server there.
            ("endpoint-reconciler-type", if self.node.is_some() { "lease" } else { "none" }),
            ("service-cluster-ip-range", "10.96.0.0/16"),
            ("authorization-mode", "Node,RBAC"),
            ("token-auth-file", &self.path("tokens.csv")),
            ("service-account-issuer", "https://kubernetes.default.svc"),
            ("service-account-key-file", &self.path("sa.pub")),
            ("service-account-signing-key-file", &self.path("sa.key")),
            ("audit-policy-file", &self.path("audit.yaml")),
            ("audit-log-path", &self.path("audit.log")),
            // What was read from a place in it would be gone with a rotation.
            ("audit-log-maxsize", "0"),
            // The log must show the last request of a run soon; a batch would hide it.
            ("audit-log-mode", "blocking"),
            ("kubelet-preferred-address-types", "InternalIP"),
            // The admission policies are to say no, not this.
            ("allow-privileged", "true"),
            ("profiling", "false"),
        ])
    }

    fn controller(&self, limits: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<String> {
        let kubeconfig = self.path("admin.kubeconfig");
        let common = [("kubeconfig", kubeconfig.as_str()), ("secure-port", "0"), ("leader-elect", "false")];
        flags(&[&common, limits, more].concat())
    }

    /// kube-controller-manager.
    pub fn controller_manager(&self) -> Vec<String> {
        let limits: &[(&str, &str)] = if self.pace == Pace::Default { &[] } else { &UNTHROTTLED };
        let syncs: &[(&str, &str)] = match self.pace {
            Pace::Tests => &[("concurrent-deployment-syncs", "20"), ("concurrent-replicaset-syncs", "20")],
            Pace::Default => &[],
            Pace::Tuned => &[("concurrent-job-syncs", "20")],
        };
        let (key, authority) = (self.path("sa.key"), self.path("pki/apiserver.crt"));
        let files = [
            ("use-service-account-credentials", "true"),
            ("service-account-private-key-file", key.as_str()),
            ("root-ca-file", authority.as_str()),
        ];
        self.controller(limits, &[&files, syncs].concat())
    }

    /// kube-scheduler.
    pub fn scheduler(&self) -> Vec<String> {
        self.controller(&UNTHROTTLED, &[])
    }

    /// kwok: all nodes (those marked as fake, beside a real one) and their pods, and the kubelet's API for logs.
    pub fn kwok(&self) -> Vec<String> {
        let managed = if self.node.is_some() {
            ("manage-nodes-with-annotation-selector", "kwok.x-k8s.io/node=fake")
        } else {
            ("manage-all-nodes", "true")
        };
        flags(&[
            ("kubeconfig", &self.path("admin.kubeconfig")),
            managed,
            ("node-ip", "127.0.0.1"),
            ("node-port", &self.kubelet.to_string()),
            ("server-address", &format!("127.0.0.1:{}", self.kubelet)),
            ("config", &self.path("kwok.yaml")),
            ("tls-cert-file", &self.path("kubelet.crt")),
            ("tls-private-key-file", &self.path("kubelet.key")),
        ])
    }
}
