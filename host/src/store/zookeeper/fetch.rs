//! Fetch: all values of an endpoint, or those of a prefix, with many requests on their way at once.
//!
//! How many nodes one request asks for follows from how large those before were, so that no answer is much
//! larger than [`ANSWER_BYTES`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use zookeeper_client::{Client, Error, MultiReadResult, Stat};

use crate::zookeeper::paths;
use crate::zookeeper::request::{RequestError, within};

/// Requests on their way at once.
const WINDOW: usize = 8;
/// What an answer has about.
const ANSWER_BYTES: usize = 512 << 10;
/// Nodes that one request asks for: at first, and at most.
const FIRST: usize = 16;
const NODES_MAX: usize = 256;

/// Why not everything was fetched.
#[derive(Debug)]
pub(super) enum FetchError {
    /// The node, and what the servers say.
    Node { path: String, error: RequestError },
    /// Who takes the values has enough.
    Enough,
}

type Answer<'c> = Pin<Box<dyn Future<Output = Result<Vec<MultiReadResult>, Error>> + Send + 'c>>;

/// The state of the folder, and the names of all nodes in it. None: there is no folder.
pub(super) async fn list(
    client: &Client,
    folder: &str,
    limit: Duration,
) -> Result<Option<(Stat, Vec<String>)>, FetchError> {
    // Made one after the other and waited for together: the servers keep the order. Without `sync` a server
    // that lags behind might not know yet what a leader before us was told to be durable.
    let (sync, listed) = (client.sync(folder), client.get_children(folder));
    let both = async {
        sync.await?;
        listed.await
    };
    match within(limit, both).await {
        Ok((names, stat)) => Ok(Some((stat, names))),
        Err(error) if error.is_no_node() => Ok(None),
        Err(error) => Err(FetchError::Node {
            path: folder.to_owned(),
            error,
        }),
    }
}

/// Hands each node of `nodes` that is there to `take`, which says whether to go on.
pub(super) async fn values(
    client: &Client,
    folder: &str,
    nodes: &[String],
    limit: Duration,
    mut take: impl FnMut(&str, Vec<u8>) -> bool,
) -> Result<(), FetchError> {
    let mut rest = nodes;
    let mut pace = Pace::default();
    let mut asked: VecDeque<(&[String], Answer<'_>)> = VecDeque::new();
    loop {
        while !rest.is_empty() && asked.len() < pace.window() {
            let (some, others) = rest.split_at(pace.nodes().min(rest.len()));
            rest = others;
            let mut reader = client.new_multi_reader();
            for node in some {
                let path = format!("{folder}/{node}");
                let added = reader.add_get_data(&path);
                added.map_err(|error| FetchError::Node {
                    path,
                    error: error.into(),
                })?;
            }
            asked.push_back((some, Box::pin(reader.commit())));
        }
        let Some((some, answer)) = asked.pop_front() else {
            return Ok(());
        };
        let failed = |node: Option<&String>, error: RequestError| FetchError::Node {
            path: node.map_or_else(|| folder.to_owned(), |node| format!("{folder}/{node}")),
            error,
        };
        let found = within(limit, answer).await;
        let found = found.map_err(|error| failed(None, error))?;
        if found.len() != some.len() {
            let reason = format!("asked for {} nodes, got {}", some.len(), found.len());
            return Err(failed(None, RequestError::Unknown(reason)));
        }
        for (node, found) in some.iter().zip(found) {
            match found {
                MultiReadResult::Data { data, .. } => {
                    pace.saw(data.len());
                    if !take(&paths::decode(node), data) {
                        return Err(FetchError::Enough);
                    }
                }
                // Deleted since it was listed.
                MultiReadResult::Error { err: Error::NoNode } => {}
                MultiReadResult::Error { err } => return Err(failed(Some(node), err.into())),
                _ => {
                    let reason = "an answer to another question".to_owned();
                    return Err(failed(Some(node), RequestError::Unknown(reason)));
                }
            }
        }
    }
}

/// How much to ask for. Pure.
#[derive(Debug, Default)]
struct Pace {
    nodes: usize,
    bytes: usize,
}

impl Pace {
    fn saw(&mut self, bytes: usize) {
        self.nodes += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Requests on their way at once: one, until it is known what an answer has.
    fn window(&self) -> usize {
        if self.nodes == 0 { 1 } else { WINDOW }
    }

    /// Nodes in the next request.
    fn nodes(&self) -> usize {
        match self.bytes.checked_div(self.nodes) {
            None => FIRST,
            Some(each) => (ANSWER_BYTES / each.max(1)).clamp(1, NODES_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_what_was_seen() {
        let mut pace = Pace::default();
        assert_eq!((pace.window(), pace.nodes()), (1, FIRST));
        pace.saw(0);
        assert_eq!((pace.window(), pace.nodes()), (WINDOW, NODES_MAX));
        for _ in 0..10 {
            pace.saw(1 << 20);
        }
        assert_eq!(pace.nodes(), 1);
    }
}
