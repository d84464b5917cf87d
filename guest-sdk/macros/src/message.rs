//! `#[derive(Message)]`: gives a type its stable name, and says what it is a request or a
//! continuation for.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, LitStr, Type};

use crate::attributes::about;
use crate::schema;

/// Longest kind, in bytes; the contract's limit.
const KIND_BYTES_MAX: usize = 255;

struct Arguments {
    kind: LitStr,
    reply: Option<Type>,
    continues: Option<Type>,
}

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let Arguments {
        kind,
        reply,
        continues,
    } = arguments(input)?;
    let schema = schema::derive(input)?;
    let name = &input.ident;
    let about = about(&input.attrs);
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a message has one kind and so one form: it cannot be generic",
        ));
    }
    let request = reply.map(|reply| {
        quote! { impl ::instar_sdk::Request for #name { type Reply = #reply; } }
    });
    let continuation = continues.map(|asked| {
        quote! { impl ::instar_sdk::Continuation for #name { type Asked = #asked; } }
    });
    Ok(quote! {
        #schema
        impl ::instar_sdk::Message for #name {
            const KIND: &'static str = #kind;
            const ABOUT: &'static str = #about;
        }
        #request
        #continuation
    })
}

fn arguments(input: &DeriveInput) -> syn::Result<Arguments> {
    let (mut kind, mut reply, mut continues) = (None, None, None);
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("message")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("kind") {
                kind = Some(meta.value()?.parse::<LitStr>()?);
            } else if meta.path.is_ident("reply") {
                reply = Some(meta.value()?.parse::<Type>()?);
            } else if meta.path.is_ident("continues") {
                continues = Some(meta.value()?.parse::<Type>()?);
            } else {
                return Err(meta.error("unknown; there are `kind`, `reply` and `continues`"));
            }
            Ok(())
        })?;
    }
    let Some(kind) = kind else {
        return Err(Error::new_spanned(
            &input.ident,
            "the stable name is missing: `#[message(kind = \"plugin.Name\")]`",
        ));
    };
    let bytes = kind.value().len();
    if bytes == 0 || bytes > KIND_BYTES_MAX {
        return Err(Error::new(
            kind.span(),
            format!("a kind has 1 to {KIND_BYTES_MAX} bytes, this one has {bytes}"),
        ));
    }
    Ok(Arguments {
        kind,
        reply,
        continues,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_a_fitting_kind_is_refused() {
        let long = "x".repeat(256);
        for (input, reason) in [
            ("struct A {}".to_owned(), "stable name is missing"),
            (
                "#[message(reply = B)] struct A {}".to_owned(),
                "stable name is missing",
            ),
            (
                "#[message(kind = \"\")] struct A {}".to_owned(),
                "1 to 255 bytes",
            ),
            (
                format!("#[message(kind = \"{long}\")] struct A {{}}"),
                "this one has 256",
            ),
            (
                "#[message(kin = \"a\")] struct A {}".to_owned(),
                "there are `kind`",
            ),
            (
                "#[message(kind = \"a\")] struct A<T> { t: T }".to_owned(),
                "cannot be generic",
            ),
        ] {
            let text = derive(&syn::parse_str(&input).unwrap())
                .unwrap_err()
                .to_string();
            assert!(text.contains(reason), "{text}");
        }
    }
}
