//! Endpoint: what the attribute `#[instar_sdk::endpoint]` makes of an `impl` block.
//!
//! After it: [`crate::runtime`], which calls it. Nobody writes it by hand: the attribute keeps the
//! handlers, the description and the state versions in step.

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::description::{Handler, Metadata, StateSupport};
use crate::message::Raw;
use crate::runtime::Runtime;
use crate::{Context, Failure, host, logging};

/// Code behind a name: handlers, and the state that they share.
///
/// Written by `#[instar_sdk::endpoint]`; see there. The value itself is the state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no endpoint",
    note = "write `#[instar_sdk::endpoint(name = \"...\", version = \"...\")]` above an `impl` of it"
)]
pub trait Endpoint: Serialize + DeserializeOwned + 'static {
    /// Name under which it is registered unless the sidecar says otherwise.
    const NAME: &'static str;
    /// Semantic version of the code.
    const VERSION: &'static str;
    /// One sentence for people. May be empty.
    const ABOUT: &'static str;
    /// The state version in which this version keeps its state.
    const STATE_VERSION: u32;
    /// The state versions that it reads, its own first.
    const READS: &'static [u32];
    /// The state versions that it writes, its own first.
    const WRITES: &'static [u32];
    /// The rights that it needs.
    const RIGHTS: &'static [&'static str];

    /// In which formats it keeps what it persists, where it says so.
    const ENTRIES: Option<EntryFormats>;

    /// The messages that it handles.
    #[doc(hidden)]
    fn handles() -> Vec<Handler>;

    #[doc(hidden)]
    fn start(ctx: &mut Context) -> Result<Self, Failure>;

    #[doc(hidden)]
    fn receive(runtime: &Rc<Runtime<Self>>, message: Raw) -> Result<(), Failure>;

    #[doc(hidden)]
    fn receive_and_reply(
        runtime: &Rc<Runtime<Self>>,
        call: u64,
        message: Raw,
    ) -> Result<(), Failure>;

    #[doc(hidden)]
    fn on_reply(
        runtime: &Rc<Runtime<Self>>,
        kind: &str,
        body: &[u8],
        outcome: Result<Raw, Failure>,
    ) -> Result<(), Failure>;

    #[doc(hidden)]
    fn on_timer(runtime: &Rc<Runtime<Self>>, kind: &str, body: &[u8]) -> Result<(), Failure>;

    #[doc(hidden)]
    fn on_stop(&mut self, _: &mut Context) -> Result<(), Failure> {
        Ok(())
    }

    /// What happens without an `#[on_error]` handler: the error is logged.
    #[doc(hidden)]
    fn on_error(&mut self, _: &mut Context, cause: Failure) -> Result<(), Failure> {
        log_error(Self::NAME, &cause);
        Ok(())
    }

    #[doc(hidden)]
    fn on_connected(&mut self, _: &mut Context, _address: String) -> Result<(), Failure> {
        Ok(())
    }

    #[doc(hidden)]
    fn on_disconnected(&mut self, _: &mut Context, _address: String) -> Result<(), Failure> {
        Ok(())
    }

    #[doc(hidden)]
    fn on_network_error(
        &mut self,
        _: &mut Context,
        _address: String,
        _cause: String,
    ) -> Result<(), Failure> {
        Ok(())
    }

    #[doc(hidden)]
    fn migrate_from(_version: u32, _state: &[u8]) -> Option<Result<Self, Failure>> {
        None
    }

    #[doc(hidden)]
    fn migrate_to(&self, _version: u32) -> Option<Result<Vec<u8>, Failure>> {
        None
    }
}

/// In which formats a version keeps what it persists: numbers of the author's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryFormats {
    /// The one that it writes.
    pub writes: u32,
    /// Those that it reads, `writes` among them.
    pub reads: &'static [u32],
}

/// The description of an endpoint, as the host reads it before anything of it runs.
pub fn metadata_of<E: Endpoint>() -> Metadata {
    Metadata {
        name: E::NAME.to_owned(),
        version: E::VERSION.to_owned(),
        about: E::ABOUT.to_owned(),
        state: StateSupport {
            version: E::STATE_VERSION,
            reads: E::READS.to_vec(),
            writes: E::WRITES.to_vec(),
        },
        rights: E::RIGHTS.iter().map(|&right| right.to_owned()).collect(),
        handles: E::handles(),
        built_with: concat!("instar-sdk ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// Writes an error that no handler of the plugin takes.
pub(crate) fn log_error(target: &str, cause: &Failure) {
    let fields = [("code".to_owned(), cause.code.clone())];
    host::log(logging::Level::Error, target, &cause.text, &fields);
}

/// True where no text stands twice in `kinds`: two handlers for one kind do not compile.
#[doc(hidden)]
pub const fn all_different(kinds: &[&str]) -> bool {
    let mut rest = kinds;
    while let [first, others @ ..] = rest {
        let mut against = others;
        while let [other, more @ ..] = against {
            if same(first.as_bytes(), other.as_bytes()) {
                return false;
            }
            against = more;
        }
        rest = others;
    }
    true
}

const fn same(mut left: &[u8], mut right: &[u8]) -> bool {
    loop {
        match (left, right) {
            ([], []) => return true,
            ([a, left_rest @ ..], [b, right_rest @ ..]) if *a == *b => {
                left = left_rest;
                right = right_rest;
            }
            _ => return false,
        }
    }
}
