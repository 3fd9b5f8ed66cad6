//! Answers of the API server that cannot be nested too deeply to be read: one object whose parameters are, in a list, would
//! keep all the others from being read. (kube reads answers with `serde_json`'s limit of 128 levels, which fails for the whole
//! page; the API server stores 10,000.)
//!
//! What lies deeper than [`DEEPEST`] is replaced by a text while the answer arrives. An execution that holds such parameters
//! is refused by its own depth, which is far below that.

use std::sync::Arc;

use axum::body::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;

use crate::clock::Clock;

/// The deepest level that is read.
const DEEPEST: usize = 100;
/// What stands in the place of what lies deeper.
const INSTEAD: &[u8] = b"\"nested too deeply\"";

/// Returns a client whose answers are read like this, and their times by this clock.
pub fn shallow(client: kube::Client, clock: Arc<Clock>) -> kube::Client {
    let namespace = client.default_namespace().to_owned();
    let send = move |request: Request<Body>| {
        let (client, clock) = (client.clone(), clock.clone());
        async move {
            let sent = Timestamp::now();
            let answer = client.send(request).await?;
            clock.answered(answer.headers().get(header::DATE), sent, Timestamp::now());
            let kind = answer.headers().get(header::CONTENT_TYPE);
            // A log is passed on as it is.
            let mut depth =
                kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")).then(Depth::default);
            let mut piece = move |data: Bytes| match &mut depth {
                Some(depth) => depth.cut(&data),
                None => data,
            };
            Ok::<_, kube::Error>(answer.map(|body| body.map_frame(move |frame| frame.map_data(&mut piece))))
        }
    };
    kube::Client::new(tower::service_fn(send), namespace)
}

/// Where in the answer its end has arrived so far.
#[derive(Debug, Default)]
struct Depth {
    level: usize,
    in_text: bool,
    escaped: bool,
}

impl Depth {
    /// Returns the next piece without what lies too deep. A text that is begun in one piece is ended in another one.
    fn cut(&mut self, piece: &[u8]) -> Bytes {
        let mut left = Vec::with_capacity(piece.len());
        for byte in piece.iter().copied() {
            let hidden = self.level > DEEPEST;
            match byte {
                _ if self.in_text => self.text(byte),
                b'"' => self.in_text = true,
                b'{' | b'[' => {
                    self.level += 1;
                    if self.level == DEEPEST + 1 {
                        left.extend_from_slice(INSTEAD);
                    }
                }
                b'}' | b']' => self.level = self.level.saturating_sub(1),
                _ => {}
            }
            if !hidden && self.level <= DEEPEST {
                left.push(byte);
            }
        }
        Bytes::from(left)
    }

    fn text(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.in_text = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// As it arrives in pieces of this length.
    fn arrived(text: &str, length: usize) -> Value {
        let mut depth = Depth::default();
        let pieces: Vec<u8> = text.as_bytes().chunks(length).flat_map(|piece| depth.cut(piece)).collect();
        serde_json::from_slice(&pieces).unwrap()
    }

    #[test]
    fn a_page_with_one_deep_object_can_be_read() {
        let deep = format!("{}1{}", "{\"a\":[".repeat(5_000), "]}".repeat(5_000));
        let page = format!("{{\"items\":[{{\"x\":\"\\\"[\\\\\"}},{deep},{{\"y\":[2,3]}}]}}");
        assert!(serde_json::from_str::<Value>(&page).is_err());
        for length in [1, 7, 100_000] {
            let page = arrived(&page, length);
            assert_eq!((&page["items"][0], &page["items"][2]), (&json!({ "x": "\"[\\" }), &json!({ "y": [2, 3] })));
            assert!(page["items"][1].to_string().contains("nested too deeply"));
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), r#"[\[\]{}"\\a]{0,9}"#.prop_map(Value::from)];
        leaf.prop_recursive(8, 64, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c\"]{1,2}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_not_deep_arrives_as_it_is(value in values(), length in 1_usize..40) {
            prop_assert_eq!(arrived(&value.to_string(), length), value);
        }
    }
}
