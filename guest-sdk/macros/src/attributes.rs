//! What several macros read from attributes.

use syn::{Attribute, Error, Expr, ExprLit, Lit, Meta};

/// The first paragraph of the doc comment, on one line.
pub(crate) fn about(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
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
///
/// A list of what is allowed: an attribute that nobody looked at yet is refused.
const HARMLESS: [&str; 7] = [
    "alias",
    "borrow",
    "bound",
    "crate",
    "default",
    "deny_unknown_fields",
    "expecting",
];

/// Refuses the attributes of serde that make other bytes than the type says.
pub(crate) fn check_serde(attributes: &[Attribute]) -> syn::Result<()> {
    let of_serde = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"));
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
            } else if meta.input.peek(syn::token::Paren) {
                meta.parse_nested_meta(|inner| inner.value()?.parse::<Expr>().map(drop))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use syn::DeriveInput;

    use super::*;

    #[test]
    fn about_is_the_first_paragraph_on_one_line() {
        for (documentation, expected) in [
            ("/// One line.\n", "One line."),
            ("/// Two\n/// lines.\n", "Two lines."),
            ("/// First.\n///\n/// Second.\n", "First."),
            ("", ""),
        ] {
            let input: DeriveInput =
                syn::parse_str(&format!("{documentation} struct A {{}}")).unwrap();
            assert_eq!(about(&input.attrs), expected);
        }
    }
}
