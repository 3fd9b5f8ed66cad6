//! ServiceAccount tokens that live shorter than the ten minutes that the API server grants at least.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::fixtures::World;

/// How long the API server takes a token that is over: clocks differ.
const LEEWAY: Duration = Duration::from_mins(1);

/// A token of a ServiceAccount, signed with the cluster's own key.
pub struct Token(String);

impl Token {
    /// One that the API server takes for this long (and remembers a few seconds longer).
    pub async fn sign(world: &World, account: &str, lifetime: Duration) -> Result<Self> {
        let found = world.get(&format!("{}/{account}", world.path("v1", "serviceaccounts"))).await?;
        let now = jiff::Timestamp::now().as_second();
        let ends = now - i64::try_from(LEEWAY.as_secs())? + i64::try_from(lifetime.as_secs())?;
        let issuer = "https://kubernetes.default.svc";
        let claims = json!({
            "iss": issuer, "aud": [issuer], "sub": format!("system:serviceaccount:{}:{account}", world.namespace),
            "iat": now - 3600, "nbf": now - 3600, "exp": ends,
            "kubernetes.io": { "namespace": world.namespace, "serviceaccount": { "name": account, "uid": found["metadata"]["uid"] } },
        });
        let header = json!({ "alg": "ES256", "typ": "JWT" });
        let text = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let file = world.connection.token_key.as_deref().context("the key of this cluster is not known")?;
        let pem = rcgen::KeyPair::from_pem(&std::fs::read_to_string(file)?)?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pem.serialized_der(), &random)
            .map_err(|error| anyhow!("{}: {error}", file.display()))?;
        let signature = key.sign(&random, text.as_bytes()).map_err(|_| anyhow!("failed to sign a token"))?;
        Ok(Self(format!("{text}.{}", BASE64URL.encode(signature))))
    }

    /// The token itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Waits until the API server refuses it. It must have been taken before.
    pub async fn until_it_is_refused(&self, world: &World) -> Result<()> {
        let user = json!({ "token": self.0 });
        let client = crate::client(&world.kubeconfig_of(&user)?).await?;
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let limit = Instant::now() + Duration::from_secs(90);
        let mut taken = false;
        loop {
            let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
                .header("content-type", "application/json")
                .body(review.to_string().into_bytes())?;
            match client.request::<Value>(request).await {
                Ok(_) => taken = true,
                Err(kube::Error::Api(status)) if status.code == 401 => {
                    ensure!(taken, "the token was never taken: {status}");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            ensure!(Instant::now() < limit, "the token does not end");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
