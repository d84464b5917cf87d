//! What several macros read from attributes.

use syn::{Attribute, Error, Expr, ExprLit, Lit, Meta};

/// The first paragraph of the doc comment, on one line.
pub(crate) fn about(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ")
}

/// Attributes of serde that leave the bytes as the type says.
const HARMLESS: [&str; 4] = ["bound", "crate", "default", "deny_unknown_fields"];

/// Refuses the attributes of serde that make other bytes than the type says.
pub(crate) fn check_serde(attributes: &[Attribute]) -> syn::Result<()> {
    let of_serde = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    for attribute in of_serde {
        attribute.parse_nested_meta(|meta| {
            let name = meta.path.get_ident().map(ToString::to_string);
            let name = name.unwrap_or_default();
            if !HARMLESS.contains(&name.as_str()) {
                return Err(Error::new_spanned(
                    &meta.path,
                    format!(
                        "`#[serde({name})]` makes the bytes differ from the shape that others see; \
                         remove it, or give the type another form"
                    ),
                ));
            }
            // The value has no part in it, but has to be read to get behind it.
            if meta.input.peek(syn::Token![=]) {
                let _: Expr = meta.value()?.parse()?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
