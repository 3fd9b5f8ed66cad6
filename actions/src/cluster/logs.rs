//! Reads container logs line by line: the whole log is never in memory, and bytes that are not UTF-8 do not end it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::retry::may_read_again;
use super::status::Failure;
use super::{Cluster, build, with_query};
use crate::cluster::error::{Error, Result};
use crate::k8s::{ObjectRef, Permission};

/// Selects the log and the part of it to read.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Name of the container.
    pub container: String,
    /// Read the instance before the last restart.
    pub previous: bool,
    /// Only lines younger than this.
    pub since_seconds: Option<u64>,
    /// Only this many lines from the end.
    pub tail_lines: Option<u64>,
}

/// A log that is being read.
pub struct LogLines {
    body: futures::stream::BoxStream<'static, Result<Bytes, kube::Error>>,
    buffer: BytesMut,
    line_limit: usize,
    skipped: usize,
    ended: bool,
}

/// One line, and the number of bytes that were cut off its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The bytes that were kept.
    pub bytes: Bytes,
    /// Number of bytes that were cut off.
    pub cut: usize,
}

/// Reason why a log cannot be read.
pub enum LogError {
    /// Concerns this container only: it waits to start, has no previous instance, …
    Container(String),
    /// May pass: another try is worthwhile.
    Later(String),
    /// Nothing came in the time that was allowed. The API server asks the kubelet of the pod's node, and waits 30 s for
    /// a node that is dead.
    Silent,
    /// Stops the run.
    Run(Error),
}

impl Cluster {
    /// Opens a container's log, with one try of at most this time. Lines longer than `line_limit` bytes are cut.
    pub async fn logs(
        &self,
        pod: &ObjectRef,
        options: &LogOptions,
        line_limit: usize,
        (attempt, patience): (u32, Duration),
    ) -> Result<LogLines, LogError> {
        let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let flag = |value: bool| if value { "true" } else { "" };
        let pairs = [
            ("container", options.container.as_str()),
            ("previous", flag(options.previous)),
            // The first line's timestamp shows whether the log begins where the container did.
            ("timestamps", "true"),
            ("sinceSeconds", &number(options.since_seconds)),
            ("tailLines", &number(options.tail_lines)),
        ];
        let uri = with_query(&pod.path(Some("log")), &pairs);
        let sent = Instant::now();
        let request = build(Method::GET, &uri, "", Vec::new()).map_err(LogError::Run)?;
        let failure = match tokio::time::timeout(patience, self.open_log(request, patience, attempt > 0)).await {
            Ok(Ok(body)) => return Ok(LogLines::new(body, line_limit)),
            Err(_) => return Err(LogError::Silent),
            Ok(Err(Failure::Network(_))) if sent.elapsed() >= patience => return Err(LogError::Silent),
            Ok(Err(failure)) => failure,
        };
        // A 403 while the API server starts.
        let starts = matches!(&failure, Failure::Status(status) if status.code == 403) && self.starts(sent).await;
        if starts || may_read_again(&failure, attempt) {
            return Err(LogError::Later(failure.to_string()));
        }
        Err(self.log_error(pod, options, failure).await)
    }

    async fn open_log(
        &self,
        request: http::Request<Vec<u8>>,
        limit: Duration,
        retry: bool,
    ) -> Result<futures::stream::BoxStream<'static, Result<Bytes, kube::Error>>, Failure> {
        const ERROR_LIMIT: usize = 64 << 10;
        let response = self.exchange(request, limit, retry).await?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(body.into_data_stream().boxed());
        }
        let body =
            http_body_util::Limited::new(body, ERROR_LIMIT).collect().await.map(http_body_util::Collected::to_bytes);
        Err(Failure::answered(&head, &body.unwrap_or_default()))
    }

    async fn log_error(&self, pod: &ObjectRef, options: &LogOptions, failure: Failure) -> LogError {
        match failure {
            Failure::Status(status) if matches!(status.code, 401 | 403) => {
                let permission = Permission::on_target("get", &pod.resource).on_sub("log");
                let what = format!("read the log of {pod}");
                LogError::Run(self.denied(&what, status, &permission, pod.namespace.as_ref(), Some(&pod.name)).await)
            }
            // 400 "waiting to start", 404 "pod not found", 500 from a kubelet without the file: only this container's
            // problem.
            Failure::Status(status) => LogError::Container(status.message),
            failure => {
                LogError::Container(format!("failed to read the log of container {}: {failure}", options.container))
            }
        }
    }
}

impl LogLines {
    /// Reads the lines of a log as it arrives. Lines longer than `line_limit` bytes are cut.
    pub fn new(body: futures::stream::BoxStream<'static, Result<Bytes, kube::Error>>, line_limit: usize) -> Self {
        Self { body, buffer: BytesMut::new(), line_limit, skipped: 0, ended: false }
    }

    /// Returns the next line without its end, or `None` at the end of the log. A log that breaks off is an error, but
    /// the lines read before remain valid.
    pub async fn next(&mut self) -> Result<Option<Line>, String> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(self.take_rest());
            }
            match self.body.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(format!("the log broke off: {error}")),
                None => self.ended = true,
            }
        }
    }

    fn take_line(&mut self) -> Option<Line> {
        let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
            // A line without end must not fill the memory: the beginning is kept, the rest is counted and dropped.
            if self.buffer.len() > self.line_limit {
                self.skipped += self.buffer.len() - self.line_limit;
                self.buffer.truncate(self.line_limit);
            }
            return None;
        };
        let mut line = self.buffer.split_to(end + 1);
        line.truncate(end);
        Some(self.cut(line.freeze()))
    }

    fn take_rest(&mut self) -> Option<Line> {
        if self.buffer.is_empty() {
            return None;
        }
        let rest = self.buffer.split().freeze();
        Some(self.cut(rest))
    }

    fn cut(&mut self, mut line: Bytes) -> Line {
        let (skipped, whole) = (std::mem::take(&mut self.skipped), line.len());
        line.truncate(self.line_limit);
        // If the buffer was truncated, the rest of the line follows its kept beginning; that is over the limit too.
        Line { cut: skipped + whole - line.len(), bytes: line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(chunks: Vec<&'static str>, line_limit: usize) -> LogLines {
        let body = futures::stream::iter(chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)))).boxed();
        LogLines::new(body, line_limit)
    }

    async fn read(mut log: LogLines) -> Vec<(String, usize)> {
        let mut lines = Vec::new();
        while let Some(line) = log.next().await.unwrap() {
            lines.push((String::from_utf8(line.bytes.to_vec()).unwrap(), line.cut));
        }
        lines
    }

    #[tokio::test]
    async fn joins_lines_across_chunks_and_keeps_an_unfinished_last_one() {
        let lines = read(log(vec!["a\nb", "c\n", "d"], 100)).await;
        assert_eq!(lines, [("a".to_owned(), 0), ("bc".to_owned(), 0), ("d".to_owned(), 0)]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_and_counted() {
        let lines = read(log(vec!["aaaa", "aaaa", "aa\nb\n"], 3)).await;
        assert_eq!(lines, [("aaa".to_owned(), 7), ("b".to_owned(), 0)]);
    }
}
