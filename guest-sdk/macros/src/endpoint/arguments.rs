//! What stands in the parentheses of `#[endpoint(...)]`.

use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, ExprArray, LitInt, LitStr, Meta, MetaNameValue, Token};

/// The arguments, checked.
pub(super) struct Arguments {
    pub(super) name: LitStr,
    pub(super) version: LitStr,
    pub(super) about: Option<LitStr>,
    pub(super) state_version: u32,
    pub(super) rights: Vec<Expr>,
    pub(super) entries: Option<Entries>,
}

/// In which formats it keeps what it persists.
pub(super) struct Entries {
    pub(super) writes: u32,
    pub(super) reads: Vec<u32>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (mut name, mut version, mut about) = (None, None, None);
        let (mut state_version, mut rights, mut entries) = (1, Vec::new(), None);
        let metas = Punctuated::<Meta, Token![,]>::parse_terminated(input)?;
        for meta in &metas {
            if let Meta::List(list) = meta
                && list.path.is_ident("entries")
            {
                entries = Some(list.parse_args()?);
                continue;
            }
            let Meta::NameValue(pair) = meta else {
                return Err(Error::new_spanned(meta, "expected `name = value`"));
            };
            let value = &pair.value;
            let value = quote!(#value);
            if pair.path.is_ident("name") {
                name = Some(checked_name(syn::parse2(value)?)?);
            } else if pair.path.is_ident("version") {
                version = Some(checked_version(syn::parse2(value)?)?);
            } else if pair.path.is_ident("about") {
                about = Some(syn::parse2(value)?);
            } else if pair.path.is_ident("state_version") {
                state_version = syn::parse2::<LitInt>(value)?.base10_parse()?;
            } else if pair.path.is_ident("rights") {
                let list: ExprArray = syn::parse2(value)?;
                rights = list.elems.into_iter().collect();
            } else {
                return Err(Error::new_spanned(
                    &pair.path,
                    "unknown; there are `name`, `version`, `about`, `state_version`, `rights` and `entries`",
                ));
            }
        }
        let missing = |what| Error::new(input.span(), format!("`{what} = \"...\"` is missing"));
        Ok(Self {
            name: name.ok_or_else(|| missing("name"))?,
            version: version.ok_or_else(|| missing("version"))?,
            about,
            state_version,
            rights,
            entries,
        })
    }
}

impl Parse for Entries {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        const FORM: &str = "expected `entries(writes = 2, reads = [1, 2])`";
        let (mut writes, mut reads) = (None, None);
        let span = input.span();
        for pair in &Punctuated::<MetaNameValue, Token![,]>::parse_terminated(input)? {
            let value = &pair.value;
            let value = quote!(#value);
            if pair.path.is_ident("writes") {
                writes = Some(syn::parse2::<LitInt>(value)?);
            } else if pair.path.is_ident("reads") {
                let list = syn::parse2::<ExprArray>(value)?.elems.into_iter();
                let number =
                    |element: Expr| syn::parse2::<LitInt>(quote!(#element))?.base10_parse();
                reads = Some(list.map(number).collect::<syn::Result<Vec<u32>>>()?);
            } else {
                return Err(Error::new_spanned(&pair.path, FORM));
            }
        }
        let (Some(writes), Some(reads)) = (writes, reads) else {
            return Err(Error::new(span, FORM));
        };
        let own: u32 = writes.base10_parse()?;
        if !reads.contains(&own) {
            let reason = format!("{own} is not among what it reads: it must read what it wrote");
            return Err(Error::new_spanned(writes, reason));
        }
        Ok(Self { writes: own, reads })
    }
}

/// The host refuses other names; here the mistake is found before the component is built.
fn checked_name(name: LitStr) -> syn::Result<LitStr> {
    let text = name.value();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&text.len()) && !text.starts_with('.') && text.chars().all(allowed) {
        return Ok(name);
    }
    Err(Error::new(
        name.span(),
        "a name has 1 to 64 letters, digits, `-`, `_` or `.`, and begins with no dot",
    ))
}

fn checked_version(version: LitStr) -> syn::Result<LitStr> {
    let text = version.value();
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = numbers.split('.').collect();
    if numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u64>().is_ok()) {
        return Ok(version);
    }
    let reason = format!("`{text}` is no semantic version, like `1.0.0`");
    Err(Error::new(version.span(), reason))
}
