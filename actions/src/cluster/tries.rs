//! Time limits of a write, over its tries.
//!
//! How long a write takes is decided by the cluster's admission webhooks: mutating ones are asked one after the other, and
//! one that hangs is passed over (or reported) only when its own time is over, which is 10 s by default and 30 s at
//! most. A write with less time than its webhooks take fails, whatever they would have said. But after a lost answer
//! the outcome is unknown for as long as the write may still land: so a write has little time, unless its dry run or
//! an earlier try shows that it needs more.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http::Request;
use tokio::time::Instant;

use super::Cluster;
use super::status::{Failure, Status};
use crate::cluster::error::{Error, Result};

/// Time that the API server gives any write, whatever was asked for (`requestTimeoutUpperBound` in its source).
const LONGEST: Duration = Duration::from_secs(34);

/// Time for a write of which nothing shows that it is slow.
const USUAL: Duration = Duration::from_secs(10);

/// A dry run of more than this shows that the webhooks may need more than [`USUAL`].
const SLOW: Duration = Duration::from_secs(5);

/// Time after its server-side timeout at which a write counts as over: the answer travels, and clocks differ a little.
pub(super) const MARGIN: Duration = Duration::from_secs(1);

/// Time that is left after a write to find out what became of it.
const LOOK: Duration = Duration::from_secs(2);

/// With less time than this no write is sent: its answer would come too late for the result.
const LEAST: Duration = Duration::from_millis(500);

/// The most tries of a write, each after the earlier ones are known not to have been applied.
const TRIES: u32 = 3;

/// Choice between a dry run and the real write. Only in requests does this become `dryRun=All`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Admission, validation and permissions as in the real write, but nothing is stored.
    DryRun,
    /// The real write.
    Execute,
}

/// The longest time that the API server took for a dry run; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Admission(Arc<Mutex<Duration>>);

impl Admission {
    fn learn(&self, took: Duration) {
        let mut longest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = took.max(*longest);
    }

    fn is_slow(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) > SLOW
    }
}

/// The tries of one write.
pub(super) struct Tries {
    pub(super) commit: Commit,
    /// Number of this try, from 0.
    pub(super) number: u32,
    /// Time when this try began.
    pub(super) began: Instant,
    limit: Duration,
    /// True when more time would be to be had from a longer `ACTION_TIMEOUT`.
    cut_short: bool,
    timed_out: bool,
    /// True when an earlier try timed out: this one has more time, and is the last.
    once_more: bool,
    /// The last answer of the API server that a later failure must not hide.
    answer: Option<Status>,
}

impl Tries {
    pub(super) fn new(commit: Commit) -> Self {
        let began = Instant::now();
        Self {
            commit,
            number: 0,
            began,
            limit: USUAL,
            cut_short: false,
            timed_out: false,
            once_more: false,
            answer: None,
        }
    }

    /// Returns whether this is not the first try.
    pub(super) fn again(&self) -> bool {
        self.number > 0
    }

    /// Records how long the API server (or nobody) took to answer.
    fn took(&mut self, took: Duration) {
        self.timed_out = took >= self.limit;
    }

    /// Returns whether another try may help, if this one is known not to have been applied.
    pub(super) fn may_go_on(&self, failure: &Failure, remaining: Duration) -> bool {
        let rejected = matches!(failure, Failure::Status(status) if status.code == 429);
        match self.commit {
            // Like a read; but what failed after a time fails again in less.
            Commit::DryRun => !self.timed_out && (rejected || remaining > self.began.elapsed()),
            // At a 429 the server did not get to the write.
            Commit::Execute if rejected => true,
            // More time than the last one had is not to be had.
            Commit::Execute => self.number + 1 < TRIES && !self.once_more && !(self.timed_out && self.limit >= LONGEST),
        }
    }

    /// Goes on to the next try.
    pub(super) fn next(&mut self, failure: &Failure) {
        if let Failure::Status(status) = failure
            && status.transient()
        {
            self.answer = Some(status.clone());
        }
        self.number += 1;
        self.once_more |= self.timed_out;
        (self.began, self.timed_out) = (Instant::now(), false);
    }

    /// Returns the failure to tell: the API server's last answer says more than the silence after it. Of a try that
    /// ended by its time limit it is told whether more time is to be had.
    pub(super) fn told(self, failure: Failure) -> Failure {
        let advice = match (self.timed_out, self.limit >= LONGEST) {
            (true, true) => format!(
                "; the API server ends every write after {} s: look for an admission webhook that hangs (one that fails open is \
                 named in no answer)",
                LONGEST.as_secs()
            ),
            (true, false) if self.cut_short => format!(
                "; there were only {:.1} s for it, of the {} s that the API server may take: raise ACTION_TIMEOUT",
                self.limit.as_secs_f32(),
                LONGEST.as_secs()
            ),
            _ => String::new(),
        };
        match (failure, self.answer) {
            (Failure::Status(status), _) => Failure::Status(status.and(&advice)),
            (failure, Some(answer)) => Failure::Status(answer.and(&format!("; then: {failure}{advice}"))),
            (Failure::Network(error), None) if !advice.is_empty() => {
                Failure::Network(format!("{error}{advice}").into())
            }
            (failure, None) => failure,
        }
    }
}

impl Cluster {
    /// Begins a try, and returns its time limit: the server's, or what is left of the run's.
    pub(super) fn begin(&self, tries: &mut Tries) -> Result<Duration> {
        tries.limit = self.limit_of(tries);
        // A phase before the change ends after its own time, too.
        tries.cut_short = tries.commit == Commit::Execute || self.deadline >= self.end;
        tries.began = Instant::now();
        if tries.limit < LEAST {
            return Err(Error::DeadlineExceeded("no time is left to write; raise ACTION_TIMEOUT".to_owned()));
        }
        Ok(tries.limit)
    }

    /// Returns whether there is time for another try, and to find out what became of it.
    pub(super) fn has_time_to_write(&self) -> bool {
        self.remaining() >= LEAST + MARGIN + LOOK
    }

    fn limit_of(&self, tries: &Tries) -> Duration {
        let left = self.remaining().saturating_sub(MARGIN);
        if tries.commit == Commit::DryRun {
            return left.min(LONGEST);
        }
        // A retry, which follows a lost answer, leaves time to find out what became of it, and so does a write that may
        // take long: rather none than one of which nobody knows.
        let safe = left.saturating_sub(LOOK);
        let usual = if tries.again() { safe } else { left }.min(USUAL);
        if tries.once_more || self.admission.is_slow() { usual.max(safe.min(LONGEST)) } else { usual }
    }

    /// Sends a dry run. A second one goes beside one that is slow: a connection that is dead never answers, and a
    /// webhook that is slow answers both.
    pub(super) async fn try_out(&self, request: Request<Vec<u8>>, tries: &mut Tries) -> Result<Bytes, Failure> {
        let limit = tries.limit + MARGIN;
        let mut first = pin!(self.timed(request.clone(), limit, tries.again()));
        let answer = if let Ok(answer) = tokio::time::timeout(USUAL + MARGIN, &mut first).await {
            answer
        } else {
            let second = pin!(self.timed(request, limit.saturating_sub(USUAL + MARGIN), true));
            match select(first, second).await {
                Either::Left((Err(Failure::Network(_)), second)) => second.await,
                Either::Right((Err(Failure::Network(_)), first)) => first.await,
                Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
            }
        };
        tries.took(tries.began.elapsed());
        answer
    }

    /// Sends a request, and keeps how long its answer took.
    async fn timed(&self, request: Request<Vec<u8>>, limit: Duration, retry: bool) -> Result<Bytes, Failure> {
        let sent = Instant::now();
        let answer = self.call(request, limit, retry).await;
        if !matches!(answer, Err(Failure::Network(_))) {
            self.admission.learn(sent.elapsed());
        }
        answer
    }

    /// Sends a real write. A success whose body is no JSON object, and a refusal that is not the API's, count as no
    /// answer: they come from something in between, and nobody knows whether that passed the write on.
    pub(super) async fn call_write(&self, request: Request<Vec<u8>>, tries: &mut Tries) -> Result<Bytes, Failure> {
        let answer = self.call(request, tries.limit + MARGIN, tries.again()).await;
        tries.took(tries.began.elapsed());
        match answer {
            Ok(body) if body.trim_ascii_start().starts_with(b"{") => Ok(body),
            Ok(_) => Err(Failure::Network("the answer is not what an API server sends".into())),
            Err(failure) => Err(failure.of_a_write()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Eviction;
    use crate::cluster::fake::{Answer, Seen, cluster, object};
    use crate::cluster::patch::{Patch, Proof, operations};
    use crate::k8s::Kind;
    use contract::result::Effect;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn web(replicas: i64) -> Value {
        json!({ "metadata": { "name": "web", "uid": "u", "generation": 4 }, "spec": { "replicas": replicas } })
    }

    fn status(code: u16, message: &str) -> Answer {
        Answer::Json(code, json!({ "kind": "Status", "code": code, "message": message }))
    }

    /// Answers of an API server whose webhooks take so many seconds in a dry run and in a write: `None` when they fail,
    /// with what they say. The server ends the request after its `timeout`, or 34 s.
    fn admits(line: &str, dry: (u64, Option<&'static str>), real: (u64, Option<&'static str>)) -> Answer {
        let (takes, fails) = if line.contains("dryRun") { dry } else { real };
        let takes = Duration::from_secs(takes);
        let asked = line.split_once("timeout=").and_then(|(_, rest)| rest.split_once("ms")?.0.parse().ok());
        let limit = asked.map_or(LONGEST, Duration::from_millis).min(LONGEST);
        let answer = match fails {
            _ if takes >= limit => status(504, "Timeout: request did not complete within requested timeout"),
            Some(says) => status(500, says),
            None => Answer::Json(200, web(5)),
        };
        Answer::Late(takes.min(limit), Box::new(answer))
    }

    /// Scales `web`: first the dry run, then the write; returns how it ended, with the time limits of its writes.
    async fn scaled(
        left: u64,
        answer: impl Fn(&str, usize) -> Answer + Send + 'static,
    ) -> (Result<()>, Vec<String>, Cluster, Seen) {
        let (cluster, seen) =
            cluster(
                move |line, before| {
                    if line.starts_with("PATCH") { answer(line, before) } else { Answer::Json(200, web(3)) }
                },
            );
        let cluster = Cluster { end: Instant::now() + Duration::from_secs(left), ..cluster };
        let cluster = cluster.until(cluster.end);
        let operations = operations(json!([
            { "op": "test", "path": "/spec/replicas", "value": 3 },
            { "op": "add", "path": "/spec/replicas", "value": 5 },
        ]));
        let patch =
            Patch { subresource: Some("scale"), operations, proof: Proof::FieldManager, rests_on_generation: Some(4) };
        let object = object(Kind::Deployment);
        let mut ended = Ok(());
        for commit in [Commit::DryRun, Commit::Execute] {
            if ended.is_ok() {
                ended = cluster.patch(&object, &web(3), &patch, commit).await.map(|_| ());
            }
        }
        let writes = seen.with("timeout=");
        let limits = writes.iter().map(|line| line.split("timeout=").nth(1).unwrap()[..5].to_owned()).collect();
        (ended, limits, cluster, seen)
    }

    /// The webhooks' time, of a dry run and of a write, and the limits that the writes then have.
    #[rstest]
    #[case::quick(0, 0, &["10000"])]
    #[case::not_slow(5, 5, &["10000"])]
    #[case::fails_open_after_its_time(10, 10, &["34000"])]
    #[case::two_that_add_up(20, 20, &["34000"])]
    #[case::the_longest_there_is(30, 30, &["34000"])]
    #[case::skips_dry_runs(0, 10, &["10000", "34000"])]
    #[tokio::test(start_paused = true)]
    async fn a_write_gets_the_time_that_its_webhooks_take(
        #[case] dry: u64,
        #[case] real: u64,
        #[case] expected: &[&str],
    ) {
        let (ended, limits, cluster, _) = scaled(300, move |line, _| admits(line, (dry, None), (real, None))).await;
        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!(
            (limits, cluster.ledger().effect()),
            (expected.iter().map(ToString::to_string).collect(), Effect::Applied)
        );
    }

    #[rstest]
    #[case::in_the_dry_run((40, None), (0, None), 0, 34)]
    #[case::in_the_write((0, None), (40, None), 2, 46)]
    #[case::in_both_but_longer_in_the_write((20, None), (40, None), 1, 55)]
    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_the_api_server_allows_is_given_up(
        #[case] dry: (u64, Option<&'static str>),
        #[case] real: (u64, Option<&'static str>),
        #[case] writes: usize,
        #[case] seconds: u64,
    ) {
        let begun = Instant::now();
        let (ended, limits, cluster, _) = scaled(300, move |line, _| admits(line, dry, real)).await;
        let Err(Error::Unavailable { message, .. }) = ended else { panic!("{ended:?}") };
        assert!(message.contains("answered 504: Timeout: request did not"), "{message}");
        assert!(message.contains("the API server ends every write after 34 s"), "{message}");
        assert!(!message.contains("ACTION_TIMEOUT"), "{message}");
        assert_eq!((limits.len(), cluster.ledger().effect()), (writes, Effect::None));
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }

    /// A webhook that has to be asked is named by the API server, if its own time is over before the write's.
    #[rstest]
    #[case::in_the_dry_run((10, Some("failed calling webhook \"w\"")), (0, None), 0)]
    #[case::in_the_write((0, None), (10, Some("failed calling webhook \"w\"")), 2)]
    #[tokio::test(start_paused = true)]
    async fn what_the_api_server_says_of_a_webhook_is_told(
        #[case] dry: (u64, Option<&'static str>),
        #[case] real: (u64, Option<&'static str>),
        #[case] writes: usize,
    ) {
        let (ended, limits, cluster, _) = scaled(300, move |line, _| admits(line, dry, real)).await;
        let Err(Error::Unavailable { message, .. }) = ended else { panic!("{ended:?}") };
        assert!(message.ends_with("the API server answered 500: failed calling webhook \"w\""), "{message}");
        assert_eq!((limits.len(), cluster.ledger().effect()), (writes, Effect::None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_silence_hides_no_answer() {
        let (ended, ..) =
            scaled(300, |_, before| if before == 0 { status(503, "etcd is away") } else { Answer::Lost }).await;
        let message = ended.unwrap_err().full_message();
        assert!(message.contains("the API server answered 503: etcd is away; then: "), "{message}");
    }

    /// More time is asked for only where it is to be had.
    #[tokio::test(start_paused = true)]
    async fn a_run_without_the_time_for_its_webhooks_says_so() {
        let (ended, limits, cluster, _) = scaled(30, |line, _| admits(line, (0, None), (18, None))).await;
        let message = ended.unwrap_err().full_message();
        // The first look ends at 11 s, and the second try leaves 3 s for another one.
        let says = "there were only 15.8 s for it, of the 34 s that the API server may take: raise ACTION_TIMEOUT";
        assert!(message.contains(says), "{message}");
        assert_eq!((limits.len(), cluster.ledger().effect()), (2, Effect::None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_on_a_dead_connection_costs_no_more_than_its_patience() {
        let begun = Instant::now();
        let dead = |line: &str, before: usize| match before {
            0 if line.contains("dryRun") => Answer::Late(Duration::from_hours(1), Box::new(Answer::Lost)),
            _ => admits(line, (0, None), (0, None)),
        };
        let (ended, limits, _, seen) = scaled(300, dead).await;
        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!((begun.elapsed().as_secs(), seen.with("dryRun").len()), (11, 2));
        assert_eq!(limits, ["10000"], "the answer that came was quick");
    }

    #[tokio::test(start_paused = true)]
    async fn an_eviction_gets_the_same_time() {
        let (cluster, seen) = cluster(|line, _| admits(line, (10, None), (10, None)));
        let pod = json!({ "metadata": { "uid": "u", "resourceVersion": "5" } });
        let eviction = Eviction { pod, grace_period_seconds: None };
        for commit in [Commit::DryRun, Commit::Execute] {
            cluster.evict(&object(Kind::Pod), &eviction, commit).await.unwrap();
        }
        assert_eq!((seen.with("timeout=34000ms").len(), seen.with("eviction").len()), (1, 2));
    }
}
