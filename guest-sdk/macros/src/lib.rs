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
#[proc_macro_derive(Schema)]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(schema::derive(&input))
}

/// Derives `Message` and `Schema`: a type with a stable name.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    finish(message::derive(&input))
}

/// Makes an endpoint out of the handlers of an `impl`.
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
