//! The macros of `instar-sdk`. Documented there, where they are exported.
//!
//! One file per macro: `schema` (the shape of a type), `message` (a shape with a name), `endpoint`
//! (handlers of an `impl`). They check what they are given and say at the very place what is wrong.

mod attributes;

mod schema;

mod message;

mod endpoint;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemImpl, parse_macro_input};

/// Derives `Schema`: the shape of a type as it travels. Stands beside serde's derives.
///
/// Attributes of serde that make the bytes differ from the fields (`skip`, `with`, `flatten`,
/// `rename`, ...) do not compile: people would be shown a shape that is not the one on the wire.
#[proc_macro_derive(Schema)]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(schema::derive(&input))
}

/// Derives `Message` and `Schema`: a type with a stable name.
///
/// `#[message(kind = "shop.GetPrice", reply = Price)]`
/// - `kind`: the stable name, 1 to 255 bytes. Needed.
/// - `reply`: for a request, the message that it is answered with.
/// - `continues`: for a continuation, the request whose answer it waits for.
///
/// The first paragraph of its documentation is shown to people.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(message::derive(&input))
}

/// Makes an endpoint out of the handlers of an `impl`.
///
/// `#[endpoint(name = "wordcount", version = "1.0.0")]`, and as needed
/// - `about = "One sentence"`: shown to people,
/// - `state_version = 2`: the version of the state's shape, 1 if not given,
/// - `rights = ["registry"]`: what it needs beyond the interfaces of every endpoint,
/// - `entries(writes = 2, reads = [1, 2])`: in which format it keeps what it persists, and which ones it can
///   read. Numbers of its own; a host tells with them whether those who stand for election together can
///   read what the leader writes.
///
/// | attribute | form |
/// |---|---|
/// | `#[on_start]`, needed | `fn(ctx: &mut Context) -> Result<Self, Failure>` |
/// | `#[receive]` | `fn(&mut self, ctx: &mut Context, message: M) -> Result<(), Failure>` |
/// | | `async fn(ctx: AsyncContext<Self>, message: M) -> Result<(), Failure>` |
/// | `#[receive_and_reply]` | `fn(&mut self, ctx: &mut Context, ask: Q) -> Result<Reply, Failure>` |
/// | | `fn(&mut self, ctx: &mut Context, ask: Q, call: CallContext<Reply>) -> Result<(), Failure>` |
/// | | `async fn(ctx: AsyncContext<Self>, ask: Q) -> Result<Reply, Failure>` |
/// | `#[on_reply]` | `fn(&mut self, ctx: &mut Context, then: C, outcome: Result<Reply, Failure>) -> Result<(), Failure>` |
/// | `#[on_timer]` | `fn(&mut self, ctx: &mut Context, due: M) -> Result<(), Failure>` |
/// | `#[on_stop]` | `fn(&mut self, ctx: &mut Context) -> Result<(), Failure>` |
/// | `#[on_error]` | `fn(&mut self, ctx: &mut Context, cause: Failure) -> Result<(), Failure>` |
/// | `#[on_connected]`, `#[on_disconnected]` | `fn(&mut self, ctx: &mut Context, address: String) -> Result<(), Failure>` |
/// | `#[on_network_error]` | `fn(&mut self, ctx: &mut Context, address: String, cause: String) -> Result<(), Failure>` |
/// | `#[migrate_from(N)]` | `fn(old: StateOfVersionN) -> Result<Self, Failure>` |
/// | `#[migrate_to(N)]` | `fn(&self) -> Result<StateOfVersionN, Failure>` |
///
/// A handler that returns an error: its asker, if there is one, receives the failure, and then
/// `on_error` is told, which logs it unless the endpoint has its own. An `on_start` that returns an
/// error ends the instance: there is no endpoint without a state. A message of a kind without
/// handler fails with `unsupported`, one that does not decode with `undecodable`; both are told to
/// the asker and to `on_error`, and neither reaches another handler.
#[proc_macro_attribute]
pub fn endpoint(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemImpl);
    finish(endpoint::expand(arguments.into(), item))
}

fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
