//! `#[derive(Schema)]`: writes down the shape that serde and postcard give a type.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Field, Fields, FieldsNamed, parse_quote};

use crate::attributes::check_serde;

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    check_serde(&input.attrs)?;
    let name = &input.ident;
    let node = match &input.data {
        Data::Struct(data) => structure(&name.to_string(), &data.fields)?,
        Data::Enum(data) => enumeration(&name.to_string(), data)?,
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union has no shape; use an enum",
            ));
        }
    };
    if let Some(lifetime) = input.generics.lifetimes().next() {
        return Err(Error::new_spanned(
            lifetime,
            "a type with a shape owns what it holds: use `String`, `Bytes` or `Vec`, no reference",
        ));
    }
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::instar_sdk::Schema));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        impl #impl_generics ::instar_sdk::Schema for #name #type_generics #where_clause {
            fn node(
                nodes: &mut ::instar_sdk::schema::Nodes,
            ) -> ::instar_sdk::description::TypeNode {
                #node
            }
        }
    })
}

/// The node of a struct, as an expression.
fn structure(name: &str, fields: &Fields) -> syn::Result<TokenStream> {
    Ok(match fields {
        Fields::Unit => quote! { { let _ = nodes; ::instar_sdk::description::TypeNode::Unit } },
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            let inner = types(fields.unnamed.iter())?;
            // A newtype is its inner type, on the wire and here.
            quote! { #(<#inner as ::instar_sdk::Schema>::node(nodes))* }
        }
        Fields::Unnamed(fields) => {
            let elements = types(fields.unnamed.iter())?;
            quote! {
                ::instar_sdk::description::TypeNode::TupleOf(
                    ::std::vec![#(nodes.add::<#elements>()),*]
                )
            }
        }
        Fields::Named(fields) => {
            let fields = named(fields)?;
            quote! {
                ::instar_sdk::description::TypeNode::Structure {
                    name: ::std::string::String::from(#name),
                    fields: #fields,
                }
            }
        }
    })
}

fn enumeration(name: &str, data: &DataEnum) -> syn::Result<TokenStream> {
    let mut cases = Vec::new();
    for variant in &data.variants {
        check_serde(&variant.attrs)?;
        let case = variant.ident.to_string();
        cases.push(match &variant.fields {
            Fields::Unit => quote! { nodes.unit_case(#case) },
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                let inner = types(fields.unnamed.iter())?;
                quote! { #(nodes.value_case::<#inner>(#case))* }
            }
            Fields::Unnamed(fields) => {
                let elements = types(fields.unnamed.iter())?;
                quote! { {
                    let elements = ::std::vec![#(nodes.add::<#elements>()),*];
                    nodes.tuple_case(#case, elements)
                } }
            }
            Fields::Named(fields) => {
                let fields = named(fields)?;
                quote! { {
                    let fields = #fields;
                    nodes.structure_case(#case, fields)
                } }
            }
        });
    }
    Ok(quote! {
        ::instar_sdk::description::TypeNode::Enumeration {
            name: ::std::string::String::from(#name),
            cases: ::std::vec![#(#cases),*],
        }
    })
}

fn types<'a>(fields: impl Iterator<Item = &'a Field>) -> syn::Result<Vec<&'a syn::Type>> {
    fields
        .map(|field| {
            check_serde(&field.attrs)?;
            Ok(&field.ty)
        })
        .collect()
}

fn named(fields: &FieldsNamed) -> syn::Result<TokenStream> {
    let types = types(fields.named.iter())?;
    let names = fields.named.iter().filter_map(|field| field.ident.as_ref());
    // `r#type` is a way to write it; its name is `type`, in serde too.
    let names = names.map(|name| name.to_string().trim_start_matches("r#").to_owned());
    Ok(quote! { ::std::vec![#(nodes.field::<#types>(#names)),*] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(input: &str) -> String {
        derive(&syn::parse_str(input).unwrap())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn attributes_of_serde_that_change_the_wire_are_refused_by_name_wherever_they_stand() {
        for attribute in [
            "skip",
            "skip_serializing",
            "skip_deserializing",
            "skip_serializing_if = \"f\"",
            "with = \"m\"",
            "serialize_with = \"f\"",
            "deserialize_with = \"f\"",
            "rename = \"z\"",
            "rename_all = \"x\"",
            "tag = \"t\"",
            "untagged",
            "flatten",
            "transparent",
            "into = \"B\"",
            "from = \"B\"",
            "not_known_yet",
        ] {
            let name = attribute.split(' ').next().unwrap();
            for input in [
                format!("#[serde({attribute})] struct A {{ x: u8 }}"),
                format!("struct A {{ #[serde({attribute})] x: u8 }}"),
                format!("struct A(#[serde(default, {attribute})] u8);"),
                format!("enum A {{ #[serde({attribute})] B }}"),
                format!("enum A {{ B {{ #[serde({attribute})] x: u8 }} }}"),
                format!("enum A {{ B(#[serde({attribute})] u8, u8) }}"),
            ] {
                let text = refused(&input);
                assert!(
                    text.contains(&format!("`#[serde({name})]`")),
                    "{input}: {text}"
                );
            }
        }
    }

    #[test]
    fn attributes_of_serde_that_leave_the_wire_alone_are_accepted() {
        let input = "#[serde(deny_unknown_fields, bound(serialize = \"\"), crate = \"s\")]
            struct A { #[serde(default)] x: u8, #[serde(default = \"f\", alias = \"z\")] y: u8 }";
        assert!(derive(&syn::parse_str(input).unwrap()).is_ok());
    }

    #[test]
    fn what_has_no_shape_is_refused_with_the_way_out() {
        assert!(refused("union A { x: u8 }").contains("use an enum"));
        assert!(refused("struct A<'a> { x: &'a str }").contains("`String`"));
    }
}
